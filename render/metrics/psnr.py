"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def psnr(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """10 log10(1 / mean squared error) in dB for pictures [H, W, C] in 0..1; inf if equal.

    `mask` [H, W] (bool or weights) restricts the mean to a region.
    """
    if image.shape != truth.shape:
        raise ValueError(
            f"psnr compares pictures of one size, got {tuple(image.shape)}, {tuple(truth.shape)}"
        )
    squared = (image.double() - truth.double()).square().mean(dim=-1)
    if mask is None:
        error = squared.mean()
    else:
        weights = mask.to(torch.float64)
        if not weights.sum() > 0:
            raise ValueError("psnr's mask is empty")
        error = (squared * weights).sum() / weights.sum()
    return math.inf if error == 0 else -10 * math.log10(error.item())
