"""Gaussians for tests of the still formats."""

from __future__ import annotations

import numpy as np

from avatar3d.io.splats import Splats


def random_splats(count: int = 50, coefficients: int = 1, seed: int = 0) -> Splats:
    """Of a head's place and size, every direction of rotation, opacities from none to full."""
    random = np.random.default_rng(seed)
    quaternions = random.normal(size=(count, 4))
    quaternions /= np.linalg.norm(quaternions, axis=-1, keepdims=True)
    values = (
        0.1 * random.normal(size=(count, 3)),
        quaternions,
        random.uniform(-8, -4, (count, 3)),
        random.uniform(-5, 5, count),
        random.uniform(-1.5, 1.5, (count, coefficients, 3))
        / (1 + np.arange(coefficients))[:, None],
    )
    return Splats(*(value.astype(np.float32) for value in values))


def covariances(splats: Splats) -> np.ndarray:
    """[N, 3, 3], what rotation and scales mean together."""
    w, x, y, z = splats.quaternions.astype(np.float64).T
    norm = np.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w / norm, x / norm, y / norm, z / norm
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    ).transpose(2, 0, 1)
    scaled = rotation * np.exp(splats.log_scales.astype(np.float64))[:, None, :]
    return scaled @ scaled.transpose(0, 2, 1)
