"""Which picture of a set spoils the avatar: found by how badly the avatar explains it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.geometry import quaternion_to_matrix
from recon.capture import PreparedFrame
from recon.capture.opencv import cv2
from recon.capture.quality import View
from recon.fit.fitter import Fit
from recon.fit.observation import Observation
from render.rasterize import rasterize

logger = logging.getLogger(__name__)

# Times the median of the other photos' error, and of the second worst; and at least so much in 0..1.
# Other light does this more often than another person, of whom `check_same_person` speaks.
SPOILS, STANDS_OUT, LEAST_ERROR = 2.0, 1.2, 0.03


def views(frames: Sequence[PreparedFrame], codes: ExpressionCode) -> list[View]:
    """How far each frame's face is turned and its eyes shut, by its code."""
    forward = quaternion_to_matrix(codes.head_rotation)[:, :, 2].numpy()
    yaw = np.degrees(np.arctan2(np.abs(forward[:, 0]), forward[:, 2]))
    blinks = [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]
    shut = codes.coefficients[:, blinks].mean(1)
    return [View(frame, float(y), float(s)) for frame, y, s in zip(frames, yaw, shut)]


def say_what_spoils(
    frames: Sequence[PreparedFrame], observations: Sequence[Observation], fit: Fit
) -> None:
    """Log a warning that names the photo, of three or more, that the avatar explains worst, where it
    stands out: another person, light or make-up that the rest do not share.
    """
    if len(frames) < 3:
        return
    errors = face_errors(frames, observations, fit)
    worst = int(np.nanargmax(errors))
    others = np.delete(errors, worst)
    rest = float(np.nanmedian(others))
    if errors[worst] > max(SPOILS * rest, STANDS_OUT * float(np.nanmax(others)), LEAST_ERROR):
        logger.warning(
            "%s fits the other photos badly (its face differs by %.1f %% from the avatar's, theirs "
            "by %.1f %%); leave it out if the avatar looks worse with it",
            frames[worst].source, 100 * errors[worst], 100 * rest,
        )  # fmt: skip


def face_errors(
    frames: Sequence[PreparedFrame], observations: Sequence[Observation], fit: Fit
) -> np.ndarray:
    """Mean absolute difference of each photo's face from the avatar, [F], sRGB 0..1."""
    errors = []
    camera = fit.tracking.camera
    for index, (frame, seen) in enumerate(zip(frames, observations)):
        size = seen.size_px
        with torch.no_grad():
            gaussians = fit.avatar.gaussians(fit.codes.at(index))
            drawn = rasterize(gaussians, camera.resized(size, size), background=torch.ones(3))
        apart = np.abs(drawn.colors.numpy() - seen.over((1.0, 1.0, 1.0))).mean(-1)
        face = face_mask(frame, size) & seen.valid
        errors.append(float(apart[face].mean()) if face.any() else np.nan)
    return np.array(errors)


def face_mask(frame: PreparedFrame, size_px: int) -> np.ndarray:
    """The hull of the landmarks in the picture of the fit, [S, S] bool."""
    points = frame.landmarks[:468, :2] * (size_px / len(frame.image))
    mask = np.zeros((size_px, size_px), np.uint8)
    hull = cv2.convexHull(points.astype(np.float32)).round().astype(np.int32)
    cv2.fillConvexPoly(mask, hull, (1,))
    return mask > 0
