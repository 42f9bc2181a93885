"""The floor: show the support frame whose landmarks lie nearest, unchanged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recon.benchmark.clip import PreparedClip, PreparedFrame
from recon.benchmark.method import Fitted, Method
from recon.benchmark.regions import FACE_LANDMARKS


def nearest_frame(support: Sequence[PreparedFrame], landmarks: np.ndarray) -> PreparedFrame:
    """The support frame with the smallest mean distance in the picture to `landmarks` [478, 3]
    (px of the stored crop): it counts pose, place and expression alike.
    """
    face = landmarks[:FACE_LANDMARKS, :2]

    def distance_px(frame: PreparedFrame) -> float:
        offsets = frame.landmarks[:FACE_LANDMARKS, :2] - face
        return float(np.linalg.norm(offsets, axis=1).mean())

    return min(support, key=distance_px)


class CopyFitted(Fitted):
    def __init__(self, support: Sequence[PreparedFrame]):
        self._support = support
        self._pictures = {frame.index: frame.on_white() for frame in support}

    def render(self, test_index: int, clip: PreparedClip) -> np.ndarray:
        return self._pictures[nearest_frame(self._support, clip.landmarks[test_index]).index]


class Copy(Method):
    name = "copy"

    def fit(self, support: Sequence[PreparedFrame], clip: PreparedClip) -> Fitted:
        return CopyFitted(support)
