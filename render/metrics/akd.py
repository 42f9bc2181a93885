"""Average keypoint distance between landmarks found on a render and on the truth.

Siarohin et al. 2019, "First Order Motion Model for Image Animation", with MediaPipe's 478 points.
The same detector repeats to about 0.3 px, so smaller differences mean nothing.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

LANDMARK_COUNT = 478
# MediaPipe's FACEMESH_LIPS: outer and inner contour of both lips.
LIPS: tuple[int, ...] = (
    0, 13, 14, 17, 37, 39, 40, 61, 78, 80, 81, 82, 84, 87, 88, 91, 95, 146, 178, 181, 185, 191, 267,
    269, 270, 291, 308, 310, 311, 312, 314, 317, 318, 321, 324, 375, 402, 405, 409, 415,
)  # fmt: skip
# Centre and four rim points of the iris, right eye then left.
IRIS: tuple[int, ...] = tuple(range(468, LANDMARK_COUNT))

Subset = Literal["all", "lips", "iris"]
_INDICES: dict[str, tuple[int, ...]] = {
    "all": tuple(range(LANDMARK_COUNT)),
    "lips": LIPS,
    "iris": IRIS,
}


def akd(found: np.ndarray, truth: np.ndarray, subset: Subset = "all") -> float:
    """Mean distance of corresponding landmarks [478, 2 or more], in their unit (x and y count)."""
    if subset not in _INDICES:
        raise ValueError(f"akd's subset is one of {', '.join(_INDICES)}, got {subset!r}")
    for landmarks in (found, truth):
        if landmarks.ndim != 2 or len(landmarks) != LANDMARK_COUNT or landmarks.shape[1] < 2:
            raise ValueError(f"akd wants landmarks [478, 2], got {landmarks.shape}")
    indices = list(_INDICES[subset])
    return float(np.linalg.norm(found[indices, :2] - truth[indices, :2], axis=1).mean())
