"""Gauss-Newton on pose and code of many frames at once, codes kept in 0..1 by an active set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from recon.track import kernels
from recon.track.code_prior import CodePrior
from recon.track.landmark_shape import LandmarkShape
from recon.track.observation import (
    GAPS,
    Pose,
    frame_weights,
    pose_derivative,
    project,
    projection_derivative,
    with_gap_weights,
    with_gaps,
)
from recon.track.rotation import rotation_matrix, rotation_vector

POSE = 6  # unknowns before the coefficients: rotation vector, translation
DAMPING = 1e-3  # relative to the diagonal (Levenberg-Marquardt)
PIVOT_ROUNDS = 10
GAP_PAIRS = np.array(GAPS)
MAX_TURN = 0.5  # radians a step; a first guess that is further off converges in more steps


@dataclass(frozen=True)
class FrameState:
    """Pose and code of F frames."""

    pose: Pose
    codes: Float[np.ndarray, "F E"]

    def at(self, index: np.ndarray | slice) -> FrameState:
        return FrameState(self.pose.at(index), self.codes[index])


@dataclass(frozen=True)
class Anchor:
    """A state that the solution stays near, with stiffnesses: the previous frame of a video."""

    state: FrameState
    code: float
    rotation: float  # per rad^2
    translation: Float[np.ndarray, " 3"]  # per m^2


@dataclass(frozen=True)
class NormalEquations:
    """H d = g of F frames over [rotation 3, translation 3, codes E], and what built it."""

    hessian: Float[np.ndarray, "F N N"]
    gradient: Float[np.ndarray, "F N"]  # downhill
    jacobian: Float[np.ndarray, "F M N"]  # of the projections and their gaps, M = 501 * 2
    weights: Float[np.ndarray, "F M"]
    residual_px: Float[np.ndarray, "F M"]
    points_camera: Float[np.ndarray, "F 478 3"]
    projection: Float[np.ndarray, "F 478 2 3"]  # px a metre in the head frame


def normal_equations(
    shape: LandmarkShape,
    state: FrameState,
    landmarks_px: Float[np.ndarray, "F 478 2"],
    focal_px: float,
    prior: CodePrior,
    anchor: Anchor | None = None,
) -> NormalEquations:
    frames = len(landmarks_px)
    points_camera = state.pose.apply(shape.points(state.codes))
    residual = landmarks_px - project(points_camera, focal_px)
    by_point = projection_derivative(points_camera, focal_px)
    projection = by_point @ state.pose.rotation[:, None]
    by_code = shape.derivative_by_code(state.codes)
    by_pose = pose_derivative(by_point, points_camera, state.pose)
    jacobian = kernels.jacobian_rows(projection, by_code, by_pose, GAP_PAIRS)
    weights = frame_weights(residual, landmarks_px, state.pose, shape, focal_px)
    weights = np.repeat(with_gap_weights(weights, landmarks_px, state.pose, focal_px), 2, axis=1)
    rows = with_gaps(residual).reshape(frames, -1)
    hessian, gradient = kernels.weighted_products(jacobian, weights, rows)

    slope, curvature = prior.linearise(state.codes)
    hessian[:, POSE:, POSE:] += curvature
    gradient[:, POSE:] -= slope
    if anchor is not None:
        _add_anchor(hessian, gradient, state, anchor)
    return NormalEquations(hessian, gradient, jacobian, weights, rows, points_camera, projection)


def _add_anchor(
    hessian: np.ndarray, gradient: np.ndarray, state: FrameState, anchor: Anchor
) -> None:
    stiffness = np.concatenate(
        [
            np.full(3, anchor.rotation),
            anchor.translation,
            np.full(state.codes.shape[1], anchor.code),
        ]
    )
    back = np.concatenate(
        [
            rotation_vector(anchor.state.pose.rotation @ state.pose.rotation.transpose(0, 2, 1)),
            anchor.state.pose.translation - state.pose.translation,
            anchor.state.codes - state.codes,
        ],
        axis=1,
    )
    diagonal = np.arange(len(stiffness))
    hessian[:, diagonal, diagonal] += stiffness
    gradient += stiffness * back


def step(
    shape: LandmarkShape,
    state: FrameState,
    landmarks_px: Float[np.ndarray, "F 478 2"],
    focal_px: float,
    prior: CodePrior,
    anchor: Anchor | None = None,
) -> FrameState:
    """One damped Gauss-Newton step of every frame."""
    system = normal_equations(shape, state, landmarks_px, focal_px, prior, anchor)
    moves = np.stack(
        [
            bounded_step(hessian, gradient, codes)
            for hessian, gradient, codes in zip(system.hessian, system.gradient, state.codes)
        ]
    )
    return moved(state, moves)


def moved(state: FrameState, moves: Float[np.ndarray, "F N"]) -> FrameState:
    turn = moves[:, :3]
    turn = (
        turn * np.minimum(1.0, MAX_TURN / np.maximum(np.linalg.norm(turn, axis=1), 1e-9))[:, None]
    )
    pose = Pose(
        rotation_matrix(turn) @ state.pose.rotation, state.pose.translation + moves[:, 3:POSE]
    )
    return FrameState(pose, np.clip(state.codes + moves[:, POSE:], 0.0, 1.0))


def free_unknowns(
    gradient: Float[np.ndarray, " N"], codes: Float[np.ndarray, " E"]
) -> Bool[np.ndarray, " N"]:
    """Unknowns that may move: not those codes at a bound that would leave it."""
    downhill = gradient[POSE:]
    held = ((codes <= 0.0) & (downhill <= 0.0)) | ((codes >= 1.0) & (downhill >= 0.0))
    return np.concatenate([np.ones(POSE, bool), ~held])


def bounded_step(
    hessian: Float[np.ndarray, "N N"],
    gradient: Float[np.ndarray, " N"],
    codes: Float[np.ndarray, " E"],
) -> Float[np.ndarray, " N"]:
    """min_d 1/2 d'Hd - g'd, H damped, with codes + d in 0..1."""
    hessian = hessian + np.diag(DAMPING * np.diag(hessian) + 1e-9)
    lower = np.concatenate([np.full(POSE, -np.inf), -codes])
    upper = np.concatenate([np.full(POSE, np.inf), 1.0 - codes])
    return kernels.box_minimum(hessian, gradient, lower, upper, PIVOT_ROUNDS)
