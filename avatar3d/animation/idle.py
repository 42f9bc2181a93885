"""A head on its own: it blinks, sways a little, and shows its expressions one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from avatar3d.animation.expressions import EXPRESSIONS, expression_code
from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.geometry import rotation_vector_to_quaternion
from avatar3d.motion import Motion
from avatar3d.smooth import smoothstep

BLINK_EVERY_S = 3.4  # people at rest blink some 17 times a minute
_CLOSING_S, _OPENING_S = 0.09, 0.17  # lids fall faster than they rise
_SWAY_RADIANS = (0.035, 0.07, 0.02)  # pitch, yaw, roll: what a seated listener moves
_SWAY_PERIODS_S = (4.1, 5.3, 6.7)  # without a common multiple, so that no loop is seen


def idle(duration_s: float, frames_per_second: float = 25.0) -> Motion:
    """Blinks and a slow sway; always the same."""
    times_s = _times(duration_s, frames_per_second)
    codes = ExpressionCode.neutral(len(times_s))
    _blink(codes.coefficients, times_s)
    turn = torch.stack(
        [
            amount * torch.sin(2 * math.pi * times_s / period)
            for amount, period in zip(_SWAY_RADIANS, _SWAY_PERIODS_S)
        ],
        dim=-1,
    )
    rotation = rotation_vector_to_quaternion(turn)
    # The head turns on shoulders that stay: the neck takes the whole turn.
    return Motion(codes._replace(head_rotation=rotation, neck_rotation=rotation), frames_per_second)


def expression_tour(
    frames_per_second: float = 25.0,
    names: Sequence[str] = tuple(name for name in EXPRESSIONS if name != "neutral"),
    seconds_each: float = 1.0,
) -> Motion:
    """Idles while each expression comes, stays and goes."""
    motion = idle(seconds_each * len(names), frames_per_second)
    times_s = _times(motion.duration_s, frames_per_second)
    coefficients = motion.codes.coefficients
    for index, name in enumerate(names):
        phase = (times_s / seconds_each - index).clamp(0, 1)
        # Up in the first third, down in the last.
        strength = smoothstep(3 * phase) * smoothstep(3 * (1 - phase))
        coefficients += strength[:, None] * expression_code(name).coefficients
    coefficients.clamp_(0, 1)
    return motion


def _blink(coefficients: Tensor, times_s: Tensor) -> None:
    since_s = (times_s - 0.6 * BLINK_EVERY_S).remainder(BLINK_EVERY_S)
    closing = smoothstep(since_s / _CLOSING_S)
    opening = smoothstep((since_s - _CLOSING_S) / _OPENING_S)
    for side in ("Left", "Right"):
        coefficients[:, ARKIT_INDEX[f"eyeBlink{side}"]] = closing - opening


def _times(duration_s: float, frames_per_second: float) -> Tensor:
    count = max(1, round(duration_s * frames_per_second))
    return torch.arange(count, dtype=torch.float32) / frames_per_second
