"""Landmarks in a picture as the tracker's data: weights, pinhole projection, residuals, first pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from avatar3d.errors import UserError
from recon.capture.mesh_points import BROWS, EYES, LIPS, OVAL
from recon.track.landmark_shape import LandmarkShape
from recon.track.rotation import nearest_rotation, skew

# The fold above the lid: the detector keeps it in place while the skin there slides down in a blink.
LID_FOLD = (247, 30, 29, 27, 28, 56, 190, 467, 260, 259, 257, 258, 286, 414)
# Upper and lower points that meet when eyes and mouth close. Their distance is what a viewer sees
# of a blink or a closed mouth, and the detector knows it better than where either point is.
GAPS = (
    (246, 7), (161, 163), (160, 144), (159, 145), (158, 153), (157, 154), (173, 155),
    (466, 249), (388, 390), (387, 373), (386, 374), (385, 380), (384, 381), (398, 382),
    (191, 95), (80, 88), (81, 178), (82, 87), (13, 14), (312, 317), (311, 402), (310, 318),
    (415, 324),
)  # fmt: skip
UPPER, LOWER = (list(side) for side in zip(*GAPS))
IRIS_CENTRES = (468, 473)  # the subject's right, then left
IRIS_LIDS = ((range(468, 473), 159, 145), (range(473, 478), 386, 374))  # with the lids' middles
# Points that barely move with the expression: their weak-perspective pose starts every frame.
RIGID = (6, 168, 197, 195, 5, 4, 1, 33, 133, 362, 263, 9, 8, 127, 356, 234, 454, 10, 152)

NOISE_M = 0.8e-3  # detector and model error a point, at the head
# 478 points are one network's output and err together: they count as this many independent ones.
INDEPENDENT_POINTS = 60.0
GAP_NOISE_M, INDEPENDENT_GAPS = 0.6e-3, 20.0  # the same for the distances of GAPS
GAP_NOISE_SHARE = 0.1  # of the distance: closed or open counts more than how far
# The detector bends a turned face towards what it knows from the front; noise grows by this much
# times 1 - cos of the angle between face and camera, by half at 40 degrees.
TURN_NOISE = 2.0
# Residuals beyond this grow linearly (Huber). Far enough that a lid on its way shut, 8 mm at first,
# is not taken for an outlier.
OUTLIER_M = 8e-3
# A landmark whose surface turns from the viewer is drawn where the detector guesses the outline:
# full weight above the first cosine, HIDDEN_WEIGHT below the second.
FACING, AVERTED, HIDDEN_WEIGHT = 0.35, -0.1, 0.1
# Between closed lids the detector only guesses the iris: no weight below the first opening.
IRIS_HIDDEN_M, IRIS_SEEN_M = 1.5e-3, 5e-3


def landmark_weights() -> Float[np.ndarray, " 478"]:
    """Relative weights: lips, lids, brows and irises carry the expression, the outline slides."""
    weights = np.ones(478)
    weights[list(LIPS)] = 3.0
    weights[list(EYES)] = weights[list(BROWS)] = 2.0
    weights[list(OVAL)] = 0.5
    weights[list(LID_FOLD)] = 0.1
    weights[468:] = 0.25
    weights[list(IRIS_CENTRES)] = 6.0
    return weights * (INDEPENDENT_POINTS / weights.sum())


WEIGHTS = landmark_weights()


@dataclass(frozen=True)
class Observation:
    """Landmarks of F frames in one crop, px relative to its centre."""

    landmarks_px: Float[np.ndarray, "F 478 2"]
    found: Bool[np.ndarray, " F"]

    @staticmethod
    def of(landmarks: np.ndarray, size_px: float) -> Observation:
        """From a detector's [F, 478, 2 or 3] in px of a square crop; frames without a face are nan."""
        landmarks = np.asarray(landmarks, dtype=np.float64)
        if landmarks.ndim != 3 or landmarks.shape[1] != 478 or landmarks.shape[2] not in (2, 3):
            raise UserError(
                f"landmarks must have the shape [frames, 478, 2 or 3] of MediaPipe with irises, "
                f"got {list(landmarks.shape)}; detect with refine_landmarks=True"
            )
        centred = landmarks[..., :2] - size_px / 2
        found = np.isfinite(centred).all(axis=(1, 2))
        if not found.any():
            raise UserError(
                f"none of the {len(found)} frames has landmarks; expected at least one face, "
                "use pictures in which a face is seen from the front"
            )
        return Observation(centred, found)

    def at(self, index: np.ndarray | slice) -> Observation:
        return Observation(self.landmarks_px[index], self.found[index])


@dataclass(frozen=True)
class Pose:
    """Head to camera (OpenCV axes) of F frames: x_camera = R x_head + t."""

    rotation: Float[np.ndarray, "F 3 3"]
    translation: Float[np.ndarray, "F 3"]

    def apply(self, points: Float[np.ndarray, "F L 3"]) -> Float[np.ndarray, "F L 3"]:
        return points @ self.rotation.transpose(0, 2, 1) + self.translation[:, None]

    def at(self, index: np.ndarray | slice) -> Pose:
        return Pose(self.rotation[index], self.translation[index])


def project(points_camera: np.ndarray, focal_px: float) -> np.ndarray:
    """[..., 3] camera frame -> [..., 2] px relative to the principal point."""
    return focal_px * points_camera[..., :2] / points_camera[..., 2:]


