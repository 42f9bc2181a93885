"""The support frames together: one identity, one focal length, pose and code of every frame.

Gauss-Newton on all unknowns at once. The frames meet only in the shared ones (identity weights and
log focal length), so each frame's own unknowns are eliminated (Schur complement), the shared step
is solved, and every frame then takes its bounded step given the shared one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar3d.errors import UserError
from avatar3d.heads import HeadModel
from recon.track.bust import bust_reference
from recon.track.code_prior import CLOSE, CodePrior, CodePriorSettings
from recon.track.landmark_shape import LandmarkShape, landmark_shape
from recon.track.observation import first_pose, project, with_gaps
from recon.track.solver import (
    DAMPING,
    FrameState,
    bounded_step,
    free_unknowns,
    moved,
    normal_equations,
    step,
)
from recon.track.tracking import (
    Tracking,
    code_prior,
    crop_camera,
    observe,
    project_state,
    to_codes,
)


@dataclass(frozen=True)
class SupportSettings:
    focal_px_at_512: float = 1500.0  # a head that fills half of the crop is 0.86 m away
    # Errors of the model are the same in every frame, so focal length and identity are held by a
    # prior that grows with the frames; free, the focal length ran away and the identity with it.
    focal_weight: float = 200.0  # 1 / variance of log(focal), a frame
    identity_weight: float = 3.0  # of the modes' own unit prior
    identity_weight_per_frame: float = 0.15
    pose_steps: int = 2  # before the identity moves
    joint_steps: int = 10
    final_steps: int = 2  # identity at rest
    code: CodePriorSettings = field(default_factory=CodePriorSettings)
    close_steps: int = 4  # then the frames once more: their codes serve this person's avatar
    close: CodePriorSettings = CLOSE


def track_support(
    landmarks: Float[np.ndarray, "F 478 C"] | Tensor,
    size_px: int,
    head: HeadModel,
    settings: SupportSettings | None = None,
) -> Tracking:
    """Identity, camera and codes of one person from landmarks in px of one square crop.

    Every frame must show the face: frames without landmarks (nan) are a `UserError`.
    """
    settings = settings or SupportSettings()
    observation = observe(landmarks, size_px)
    if not observation.found.all():
        missing = np.where(~observation.found)[0].tolist()
        raise UserError(
            f"support frames {missing} have no landmarks; expected a face in every support frame, "
            "leave those out"
        )
    shape, prior = landmark_shape(head), code_prior(head, settings.code)
    identity, focal_px, state = solve_support(
        shape, prior, observation.landmarks_px, settings.focal_px_at_512 * size_px / 512, settings
    )
    person, close = shape.of_person(identity), code_prior(head, settings.close)
    for _ in range(settings.close_steps):
        state = step(person, state, observation.landmarks_px, focal_px, close)
    distance_m = float(np.median(state.pose.translation[:, 2]))
    identity_tensor = torch.from_numpy(identity).float()
    bust = bust_reference(head, identity_tensor, to_codes(state, distance_m, None))
    misses = observation.landmarks_px - project_state(person, state, focal_px)
    return Tracking(
        head=head,
        identity=identity_tensor,
        camera=crop_camera(focal_px, size_px, distance_m),
        codes=to_codes(state, distance_m, bust),
        residual_px=torch.from_numpy(np.linalg.norm(misses, axis=-1).mean(1)).float(),
        landmark_offsets=torch.zeros(478, 3),
        bust=bust,
    )


def solve_support(
    shape: LandmarkShape,
    prior: CodePrior,
    landmarks_px: Float[np.ndarray, "F 478 2"],
    focal_px: float,
    settings: SupportSettings,
) -> tuple[Float[np.ndarray, " I"], float, FrameState]:
    """Identity weights, focal length in px, the frames' states; landmarks about the crop's centre."""
    frames = len(landmarks_px)
    identity = np.zeros(shape.identity.shape[2])
    person = shape.of_person(identity)
    state = FrameState(
        first_pose(landmarks_px, person.neutral, focal_px),
        np.zeros((frames, shape.expression.shape[2])),
    )
    for _ in range(settings.pose_steps):
        state = step(person, state, landmarks_px, focal_px, prior)
    first_focal_px = focal_px
    for _ in range(settings.joint_steps):
        identity, focal_px, state = _joint_step(
            shape, prior, landmarks_px, settings, identity, focal_px, first_focal_px, state
        )
    person = shape.of_person(identity)
    for _ in range(settings.final_steps):
        state = step(person, state, landmarks_px, focal_px, prior)
    return identity, focal_px, state


def _joint_step(
    shape: LandmarkShape,
    prior: CodePrior,
    landmarks_px: np.ndarray,
    settings: SupportSettings,
    identity: np.ndarray,
    focal_px: float,
    first_focal_px: float,
    state: FrameState,
) -> tuple[np.ndarray, float, FrameState]:
    frames, count = len(landmarks_px), len(identity)
    person = shape.of_person(identity)
    system = normal_equations(person, state, landmarks_px, focal_px, prior)

    by_identity = system.projection @ shape.derivative_by_identity(state.codes)
    by_focal = project(system.points_camera, focal_px)[..., None]  # d/d log f at a fixed pose
    shared = with_gaps(np.concatenate([by_identity, by_focal], axis=-1))
    shared = shared.reshape(frames, -1, count + 1)
    weighted = (shared * system.weights[..., None]).transpose(0, 2, 1)
    mixed = weighted @ system.jacobian  # [F, S, N]
    stiffness = settings.identity_weight + settings.identity_weight_per_frame * frames
    weight = np.append(np.full(count, stiffness), settings.focal_weight * frames)
    offset = np.append(identity, np.log(focal_px / first_focal_px))
    hessian = np.diag(weight) + (weighted @ shared).sum(0)
    gradient = (weighted @ system.residual_px[..., None]).sum((0, 2)) - weight * offset

    for own, slope, cross, codes in zip(system.hessian, system.gradient, mixed, state.codes):
        free = free_unknowns(slope, codes)
        damped = own[np.ix_(free, free)]
        damped = damped + np.diag(DAMPING * np.diag(damped) + 1e-9)
        solved = np.linalg.solve(
            damped, np.concatenate([cross[:, free].T, slope[free, None]], axis=1)
        )
        hessian -= cross[:, free] @ solved[:, :-1]
        gradient -= cross[:, free] @ solved[:, -1]
    shared_move = np.linalg.solve(hessian, gradient)
    shared_move[:-1] = np.clip(shared_move[:-1], -1.0, 1.0)
    shared_move[-1] = np.clip(shared_move[-1], -0.15, 0.15)

    own_gradient = system.gradient - np.einsum("fsn,s->fn", mixed, shared_move)
    moves = np.stack(
        [
            bounded_step(own, slope, codes)
            for own, slope, codes in zip(system.hessian, own_gradient, state.codes)
        ]
    )
    state = moved(state, moves)
    return identity + shared_move[:-1], focal_px * float(np.exp(shared_move[-1])), state
