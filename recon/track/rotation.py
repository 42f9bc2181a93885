"""Rotation vectors in float64 numpy, batched, for the solver's inner loop."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def skew(vectors: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """The matrix of the cross product: skew(a) @ b = a x b."""
    matrix = np.zeros((*vectors.shape, 3))
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    matrix[..., 0, 1], matrix[..., 0, 2], matrix[..., 1, 2] = -z, y, -x
    matrix[..., 1, 0], matrix[..., 2, 0], matrix[..., 2, 1] = z, -y, x
    return matrix


def rotation_matrix(vectors: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Rodrigues' formula."""
    cross, a, b, _ = _coefficients(vectors)
    return np.eye(3) + a * cross + b * (cross @ cross)


def left_jacobian(vectors: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """J with exp(w + dw) = exp(J dw) exp(w) to first order."""
    cross, _, b, c = _coefficients(vectors)
    return np.eye(3) + b * cross + c * (cross @ cross)


def rotation_vector(matrices: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Logarithm of rotations below half a turn."""
    m = matrices
    sine = 0.5 * np.stack(
        [m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1
    )
    length = np.linalg.norm(sine, axis=-1)
    angle = np.arctan2(length, (np.trace(m, axis1=-2, axis2=-1) - 1) / 2)
    scale = np.where(length < 1e-9, 1.0, angle / np.maximum(length, 1e-9))
    return sine * scale[..., None]


def nearest_rotation(matrices: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """The closest rotation in the Frobenius norm; of a sum of rotations, their chordal mean."""
    u, _, vt = np.linalg.svd(matrices)
    sign = np.linalg.det(u @ vt)
    u[..., :, 2] *= sign[..., None]
    return u @ vt


def _coefficients(vectors: np.ndarray) -> tuple[np.ndarray, ...]:
    """skew(w) and sin(t)/t, (1-cos t)/t^2, (t - sin t)/t^3 at t = |w|, by series near 0."""
    t2 = (vectors * vectors).sum(-1)[..., None, None]
    small = t2 < 1e-6
    t = np.sqrt(np.where(small, 1.0, t2))
    a = np.where(small, 1 - t2 / 6, np.sin(t) / t)
    b = np.where(small, 0.5 - t2 / 24, (1 - np.cos(t)) / t**2)
    c = np.where(small, 1 / 6 - t2 / 120, (t - np.sin(t)) / t**3)
    return skew(vectors), a, b, c