def projection_derivative(
    points_camera: Float[np.ndarray, "F L 3"], focal_px: float
) -> Float[np.ndarray, "F L 2 3"]:
    inverse_depth = 1 / points_camera[..., 2]
    derivative = np.zeros((*points_camera.shape[:-1], 2, 3))
    derivative[..., 0, 0] = derivative[..., 1, 1] = focal_px * inverse_depth
    derivative[..., 0, 2] = -focal_px * points_camera[..., 0] * inverse_depth**2
    derivative[..., 1, 2] = -focal_px * points_camera[..., 1] * inverse_depth**2
    return derivative


def pose_derivative(
    derivative: Float[np.ndarray, "F L 2 3"],
    points_camera: Float[np.ndarray, "F L 3"],
    pose: Pose,
) -> Float[np.ndarray, "F L 2 6"]:
    """By a rotation vector in camera axes about the head's origin, and by the translation."""
    arm = points_camera - pose.translation[:, None]
    return np.concatenate([-derivative @ skew(arm), derivative], axis=-1)


def frame_weights(
    residual_px: Float[np.ndarray, "F 478 2"],
    landmarks_px: Float[np.ndarray, "F 478 2"],
    pose: Pose,
    shape: LandmarkShape,
    focal_px: float,
) -> Float[np.ndarray, "F 478"]:
    """1/px^2 of landmarks: noise at the head's depth, Huber, less for what is hardly seen."""
    depth = pose.translation[:, 2:3]
    px_per_m = focal_px / depth  # [F, 1]
    noise_px = NOISE_M * px_per_m * _turn_noise(pose)
    length = np.linalg.norm(residual_px, axis=-1)
    huber = np.minimum(1.0, OUTLIER_M * px_per_m / np.maximum(length, 1e-9))
    # Seen along the line from the head to the camera; irises have no surface of their own here.
    towards_camera = -pose.translation / np.linalg.norm(pose.translation, axis=1, keepdims=True)
    cosine = (pose.rotation @ shape.normals.T).transpose(0, 2, 1) @ towards_camera[:, :, None]
    seen = np.clip((cosine[..., 0] - AVERTED) / (FACING - AVERTED), HIDDEN_WEIGHT, 1.0)
    huber[:, 468:] = 1.0
    for iris, upper, lower in IRIS_LIDS:
        opening = np.linalg.norm(landmarks_px[:, upper] - landmarks_px[:, lower], axis=-1)
        opening_m = opening / px_per_m[:, 0]
        open_share = np.clip((opening_m - IRIS_HIDDEN_M) / (IRIS_SEEN_M - IRIS_HIDDEN_M), 0.0, 1.0)
        seen[:, list(iris)] = open_share[:, None]
    return WEIGHTS * huber * seen / noise_px**2


def _turn_noise(pose: Pose) -> Float[np.ndarray, "F 1"]:
    towards_camera = -pose.translation / np.linalg.norm(pose.translation, axis=1, keepdims=True)
    cosine = (pose.rotation[:, :, 2] * towards_camera).sum(1, keepdims=True)
    return 1 + TURN_NOISE * (1 - cosine)


def with_gaps(values: Float[np.ndarray, "F 478 *rest"]) -> Float[np.ndarray, "F 501 *rest"]:
    """Landmarks followed by the differences of GAPS: positions, residuals or derivatives."""
    return np.concatenate([values, values[:, UPPER] - values[:, LOWER]], axis=1)


def with_gap_weights(
    weights: Float[np.ndarray, "F 478"],
    landmarks_px: Float[np.ndarray, "F 478 2"],
    pose: Pose,
    focal_px: float,
) -> Float[np.ndarray, "F 501"]:
    """`frame_weights` followed by those of the gaps, which fade as their points turn away."""
    px_per_m = focal_px / pose.translation[:, 2:3]
    relative = weights[:, :468] / WEIGHTS[:468] * (NOISE_M * px_per_m) ** 2  # turned, hidden
    opening = np.linalg.norm(landmarks_px[:, UPPER] - landmarks_px[:, LOWER], axis=-1)
    noise_px = np.hypot(GAP_NOISE_M * px_per_m, GAP_NOISE_SHARE * opening)
    gaps = np.minimum(relative[:, UPPER], relative[:, LOWER]) / noise_px**2
    return np.concatenate([weights, gaps * (INDEPENDENT_GAPS / len(GAPS))], axis=1)


def first_pose(
    landmarks_px: Float[np.ndarray, "F 478 2"],
    points: Float[np.ndarray, "478 3"],
    focal_px: float,
) -> Pose:
    """Weak perspective on the rigid points: a linear fit, then the nearest rotation."""
    rigid = list(RIGID)
    design = np.concatenate([points[rigid], np.ones((len(rigid), 1))], axis=1)
    affine = np.linalg.pinv(design) @ landmarks_px[:, rigid]  # [F, 4, 2]
    rows = affine[:, :3].transpose(0, 2, 1)  # [F, 2, 3]
    lengths = np.linalg.norm(rows, axis=2)
    depth = focal_px / lengths.mean(1)
    unit = rows / lengths[..., None]
    full = np.concatenate([unit, np.cross(unit[:, 0], unit[:, 1])[:, None]], axis=1)
    translation = np.concatenate(
        [affine[:, 3] * (depth / focal_px)[:, None], depth[:, None]], axis=1
    )
    return Pose(nearest_rotation(full), translation)
