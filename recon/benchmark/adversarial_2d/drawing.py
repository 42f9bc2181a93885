"""Landmarks as a picture: the only thing about a pose that the networks see.

As in the paper, certain landmarks are joined by line segments, each part in a colour of its own.
Drawn from MediaPipe's 478 points or iBUG's 68, whichever are given.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from avatar3d.optional import require
from recon.capture.mesh_points import OVAL

Color = tuple[int, int, int]
Stroke = tuple[list[int], bool, Color]  # landmarks in order, whether the line closes, RGB

_OUTLINE, _BROWS, _NOSE = (0, 255, 0), (255, 127, 0), (0, 96, 255)
_EYES, _IRISES = (255, 0, 0), (255, 255, 255)
_LIPS, _MOUTH = (255, 0, 255), (0, 255, 255)

_MEDIAPIPE: list[Stroke] = [
    (list(OVAL), True, _OUTLINE),
    ([70, 63, 105, 66, 107, 55, 65, 52, 53, 46], True, _BROWS),
    ([300, 293, 334, 296, 336, 285, 295, 282, 283, 276], True, _BROWS),
    ([168, 6, 197, 195, 5, 4, 1], False, _NOSE),
    ([98, 97, 2, 326, 327], False, _NOSE),
    ([33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246], True, _EYES),
    ([263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466], True, _EYES),
    ([469, 470, 471, 472], True, _IRISES),
    ([474, 475, 476, 477], True, _IRISES),
    ([61, 146, 91, 181, 84, 17, 314, 405, 321, 375,
      291, 409, 270, 269, 267, 0, 37, 39, 40, 185], True, _LIPS),
    ([78, 95, 88, 178, 87, 14, 317, 402, 318, 324,
      308, 415, 310, 311, 312, 13, 82, 81, 80, 191], True, _MOUTH),
]  # fmt: skip
_IBUG: list[Stroke] = [
    (list(range(17)), False, _OUTLINE),
    (list(range(17, 22)), False, _BROWS),
    (list(range(22, 27)), False, _BROWS),
    (list(range(27, 31)), False, _NOSE),
    (list(range(31, 36)), False, _NOSE),
    (list(range(36, 42)), True, _EYES),
    (list(range(42, 48)), True, _EYES),
    (list(range(48, 60)), True, _LIPS),
    (list(range(60, 68)), True, _MOUTH),
]
STROKES = {478: _MEDIAPIPE, 68: _IBUG}
_FRACTION_BITS = 4  # cv2 takes whole numbers: sixteenths of a pixel


def landmark_picture(
    landmarks: Float[np.ndarray, "L 2"], size_px: int
) -> UInt8[np.ndarray, "S S 3"]:
    """The drawing on black. `landmarks` are shares of the picture's side (0..1, those outside are
    cut off), so that one set of points serves every size."""
    if len(landmarks) not in STROKES:
        raise ValueError(f"there must be 478 or 68 landmarks, got {len(landmarks)}")
    cv2 = require("cv2", extra="recon")
    # A pixel's centre is at 0.5 here and at 0 in cv2.
    at = np.round((landmarks * size_px - 0.5) * 2**_FRACTION_BITS).astype(np.int32)
    picture = np.zeros((size_px, size_px, 3), np.uint8)
    width = max(1, size_px // 128)
    for points, closed, color in STROKES[len(landmarks)]:
        cv2.polylines(picture, [at[points]], closed, color, width, cv2.LINE_AA, _FRACTION_BITS)
    return picture
