"""The seven mouth measures of a head that is posed by coefficients."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar3d.audio.channels import CHANNELS, to_coefficients
from avatar3d.heads import HeadModel, load_head
from recon.audio.measures import mouth_measures
from recon.track.landmark_shape import landmark_shape

_DETECTOR_AXES = np.array([1.0, -1.0, -1.0])  # the head's are y up, z towards the viewer
_RIGHT_EYE, _LEFT_EYE = 33, 263


def measures_of_coefficients(
    head: HeadModel, coefficients: Float[np.ndarray, "F 52"]
) -> Float[np.ndarray, "F 7"]:
    """In units of the distance of the outer corners of the eyes, as `mouth_measures` wants it."""
    shape = landmark_shape(head)
    codes = np.zeros((len(coefficients), head.expression_count))
    codes[:, :52] = coefficients
    neutral = shape.points(np.zeros((1, head.expression_count)))[0]
    size = np.linalg.norm(neutral[_RIGHT_EYE] - neutral[_LEFT_EYE])
    return mouth_measures(shape.points(codes) * _DETECTOR_AXES / size)


@lru_cache(maxsize=1)
def measures_by_channel() -> Float[Tensor, "19 7"]:
    """How the measures of the default head follow the channels of a mouth that speaks."""
    channels = torch.zeros(2 * len(CHANNELS), len(CHANNELS))
    channels[:, 0] = 0.3  # the jaw is open, the lips are apart
    step = 0.1
    for row in range(len(CHANNELS)):
        channels[2 * row, row] -= step if row == 0 else 0.0
        channels[2 * row + 1, row] += step
    coefficients = to_coefficients(channels).double().numpy()
    measures = measures_of_coefficients(load_head("default"), coefficients)
    steps = np.full((len(CHANNELS), 1), step)
    steps[0] = 2 * step
    return torch.from_numpy((measures[1::2] - measures[::2]) / steps).float()
