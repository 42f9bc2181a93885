"""The user's own neutral: where a face's landmarks are when nothing is expressed.

From a few frames of a face at rest: identity modes first, which also say how deep the face is, then
what is left of each landmark across the line of sight. Plain numpy, as the live solver.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from recon.track.code_prior import CodePrior
from recon.track.linear_face import LinearFace
from recon.track.live_solver import (
    LiveState,
    first_state,
    frame_weights,
    project_face,
    solve_frame,
)

ROUNDS = 6
IDENTITY_WEIGHT = 3.0  # of the modes' own unit prior, against the landmarks of all frames
OFFSET_SIGMA_M = 4e-3  # how far a personal offset may well reach
SHRINK_FRAMES = 0.2  # the mean residual of F frames is believed F / (F + this)


def person_at_rest(
    face: LinearFace,
    prior: CodePrior,
    frames_px: Sequence[Float[np.ndarray, "N 2"]],
    focal_px: float,
    *,
    resting: bool = True,
    identity: Float[np.ndarray, " I"] | None = None,
) -> LinearFace:
    """`face` with the neutral of the person in `frames_px` (px from the principal point).

    `resting`: the frames show a face at rest, as a user was asked for; else (a clip that begins
    anyhow) each frame's expression is solved for too, and only what it cannot explain counts.
    `identity`: weights that are known, such as an avatar's; only offsets are then learned.
    """
    count = face.expression.shape[2]
    weights = np.zeros(face.identity.shape[2]) if identity is None else identity
    person = face.of_person(weights)
    states = [first_state(person, px, focal_px) for px in frames_px]
    still = _resting_prior(prior) if resting else prior
    for _ in range(ROUNDS):
        states = [
            solve_frame(person, still, px, focal_px, state, steps=2)
            for px, state in zip(frames_px, states)
        ]
        if resting:
            states = [replace(state, code=np.zeros(count)) for state in states]
        if identity is None:
            weights = _identity_step(face, person, frames_px, focal_px, states, weights)
            person = face.of_person(weights)
    states = [
        solve_frame(person, still, px, focal_px, state, steps=3)
        for px, state in zip(frames_px, states)
    ]
    if resting:
        states = [replace(state, code=np.zeros(count)) for state in states]
    return person.with_neutral(person.neutral + _offsets(person, frames_px, focal_px, states))


def _identity_step(
    face: LinearFace,
    person: LinearFace,
    frames_px: Sequence[np.ndarray],
    focal_px: float,
    states: Sequence[LiveState],
    weights: Float[np.ndarray, " I"],
) -> Float[np.ndarray, " I"]:
    """One Gauss-Newton step of the identity modes and the frames' poses together."""
    modes = len(weights)
    hessian = IDENTITY_WEIGHT * np.eye(modes)
    gradient = -IDENTITY_WEIGHT * weights
    for px, state in zip(frames_px, states):
        arm, by_point, residual, trust = _seen(person, px, focal_px, state)
        by_identity = ((by_point @ state.rotation) @ face.identity).reshape(-1, modes)
        by_pose = _pose_columns(arm, by_point).reshape(-1, 6)
        weighted = by_pose * trust[:, None]
        own = weighted.T @ by_pose + 1e-9 * np.eye(6)
        cross = weighted.T @ by_identity
        pulled = np.linalg.solve(own, np.column_stack([cross, weighted.T @ residual]))
        hessian += (by_identity * trust[:, None]).T @ by_identity - cross.T @ pulled[:, :-1]
        gradient += by_identity.T @ (trust * residual) - cross.T @ pulled[:, -1]
    return weights + np.clip(np.linalg.solve(hessian, gradient), -1.0, 1.0)


def _offsets(
    person: LinearFace,
    frames_px: Sequence[np.ndarray],
    focal_px: float,
    states: Sequence[LiveState],
) -> Float[np.ndarray, "N 3"]:
    """What is left of every landmark in the mean over the frames, ridge solution."""
    count = len(person.landmarks)
    system = np.repeat(np.eye(3)[None] / OFFSET_SIGMA_M**2, count, axis=0)
    target = np.zeros((count, 3))
    for px, state in zip(frames_px, states):
        _, by_point, residual, trust = _seen(person, px, focal_px, state)
        by_offset = by_point @ state.rotation  # [N, 2, 3]
        trust = trust.reshape(count, 2)[:, :1, None] / person.weights[:, None, None]
        weighted = by_offset * trust
        system += weighted.transpose(0, 2, 1) @ by_offset
        target += (weighted * residual.reshape(count, 2, 1)).sum(1)
    frames = len(frames_px)
    return np.linalg.solve(system, target[..., None])[..., 0] * frames / (frames + SHRINK_FRAMES)


def _seen(
    person: LinearFace, px: np.ndarray, focal_px: float, state: LiveState
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points about the head's origin in camera axes [N, 3], px by point [N, 2, 3], and residuals
    and weights of all rows [2 N]."""
    arm = person.points(state.code, state.view) @ state.rotation.T
    at = arm + state.translation
    projected = project_face(person, state, focal_px)
    by_point = np.zeros((len(at), 2, 3))
    by_point[:, 0, 0] = by_point[:, 1, 1] = focal_px / at[:, 2]
    by_point[:, :, 2] = -projected / at[:, 2:]
    residual = px - projected
    weights, _ = frame_weights(person, px, residual, focal_px, state)
    return arm, by_point, residual.ravel(), np.repeat(weights, 2)


def _pose_columns(arm: np.ndarray, by_point: np.ndarray) -> Float[np.ndarray, "N 2 6"]:
    from recon.track.rotation import skew

    return np.concatenate([-by_point @ skew(arm), by_point], axis=2)


def _resting_prior(prior: CodePrior) -> CodePrior:
    """So dear that a code stays at rest: only the pose moves."""
    return prior.scaled(1e3)
