"""Pose and code of one frame from its landmarks: a few damped Gauss-Newton steps in plain numpy.

Minimised over a rotation vector (camera axes, about the head's origin), a translation and the
coefficients in 0..1:

    sum_i w_i |observed_i - projected_i|^2  +  sum_g w_g |gap_g - projected gap_g|^2
    + prior(code)  +  nearness to the frame before

Noise, weights and prior are those of the offline solver (`observation.py`, `code_prior.py`); here
everything is one frame and a third of the landmarks. docs/live_tracking.md writes out each step for
ports to other languages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from recon.track.code_prior import CodePrior
from recon.track.linear_face import LinearFace
from recon.track.observation import (
    AVERTED,
    FACING,
    GAP_NOISE_M,
    GAP_NOISE_SHARE,
    HIDDEN_WEIGHT,
    INDEPENDENT_GAPS,
    IRIS_HIDDEN_M,
    IRIS_SEEN_M,
    NOISE_M,
    OUTLIER_M,
    TURN_NOISE,
)
from recon.track.rotation import nearest_rotation, rotation_matrix, rotation_vector, skew

POSE = 6
DAMPING = 1e-3  # relative to the diagonal (Levenberg-Marquardt)
PIVOT_ROUNDS = 6
MAX_TURN = 0.5  # radians a step
SETTLED = 0.01  # steps end when no coefficient moves farther


@dataclass(frozen=True)
class LiveState:
    """Head to camera (OpenCV axes) and the code of one frame."""

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, " 3"]
    code: Float[np.ndarray, " E"]

    @property
    def view(self) -> Float[np.ndarray, " 3"]:
        """The unit direction of the camera in the head frame."""
        return -self.translation @ self.rotation / np.linalg.norm(self.translation)


@dataclass(frozen=True)
class Nearness:
    """How stiffly a frame is held to the one before, against the landmarks' own precision."""

    code: float = 2.0
    rotation: float = 5e3  # per rad^2
    translation: tuple[float, float, float] = (5e4, 5e4, 1.5e3)  # per m^2: depth is seen worst


def solve_frame(
    face: LinearFace,
    prior: CodePrior,
    observed_px: Float[np.ndarray, "N 2"],
    focal_px: float,
    start: LiveState,
    steps: int = 3,
    near: Nearness | None = None,
) -> LiveState:
    """The state that explains `observed_px` (px from the principal point), from `start` on."""
    state = start
    for _ in range(steps):
        move = _step(face, prior, observed_px, focal_px, state, start if near else None, near)
        before, state = state, _moved(state, move)
        if np.abs(state.code - before.code).max() < SETTLED and np.abs(move[:3]).max() < 2e-3:
            break
    return state


def first_state(
    face: LinearFace, observed_px: Float[np.ndarray, "N 2"], focal_px: float
) -> LiveState:
    """Weak perspective on the points that hardly move, with a code of zeros."""
    rows = face.rigid_rows
    design = np.concatenate([face.neutral[rows], np.ones((len(rows), 1))], axis=1)
    affine = np.linalg.lstsq(design, observed_px[rows], rcond=None)[0]  # [4, 2]
    axes = affine[:3].T
    lengths = np.linalg.norm(axes, axis=1)
    depth = focal_px / max(lengths.mean(), 1e-9)
    unit = axes / np.maximum(lengths, 1e-9)[:, None]
    rotation = nearest_rotation(np.concatenate([unit, np.cross(unit[0], unit[1])[None]]))
    translation = np.append(affine[3] * depth / focal_px, depth)
    return LiveState(rotation, translation, np.zeros(face.expression.shape[2]))


def project_face(face: LinearFace, state: LiveState, focal_px: float) -> Float[np.ndarray, "N 2"]:
    """Where the landmarks of a state are, px from the principal point."""
    at = face.points(state.code, state.view) @ state.rotation.T + state.translation
    return focal_px * at[:, :2] / at[:, 2:]


