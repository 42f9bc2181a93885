"""Pictures of 0..1 as bytes."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def to_uint8(image: np.ndarray | Tensor) -> np.ndarray:
    """0..1 to 0..255, rounded and clipped, NaN to 0; uint8 passes unchanged."""
    if isinstance(image, Tensor):
        image = image.detach().cpu().numpy()
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f":
        raise ValueError(f"pictures are uint8 or float in 0..1, got {image.dtype}")
    scaled = np.nan_to_num(image * image.dtype.type(255), posinf=255.0, neginf=0.0)
    return (np.clip(scaled, 0, 255) + image.dtype.type(0.5)).astype(np.uint8)
