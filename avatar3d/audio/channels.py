"""What a voice moves: 19 channels, the same left and right, and the coefficients they stand for.

Sound does not tell left from right, so paired coefficients share a channel.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES

CHANNELS: tuple[str, ...] = (
    "jawOpen", "jawForward", "mouthClose", "mouthFunnel", "mouthPucker", "mouthSmile",
    "mouthFrown", "mouthDimple", "mouthStretch", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthPress", "mouthLowerDown", "mouthUpperUp",
    "cheekPuff", "cheekSquint", "tongueOut",
)  # fmt: skip
CHANNEL_INDEX: dict[str, int] = {name: index for index, name in enumerate(CHANNELS)}


def _coefficients_of(channel: str) -> list[int]:
    names = [channel] if channel in ARKIT_INDEX else [channel + "Left", channel + "Right"]
    return [ARKIT_INDEX[name] for name in names]


# [19, 52]: row c has a 1 at each coefficient of channel c.
COEFFICIENTS_OF_CHANNELS: Float[np.ndarray, "19 52"] = np.zeros(
    (len(CHANNELS), len(ARKIT_NAMES)), np.float32
)
for _row, _channel in enumerate(CHANNELS):
    COEFFICIENTS_OF_CHANNELS[_row, _coefficients_of(_channel)] = 1.0
DRIVEN: tuple[int, ...] = tuple(map(int, np.flatnonzero(COEFFICIENTS_OF_CHANNELS.any(0))))


def to_coefficients(channels: Float[Tensor, "*T 19"]) -> Float[Tensor, "*T 52"]:
    """Coefficients of ARKit; those that no voice moves are 0."""
    return channels @ torch.from_numpy(COEFFICIENTS_OF_CHANNELS)


def to_channels(coefficients: Float[np.ndarray, "*T 52"]) -> Float[np.ndarray, "*T 19"]:
    """The mean of left and right."""
    spread = COEFFICIENTS_OF_CHANNELS
    return coefficients @ (spread / spread.sum(1, keepdims=True)).T
