"""Names of landmarks: groups of the 478 of MediaPipe's face mesh, and the 68 of iBUG by them.

The indices are the detector's public numbering; the positions come from our own measurements.
Subject's left = +X. Loops run through a half (x >= 0) of the face.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from avatar3d.heads.build import anthropometry as body

# Upper middle, round the left corner, lower middle.
LIP_INNER = [13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14]
LIP_WET = [12, 268, 271, 272, 407, 292, 325, 319, 403, 316, 15]
LIP_FRONT = [11, 302, 303, 304, 408, 306, 307, 320, 404, 315, 16]
LIP_OUTER = [0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17]
LIP_AROUND = [164, 393, 391, 322, 410, 287, 273, 335, 406, 313, 18]
LIP_LOOPS = [LIP_INNER, LIP_WET, LIP_FRONT, LIP_OUTER, LIP_AROUND]
# From the left eye's outer corner under the eye to the inner corner and back above it.
EYE_LOOPS = [
    [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466],
    [359, 255, 339, 254, 253, 252, 256, 341, 463, 414, 286, 258, 257, 259, 260, 467],
    [446, 261, 448, 449, 450, 451, 452, 453, 464, 413, 441, 442, 443, 444, 445, 342],
]  # fmt: skip
MIDLINE = [10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 164, 0, 11, 12, 13]
MIDLINE_LOWER = [14, 15, 16, 17, 18, 200, 199, 175, 152]
OVAL = [
    10,
    338,
    297,
    332,
    284,
    251,
    389,
    356,
    454,
    323,
    361,
    288,
    397,
    365,
    379,
    378,
    400,
    377,
    152,
]
UPPER_LIP = [
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308,
    62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292, 76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306,
]  # fmt: skip
LOWER_LIP = [
    146, 91, 181, 84, 17, 314, 405, 321, 375, 95, 88, 178, 87, 14, 317, 402, 318, 324,
    96, 89, 179, 86, 15, 316, 403, 319, 325, 77, 90, 180, 85, 16, 315, 404, 320, 307,
]  # fmt: skip
# The subject's right outline from the temple to the chin.
JAW_LINE = [54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152]
# iBUG's 17 to 67; its jaw line, 0 to 16, lies at other places (`jaw_line`).
IBUG_INNER = [
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305, 33, 160,
    158, 133, 153, 144, 362, 385, 387, 263, 373, 380, 61, 39, 37, 0, 267, 269, 291, 405, 314, 17,
    84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
]  # fmt: skip
# 468..472: the subject's right iris (centre, then four rim points), 473..477: the left.
RIGHT_IRIS, LEFT_IRIS = range(468, 473), range(473, 478)

JAW_POINTS = 17


def jaw_line(face: NDArray[np.float64]) -> NDArray[np.float64]:
    """iBUG's 0 to 16 on the 468 landmarks of a face, [17, 3]: evenly along the outline, from the
    height of the eyes (y = 0) on the subject's right under the chin to the left."""
    line = face[JAW_LINE]
    above = int(np.flatnonzero(line[:, 1] > 0.0)[-1])
    share = line[above, 1] / (line[above, 1] - line[above + 1, 1])
    line[above] += share * (line[above + 1] - line[above])
    line = line[above:]
    way = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
    steps = np.linspace(0.0, way[-1], JAW_POINTS // 2 + 1)
    right = np.stack([np.interp(steps, way, line[:, k]) for k in range(3)], axis=1)
    return np.concatenate([right, right[-2::-1] * (-1.0, 1.0, 1.0)])


STATISTICS_PATH = Path(__file__).with_name("statistics.safetensors")


class Statistics:
    """What was measured, in the head frame (metres): see measure.py."""

    def __init__(self, path: Path = STATISTICS_PATH):
        stored = load_file(str(path))
        origin = body.EYE_CENTRE_MEASURED * (0.0, 1.0, 1.0)
        self.mean = stored["mean"].astype(np.float64) - origin
        self.identity_modes = stored["identity_modes"].astype(np.float64)
        self.expression_modes = stored["expression_modes"].astype(np.float64)
        self.mirror: NDArray[np.int32] = stored["mirror"]
        self.mean[self.mirror == np.arange(478), 0] = 0.0

    def resting_face(self) -> NDArray[np.float64]:
        """The 468 landmarks of the mean face with the lips closed (the detector leaves 1.4 mm)."""
        face = self.mean[:468].copy()
        for loop, share in ((LIP_INNER, 1.0), (LIP_WET, 0.45)):
            for k in range(5):
                upper, lower = loop[k], loop[10 - k]
                middle = 0.5 * (face[upper] + face[lower])
                if loop is LIP_INNER:
                    target_upper = middle + (0.0, 0.00004, 0.0)
                    target_lower = middle - (0.0, 0.00004, 0.0)
                    self_upper, self_lower = target_upper - face[upper], target_lower - face[lower]
                    closing = {upper: self_upper, lower: self_lower}
                else:
                    inner_upper, inner_lower = LIP_INNER[k], LIP_INNER[10 - k]
                    gap = self.mean[inner_upper] - self.mean[inner_lower]
                    closing = {upper: -0.5 * share * gap, lower: 0.5 * share * gap}
                for index, move in closing.items():
                    face[index] += move
        right = np.arange(468)[face[:, 0] < -1e-9]
        face[right] = face[self.mirror[right]] * (-1.0, 1.0, 1.0)
        return face
