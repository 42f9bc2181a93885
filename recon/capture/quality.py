"""What a user should know of their pictures before they wonder about the avatar.

Nothing here is refused: an avatar can be made from all of it, but part of it is then a guess.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from recon.capture.landmarks import CHIN, FOREHEAD
from recon.capture.opencv import cv2
from recon.capture.prepared import PreparedFrame

logger = logging.getLogger(__name__)

SIDE_DEGREES = 40.0  # beyond it one cheek is hidden
SHUT = 0.6  # mean of both eyeBlinks
FACE_PX = 192  # faces are brought to this height before their blur is measured
BLUR_SIGMA_PX = 2.0
# Of 37 photos, paintings and drawings none lost less than .26; blurred by 1 % of the height of the face
# they lost .09 to .21, by 2 % .04 to .12.
LEAST_DETAIL = 0.18


class View(NamedTuple):
    """One picture as the tracker understood it."""

    frame: PreparedFrame
    yaw_degrees: float  # to either side, 0 is frontal
    shut: float  # 0..1, both eyes


def say_what_is_missing(views: Sequence[View]) -> None:
    """Log a warning, naming the file, for what no picture shows."""
    if not views:
        return
    name = views[0].frame.source if len({view.frame.source for view in views}) == 1 else None
    where = name or "every picture"
    frontal = min(views, key=lambda view: view.yaw_degrees)
    if frontal.yaw_degrees > SIDE_DEGREES:
        logger.warning(
            "%s shows the face from the side only (%.0f degrees at least), so its other side is "
            "made up; add a picture from the front",
            where, frontal.yaw_degrees,
        )  # fmt: skip
    if min(view.shut for view in views) > SHUT:
        logger.warning(
            "%s shows the eyes closed, so their colour is made up; add a picture with open eyes",
            where,
        )


def say_which_are_blurred(frames: Sequence[PreparedFrame]) -> None:
    """Log a warning for every photo without detail."""
    blurred = list(dict.fromkeys(frame.source for frame in frames if detail(frame) < LEAST_DETAIL))
    if blurred:
        logger.warning(
            "%s %s blurred or enlarged from few pixels, and the avatar will be as soft; give a "
            "sharper picture where there is one",
            _listed(blurred), "is" if len(blurred) == 1 else "are",
        )  # fmt: skip


def detail(frame: PreparedFrame) -> float:
    """The share of the face's gradients that a slight blur takes away, 0..1.

    Crete et al. 2007, "The blur effect": blurring again changes a sharp picture much, a blurred one
    little. Faces are compared at one size; one that is smaller is not enlarged.
    """
    low, high = frame.landmarks[:468, :2].min(0), frame.landmarks[:468, :2].max(0)
    left, top = np.maximum(low, 0).astype(int)
    right, bottom = np.minimum(high, len(frame.image)).astype(int)
    face = cv2.cvtColor(frame.image[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
    height = float(np.linalg.norm(frame.landmarks[CHIN, :2] - frame.landmarks[FOREHEAD, :2]))
    scale = min(1.0, FACE_PX / max(height, 1.0))
    small = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return lost_to_blur(small)


def lost_to_blur(grey: UInt8[np.ndarray, "H W"] | Float[np.ndarray, "H W"]) -> float:
    """1 - |gradients after a blur| / |gradients|, 0 for a plain picture."""
    image = grey.astype(np.float32)
    softer = cv2.GaussianBlur(image, (0, 0), BLUR_SIGMA_PX)
    before, after = _gradients(image), _gradients(softer)
    return 1 - after / before if before > 0 else 0.0


def _gradients(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image, axis=0)).sum() + np.abs(np.diff(image, axis=1)).sum())


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
