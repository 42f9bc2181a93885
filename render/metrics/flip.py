"""FLIP: how different two pictures look when flipped back and forth.

Andersson et al. 2020, "FLIP: A Difference Evaluator for Alternating Images", by its authors'
package.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avatar3d.optional import require

# The authors' default viewer: a 4K monitor 0.7 m wide, seen from 0.7 m.
PIXELS_PER_DEGREE = 67.0


def flip_map(image: Tensor, truth: Tensor, pixels_per_degree: float = PIXELS_PER_DEGREE) -> Tensor:
    """FLIP at every pixel, [H, W] in 0..1 (0 = alike), of sRGB pictures [H, W, 3] in 0..1."""
    evaluator = require("flip_evaluator", extra="bench")
    if image.shape != truth.shape or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"flip compares two [H, W, 3] pictures, got {tuple(image.shape)}, {tuple(truth.shape)}"
        )
    pictures = (
        np.ascontiguousarray(picture.detach().clamp(0, 1).numpy(), np.float32)
        for picture in (truth, image)
    )
    values, _, _ = evaluator.evaluate(
        *pictures, "LDR", applyMagma=False, computeMeanError=False,
        parameters={"ppd": pixels_per_degree},
    )  # fmt: skip
    return torch.from_numpy(np.array(values, np.float32).reshape(image.shape[:2]))


def flip(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """Mean of `flip_map`; with `mask` [H, W] (bool or weights) over a region."""
    values = flip_map(image, truth)
    weights = torch.ones_like(values) if mask is None else mask.to(values)
    return ((values * weights).sum() / weights.sum()).item()
