"""Structural similarity in plain torch: the metric, and the truth of the fused loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity":
# an 11x11 Gaussian window of sigma 1.5 px, K1 = 0.01, K2 = 0.03, for values in 0..1.
WINDOW_RADIUS = 5
WINDOW_SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2


def gaussian_window(dtype: torch.dtype = torch.float64) -> Tensor:
    """The 11 weights of the window along one axis, summing to 1."""
    offsets = torch.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1, dtype=dtype)
    weights = torch.exp(-(offsets**2) / (2 * WINDOW_SIGMA**2))
    return weights / weights.sum()


def ssim_map(image: Tensor, truth: Tensor) -> Tensor:
    """SSIM around every pixel and channel, [H, W, C]; windows see zeros beyond the border.

    Both pictures are [H, W, C] in 0..1. The zero border is 3DGS's convention, so that the metric
    and the training loss agree.
    """
    if image.shape != truth.shape or image.ndim != 3:
        raise ValueError(
            f"ssim compares two [H, W, C] pictures of one size, got {tuple(image.shape)} and "
            f"{tuple(truth.shape)}"
        )
    truth_mean = windowed(truth)
    truth_variance = windowed(truth * truth) - truth_mean * truth_mean
    return ssim_with(image, truth, WindowStatistics(truth_mean, truth_variance))


class WindowStatistics(NamedTuple):
    """What SSIM needs of the truth alone; both [H, W, C]."""

    mean: Tensor
    variance: Tensor


def windowed(picture: Tensor) -> Tensor:
    """Means over the window around every pixel of [H, W, C]."""
    window = gaussian_window().to(picture)
    planes = picture.permute(2, 0, 1)[:, None]
    planes = torch.nn.functional.conv2d(
        planes, window.view(1, 1, -1, 1), padding=(WINDOW_RADIUS, 0)
    )
    planes = torch.nn.functional.conv2d(
        planes, window.view(1, 1, 1, -1), padding=(0, WINDOW_RADIUS)
    )
    return planes[:, 0].permute(1, 2, 0)


def ssim_with(image: Tensor, truth: Tensor, of_truth: WindowStatistics) -> Tensor:
    """`ssim_map` where the truth's statistics are known."""
    truth_mean, truth_variance = of_truth
    mean = windowed(image)
    variance = windowed(image * image) - mean * mean
    covariance = windowed(image * truth) - mean * truth_mean
    luminance = (2 * mean * truth_mean + C1) / (mean * mean + truth_mean * truth_mean + C1)
    structure = (2 * covariance + C2) / (variance + truth_variance + C2)
    return luminance * structure


def ssim(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean SSIM, a scalar in -1..1; with `mask` [H, W] (bool or weights) the weighted mean."""
    values = ssim_map(image, truth).mean(dim=-1)
    if mask is None:
        return values.mean()
    weights = mask.to(values)
    return (values * weights).sum() / weights.sum()
