"""Is the render as sharp as the truth? PSNR forgives blur; this does not."""

from __future__ import annotations

import torch
from torch import Tensor

# ITU-R BT.601 luma.
LUMA = (0.299, 0.587, 0.114)


def sharpness(render: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """Mean |Laplacian| of the grey render over that of the truth: 1 as sharp, below 1 blurred.

    Pictures [H, W, 3] in 0..1, at least 3 px wide and high; the outermost pixels do not count.
    `mask` [H, W] (bool or weights) restricts both means to a region; nan if the truth is flat.
    """
    if render.shape != truth.shape or min(render.shape[:2]) < 3:
        raise ValueError(
            "sharpness compares pictures of one size, 3 px or more, got "
            f"{tuple(render.shape)}, {tuple(truth.shape)}"
        )
    weights = torch.ones(render.shape[:2]) if mask is None else mask
    weights = weights[1:-1, 1:-1].double()
    detail, true_detail = (
        (_laplacian(picture).abs() * weights).sum() for picture in (render, truth)
    )
    return (detail / true_detail).item() if true_detail > 0 else float("nan")


def _laplacian(picture: Tensor) -> Tensor:
    """The four neighbours minus four times the pixel, [H - 2, W - 2]."""
    grey = picture.double() @ torch.tensor(LUMA, dtype=torch.float64, device=picture.device)
    centre = grey[1:-1, 1:-1]
    return grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
