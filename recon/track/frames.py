"""New frames of a person who is known: pose and code of each, alone or one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from torch import Tensor

from avatar3d.codes import ExpressionCode
from recon.track.code_prior import CLOSE, CodePriorSettings
from recon.track.observation import Observation, Pose, first_pose
from recon.track.solver import Anchor, FrameState, step
from recon.track.tracking import Tracking, code_prior, observe

BATCH = 32  # frames solved together: bounds the memory
SETTLED = 0.01  # a step that changes no coefficient by more is the last


@dataclass(frozen=True)
class FrameSettings:
    first_steps: int = 7  # from weak perspective and a neutral code
    next_steps: int = 3  # from the frame before
    # Stiffness towards the frame before, against the landmarks' own (a video's frames are near).
    code: float = 2.0
    rotation: float = 5e3  # per rad^2
    translation: tuple[float, float, float] = (5e4, 5e4, 1.5e3)  # per m^2: depth is seen worst
    # Looser than for the support frames: there the neutral face is still to be told from expression.
    prior: CodePriorSettings = field(default_factory=lambda: CodePriorSettings(sparsity=0.35))


OWN = FrameSettings(prior=CLOSE)  # for frames that move nobody but the avatar of their own person


def track_frames(
    tracking: Tracking,
    landmarks: Float[np.ndarray, "F 478 C"] | Tensor,
    *,
    temporal: bool = False,
    previous: ExpressionCode | None = None,
    settings: FrameSettings | None = None,
) -> ExpressionCode:
    """Codes [F, ...] of frames in the crop of `tracking`, its identity and camera fixed.

    Independent frames depend on themselves alone. `temporal` is causal: each frame starts at the
    one before (the first at `previous`, one code without batch, where given) and stays near it.
    A frame without landmarks (nan) keeps the code of the frame before it, or of the next found.
    """
    settings = settings or FrameSettings()
    observation = observe(landmarks, tracking.camera.width)
    follow = _one_after_the_other if temporal else _each_alone
    start = None
    if previous is not None:
        start = tracking.to_state(ExpressionCode(*(value[None] for value in previous)))
    state = follow(tracking, observation, settings, start)
    return tracking.to_codes(state)


def _each_alone(
    tracking: Tracking, observation: Observation, settings: FrameSettings, start: FrameState | None
) -> FrameState:
    del start
    shape, prior = tracking.shape(), code_prior(tracking.head, settings.prior)
    found = np.where(observation.found)[0]
    parts = []
    for begin in range(0, len(found), BATCH):
        px = observation.landmarks_px[found[begin : begin + BATCH]]
        codes = np.zeros((len(px), tracking.head.expression_count))
        state = FrameState(first_pose(px, shape.neutral, tracking.focal_px), codes)
        for _ in range(settings.first_steps):
            state = step(shape, state, px, tracking.focal_px, prior)
        parts.append(state)
    # Each frame takes the last found one up to it; those before the first found take the first.
    source = np.searchsorted(found, np.arange(len(observation.found)), side="right") - 1
    return _joined(parts).at(np.maximum(source, 0))


def _one_after_the_other(
    tracking: Tracking, observation: Observation, settings: FrameSettings, start: FrameState | None
) -> FrameState:
    shape, prior = tracking.shape(), code_prior(tracking.head, settings.prior)
    first = int(np.argmax(observation.found))
    if start is None:
        start = _each_alone(tracking, observation.at(slice(first, first + 1)), settings, None)
    state, states = start, []
    stiffness = np.array(settings.translation)
    for index, found in enumerate(observation.found):
        if found:
            px = observation.landmarks_px[index : index + 1]
            anchor = Anchor(state, settings.code, settings.rotation, stiffness)
            for _ in range(settings.next_steps):
                before, state = state, step(shape, state, px, tracking.focal_px, prior, anchor)
                if np.abs(state.codes - before.codes).max() < SETTLED:
                    break
        states.append(state)
    return _joined(states)


def _joined(parts: list[FrameState]) -> FrameState:
    return FrameState(
        Pose(
            np.concatenate([part.pose.rotation for part in parts]),
            np.concatenate([part.pose.translation for part in parts]),
        ),
        np.concatenate([part.codes for part in parts]),
    )
