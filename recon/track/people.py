"""Who is meant in a clip that shows several, and where it cuts to another shot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.capture.landmarks import Chooser, Face, choose_face
from recon.capture.opencv import cv2

THUMBNAIL = (32, 24)
CUT_LEVEL = 0.10  # mean change of a thumbnail, in 0..1
CUT_FACTOR = 4.0  # and so many times what is usual in the clip


@dataclass(frozen=True)
class Choice:
    """Which face is meant, where there are several; by size where nothing is said."""

    size: int | None = None  # 0 is the largest
    place: tuple[float, float] | None = None  # shares of width and height
    number: int | None = None  # from left to right in the first frame that shows so many

    def __call__(self, faces: list[Face], size_px: tuple[int, int]) -> Face | None:
        """The chosen one of a frame's faces; None where it is not among them."""
        if self.place is not None:
            wanted = np.array(self.place) * size_px
            return min(faces, key=lambda face: float(np.linalg.norm(_centre(face) - wanted)))
        if self.number is not None:
            in_order = sorted(faces, key=lambda face: float(_centre(face)[0]))
            return in_order[self.number] if self.number < len(in_order) else None
        return choose_face(sorted(faces, key=lambda face: -face.height_px), "the clip", self.size)


def nearest_to(last: Face) -> Chooser:
    """Chooses who is nearest to a face of the frame before."""

    def choose(faces: list[Face], size_px: tuple[int, int]) -> Face:
        del size_px
        return min(faces, key=lambda face: float(np.linalg.norm(_centre(face) - _centre(last))))

    return choose


def _centre(face: Face) -> NDArray[np.floating]:
    return face.landmarks[:, :2].mean(0)


class CutFinder:
    """Says for each picture whether another shot begins with it."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._usual = 0.02

    def __call__(self, image: NDArray[np.uint8]) -> bool:
        small = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        last, self._last = self._last, np.asarray(small, np.float32)
        if last is None:
            return False
        change = float(np.abs(small - last).mean())
        cut = change > max(CUT_LEVEL, CUT_FACTOR * self._usual)
        if not cut:
            self._usual += 0.1 * (change - self._usual)
        return cut
