"""How far the frames agree on hair and cloth, which swing: what each shows elsewhere is in no place.

Refined all the same, such an anchor becomes a fleck that happens to suit some of the frames, or a dot
beyond an outline that is another one in the next. Where frames disagree it stays as large and as
opaque as it starts.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes
from avatar3d.template import SKIN, Template
from recon.fit.observation import Sighting, in_picture, sample
from render.metrics.sharpness import LUMA

_ENOUGH = 3  # frames that see an anchor, to tell that they disagree
_BLUR_PX = 1.5  # a strand that is a pixel off is no disagreement
_GREY = 0.04  # the median frame's difference in grey at which an anchor is a third as steady
_MATTE = 0.5  # the frames' standard deviation in the matte at which it is


def steadiness(
    template: Template,
    attributes: Attributes,
    sightings: Sequence[Sighting],
    hidden: Sequence[np.ndarray],
) -> Tensor:
    """[N, 1] from 0, where frames show different things in an anchor's place, to 1; of skin, which
    does not swing, and of what fewer than three frames see it is 1.

    hidden: of each frame, a mask [N] of the anchors that stand behind the head there.
    """
    index = np.flatnonzero((template.layer != SKIN).numpy())
    offsets = attributes.offsets[index].double().numpy()
    greys, mattes = zip(
        *(_look(seen, index, offsets, mask[index]) for seen, mask in zip(sightings, hidden))
    )
    grey, matte = (np.ma.masked_invalid(np.stack(values)) for values in (greys, mattes))
    apart = np.ma.median(np.ma.abs(grey - np.ma.median(grey, axis=0)), axis=0)
    steady = _of(apart, grey, _GREY) * _of(matte.std(axis=0), matte, _MATTE)
    result = torch.ones(template.count, 1)
    result[index, 0] = torch.from_numpy(steady).float()
    return result


def _look(
    sighting: Sighting, index: np.ndarray, offsets: np.ndarray, hidden: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Grey and matte [M] where one frame shows these anchors; nan where it does not."""
    observation = sighting.observation
    moved = np.einsum("mij,mj->mi", sighting.rotations[index], offsets)
    pixels, _ = sighting.project(sighting.positions[index] + moved)
    free = in_picture(observation, pixels) & ~hidden
    person = free & (sample(observation.core, pixels) > 0.7)
    grey = (observation.colors @ np.array(LUMA)).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), _BLUR_PX)
    return (
        np.where(person, sample(grey, pixels), np.nan),
        np.where(free, sample(observation.matte, pixels), np.nan),
    )


def _of(apart: np.ma.MaskedArray, values: np.ma.MaskedArray, usual: float) -> np.ndarray:
    """Steadiness [M] by how far the frames' values [F, M] lie apart."""
    told = np.ma.filled(apart, 0.0)
    return np.where(values.count(axis=0) >= _ENOUGH, np.exp(-((told / usual) ** 2)), 1.0)
