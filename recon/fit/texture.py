"""Fine detail that cannot be put in its place: as much of it as in the photograph, somewhere near.

Frames agree on hair, pores and stubble only up to a pixel, and what they disagree on, L1 and SSIM
answer best with blur. The mean |Laplacian| of a small window (texture energy, Laws 1980) does not
ask where in the window its detail lies.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from render.metrics.sharpness import LUMA

_WINDOW_PX, _STRIDE_PX = 9, 3
# So far from what is not the person: at the outline, energy would be made of specks before it.
_MARGIN_PX = 3
_DISAGREEMENT = 0.06  # of a window's mean grey: as hair's light and dark strands lie apart
_LUMA = torch.tensor(LUMA)


def texture_energy(picture: Tensor) -> Tensor:
    """Mean |Laplacian| of the grey picture [H, W, 3] in windows of 9 px every 3 px, [h, w]."""
    grey = picture @ _LUMA.to(picture.device)
    neighbours = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return _windows((neighbours - 4 * grey[1:-1, 1:-1]).abs())


def coarse_grey(picture: Tensor) -> Tensor:
    """The grey picture [H, W, 3] in the same windows, [h, w]."""
    return _windows((picture @ _LUMA.to(picture.device))[1:-1, 1:-1])


def agreement(coarse: Tensor, wanted: Tensor) -> Tensor:
    """How much detail a picture may be asked for that is `coarse` where `wanted` was, 0..1, [h, w].

    Hair that swings is in no place in the mean of many frames. There is nothing to put the detail on,
    and asked for it comes out as flecks.
    """
    return torch.exp(-(((coarse - wanted) / _DISAGREEMENT) ** 2))


def texture_weight(matte: Tensor, weight: Tensor) -> Tensor:
    """Weights [h, w] of the windows, summing to 1 (or all 0): how much of the person they hold,
    away from the outline. `matte` and `weight`: [H, W], on the CPU."""
    square = np.ones((2 * _MARGIN_PX + 1,) * 2, np.uint8)
    inside = torch.from_numpy(cv2.erode(matte.numpy(), square) > 0.9)
    weights = _windows((weight * inside)[1:-1, 1:-1])
    return weights / weights.sum().clamp(min=1e-12)


def _windows(values: Tensor) -> Tensor:
    return avg_pool2d(values[None, None], _WINDOW_PX, _STRIDE_PX)[0, 0]