def _step(
    face: LinearFace,
    prior: CodePrior,
    observed_px: np.ndarray,
    focal_px: float,
    state: LiveState,
    before: LiveState | None,
    near: Nearness | None,
) -> Float[np.ndarray, " U"]:
    arm = face.points(state.code, state.view) @ state.rotation.T
    at = arm + state.translation
    inverse_depth = 1.0 / at[:, 2]
    projected = focal_px * at[:, :2] * inverse_depth[:, None]
    by_point = np.zeros((len(at), 2, 3))
    by_point[:, 0, 0] = by_point[:, 1, 1] = focal_px * inverse_depth
    by_point[:, :, 2] = -projected * inverse_depth[:, None]
    slope = face.derivative(state.code)
    jacobian = np.concatenate(
        [-by_point @ skew(arm), by_point, (by_point @ state.rotation) @ slope], axis=2
    )
    residual = observed_px - projected
    weights, gap_weights = frame_weights(face, observed_px, residual, focal_px, state)

    upper, lower = face.gaps.T
    rows = np.concatenate([jacobian, jacobian[upper] - jacobian[lower]]).reshape(
        -1, jacobian.shape[2]
    )
    misses = np.concatenate([residual, residual[upper] - residual[lower]]).ravel()
    trust = np.repeat(np.concatenate([weights, gap_weights]), 2)
    weighted = rows * trust[:, None]
    hessian, gradient = weighted.T @ rows, weighted.T @ misses
    prior_slope, curvature = prior.linearise(state.code[None])
    hessian[POSE:, POSE:] += curvature[0]
    gradient[POSE:] -= prior_slope[0]
    if before is not None and near is not None:
        stiffness = np.concatenate(
            [np.full(3, near.rotation), near.translation, np.full(len(state.code), near.code)]
        )
        back = np.concatenate(
            [
                rotation_vector(before.rotation @ state.rotation.T),
                before.translation - state.translation,
                before.code - state.code,
            ]
        )
        hessian[np.diag_indices_from(hessian)] += stiffness
        gradient += stiffness * back
    hessian[np.diag_indices_from(hessian)] *= 1 + DAMPING
    return box_minimum(
        hessian,
        gradient,
        np.concatenate([np.full(POSE, -np.inf), -state.code]),
        np.concatenate([np.full(POSE, np.inf), 1.0 - state.code]),
    )


def frame_weights(
    face: LinearFace,
    observed_px: Float[np.ndarray, "N 2"],
    residual: Float[np.ndarray, "N 2"],
    focal_px: float,
    state: LiveState,
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " G"]]:
    """1/px^2 of landmarks and gaps: noise at the head's depth, less for outliers (Huber), for
    what is turned away, for irises behind lids."""
    px_per_m = focal_px / state.translation[2]
    view = state.view
    turned = 1 + TURN_NOISE * (1 - float(view[2]))
    trust = np.minimum(
        1.0, OUTLIER_M * px_per_m / np.maximum(np.hypot(residual[:, 0], residual[:, 1]), 1e-9)
    )
    cosine = face.normals @ view
    seen = np.clip((cosine - AVERTED) / (FACING - AVERTED), HIDDEN_WEIGHT, 1.0)
    for row, top, bottom in face.iris_rows:
        opening_m = np.linalg.norm(observed_px[top] - observed_px[bottom]) / px_per_m
        seen[row] = np.clip((opening_m - IRIS_HIDDEN_M) / (IRIS_SEEN_M - IRIS_HIDDEN_M), 0.0, 1.0)
        trust[row] = 1.0
    relative = trust * seen / turned**2
    weights = face.weights * relative / (NOISE_M * px_per_m) ** 2
    upper, lower = face.gaps.T
    opening = np.linalg.norm(observed_px[upper] - observed_px[lower], axis=1)
    noise2 = (GAP_NOISE_M * px_per_m) ** 2 + (GAP_NOISE_SHARE * opening) ** 2
    gap_weights = np.minimum(relative[upper], relative[lower]) / noise2
    return weights, gap_weights * (INDEPENDENT_GAPS / len(face.gaps))


def box_minimum(
    hessian: Float[np.ndarray, "U U"],
    gradient: Float[np.ndarray, " U"],
    lower: Float[np.ndarray, " U"],
    upper: Float[np.ndarray, " U"],
) -> Float[np.ndarray, " U"]:
    """min_d 1/2 d'Hd - g'd with lower <= d <= upper: solve for the free ones, hold those that
    leave the box at its side, free those there that the slope pulls inside, a few times."""
    free = ~(((lower >= 0) & (gradient <= 0)) | ((upper <= 0) & (gradient >= 0)))
    move = np.zeros_like(gradient)
    for _ in range(PIVOT_ROUNDS):
        held = ~free
        target = gradient[free] - hessian[np.ix_(free, held)] @ move[held]
        move[free] = np.linalg.solve(hessian[np.ix_(free, free)], target)
        slope = gradient - hessian @ move
        out = free & ((move < lower) | (move > upper))
        back = held & (((move <= lower) & (slope > 1e-9)) | ((move >= upper) & (slope < -1e-9)))
        if not (out.any() or back.any()):
            break
        move = np.clip(move, lower, upper)
        free = (free & ~out) | back
    return np.clip(move, lower, upper)


def _moved(state: LiveState, move: Float[np.ndarray, " U"]) -> LiveState:
    turn = move[:3] * min(1.0, MAX_TURN / max(float(np.linalg.norm(move[:3])), 1e-9))
    translation = state.translation + move[3:POSE]
    # A head never passes through the lens, whatever one frame claims.
    translation[2] = max(translation[2], 0.25 * state.translation[2])
    return LiveState(
        rotation_matrix(turn) @ state.rotation,
        translation,
        np.clip(state.code + move[POSE:], 0.0, 1.0),
    )
