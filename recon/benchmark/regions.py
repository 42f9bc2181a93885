"""The three regions in which a picture is judged: crop, head, face."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from avatar3d.optional import require
from recon.benchmark.clip import EVAL_PX, PreparedFrame

FOREHEAD, CHIN = 10, 152  # MediaPipe's topmost and lowest landmark of the face
FACE_LANDMARKS = 468  # without the irises
CHIN_MARGIN = 0.06  # of the face's height: the head ends this far below the chin's landmark


class Regions(NamedTuple):
    """Masks at the size at which pictures are compared; a region may be empty."""

    crop: Bool[np.ndarray, "S S"]  # all of the camera's picture
    head: Bool[np.ndarray, "S S"]  # matte above the chin line
    face: Bool[np.ndarray, "S S"]  # hull of the landmarks


def regions_of(frame: PreparedFrame, truth_landmarks: Float[np.ndarray, "478 2"] | None) -> Regions:
    """The regions of a truth frame at EVAL_PX.

    The head's chin line comes from the clip's landmarks; the face's hull from landmarks found on
    the very picture that is compared (`truth_landmarks`, px), as the landmark distance is. Without
    them the face is empty.
    """
    inside = frame.inside()
    return Regions(inside, _head(frame) & inside, _hull(truth_landmarks, len(inside)) & inside)


def _head(frame: PreparedFrame) -> np.ndarray:
    landmarks = frame.landmarks_px()
    face_height = np.linalg.norm(landmarks[CHIN, :2] - landmarks[FOREHEAD, :2])
    chin_line = landmarks[CHIN, 1] + CHIN_MARGIN * face_height
    rows = np.arange(EVAL_PX) < int(np.clip(chin_line, 1, EVAL_PX))
    return (frame.alpha() > 0.5) & rows[:, None]


def _hull(landmarks: np.ndarray | None, size_px: int) -> np.ndarray:
    mask = np.zeros((size_px, size_px), np.uint8)
    if landmarks is not None:
        cv2 = require("cv2", extra="recon")
        cv2.fillConvexPoly(mask, cv2.convexHull(landmarks[:FACE_LANDMARKS].astype(np.int32)), 1)
    return mask > 0
