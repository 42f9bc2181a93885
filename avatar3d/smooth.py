"""From 0 to 1 with no speed at either end, of numbers, arrays and tensors alike."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from torch import Tensor

Values = TypeVar("Values", float, np.ndarray, Tensor)


def smoothstep(value: Values, low: Any = 0.0, high: Any = 1.0) -> Values:
    """0 at `low` and beyond, 1 at `high`, the cubic of Hermite between; either may be the greater."""
    share: Any = (value - low) / (high - low)
    share = share.clamp(0, 1) if isinstance(share, Tensor) else np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)
