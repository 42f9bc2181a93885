"""`Tracking`: one person before one camera, and the code of every frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.geometry import matrix_to_quaternion, quaternion_to_matrix
from avatar3d.heads import HeadModel
from recon.track.bust import BustReference, neck_rotation
from recon.track.code_prior import CodePrior, CodePriorSettings
from recon.track.landmark_shape import LandmarkShape, landmark_shape
from recon.track.observation import (
    NOISE_M,
    WEIGHTS,
    Observation,
    Pose,
    project,
    projection_derivative,
)
from recon.track.solver import FrameState

# World (+Y up, +Z to the camera) to camera (OpenCV) axes.
AXES = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Tracking:
    """What the support frames say. World: axes of the camera but y up and z towards it, its origin
    where the head was on average along the optical axis."""

    head: HeadModel
    identity: Float[Tensor, " I"]  # standard deviations
    camera: Camera  # one for all frames of a crop
    codes: ExpressionCode  # [F, ...]
    residual_px: Float[Tensor, " F"]  # mean landmark distance, px of the crop
    landmark_offsets: Float[Tensor, "478 3"]  # the person's, on top of the head's; head frame, m
    bust: BustReference

    @property
    def focal_px(self) -> float:
        return float(self.camera.K[0, 0])

    def shape(self) -> LandmarkShape:
        """The person's landmarks."""
        offsets = self.landmark_offsets.double().numpy()
        return landmark_shape(self.head).of_person(self.identity.double().numpy(), offsets)

    def to_codes(self, state: FrameState) -> ExpressionCode:
        return to_codes(state, float(self.camera.viewmat[2, 3]), self.bust)

    def to_state(self, codes: ExpressionCode) -> FrameState:
        """The solver's float64 view of codes [F, ...]."""
        rotation = quaternion_to_matrix(codes.head_rotation.double()).numpy()
        translation = codes.head_translation.double().numpy() @ AXES
        translation = translation + np.array([0.0, 0.0, float(self.camera.viewmat[2, 3])])
        return FrameState(Pose(AXES @ rotation, translation), codes.coefficients.double().numpy())

    def project_landmarks(self, codes: ExpressionCode) -> Float[np.ndarray, "F 478 2"]:
        """Where the model puts the landmarks in the crop, px."""
        return (
            project_state(self.shape(), self.to_state(codes), self.focal_px) + self.camera.width / 2
        )

    def residuals_px(
        self, codes: ExpressionCode, landmarks: np.ndarray
    ) -> Float[np.ndarray, "F 478"]:
        """Distance of every landmark to the detector's [F, 478, 2 or 3], px."""
        return np.linalg.norm(self.project_landmarks(codes) - landmarks[..., :2], axis=-1)


def to_codes(state: FrameState, distance_m: float, bust: BustReference | None) -> ExpressionCode:
    """Codes in the world; the neck straight while there is no bust yet."""
    rotation = matrix_to_quaternion(torch.from_numpy(AXES @ state.pose.rotation)).float()
    translation = (state.pose.translation - np.array([0.0, 0.0, distance_m])) @ AXES
    translation = torch.from_numpy(translation).float()
    neck = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(len(rotation), 4)
    if bust is not None:
        neck = neck_rotation(rotation, translation, bust)
    return ExpressionCode(torch.from_numpy(state.codes).float(), rotation, translation, neck)


def project_state(
    shape: LandmarkShape, state: FrameState, focal_px: float
) -> Float[np.ndarray, "F 478 2"]:
    """Landmarks in px relative to the crop's centre."""
    return project(state.pose.apply(shape.points(state.codes)), focal_px)


def landmark_directions(
    shape: LandmarkShape,
    state: FrameState,
    landmarks_px: Float[np.ndarray, "F 478 2"],
    focal_px: float,
) -> tuple[Float[np.ndarray, "F 478 2"], Float[np.ndarray, "F 478 2 3"]]:
    """Residuals in px, and how a landmark in the picture follows its point in the head frame."""
    points = state.pose.apply(shape.points(state.codes))
    by_point = projection_derivative(points, focal_px)
    return landmarks_px - project(points, focal_px), by_point @ state.pose.rotation[:, None]


@lru_cache(maxsize=4)
def code_prior(head: HeadModel, settings: CodePriorSettings) -> CodePrior:
    """The prior over a head's codes; kept for the next call."""
    return prior_of_shape(landmark_shape(head), head.expression_names, settings)


def prior_of_shape(
    shape: LandmarkShape, names: tuple[str, ...], settings: CodePriorSettings
) -> CodePrior:
    """Each coefficient's size is what a frontal picture of the mean face shows of it."""
    motion = shape.derivative_by_code(np.zeros((1, len(names))))[0, :, :2]  # x and y
    curvature = (WEIGHTS[:, None, None] * motion**2).sum((0, 1)) / NOISE_M**2
    return CodePrior(names, curvature, settings)


def crop_camera(focal_px: float, size_px: int, distance_m: float) -> Camera:
    viewmat = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    viewmat[2, 3] = distance_m
    K = torch.tensor([[focal_px, 0.0, size_px / 2], [0.0, focal_px, size_px / 2], [0.0, 0.0, 1.0]])
    return Camera(viewmat, K, size_px, size_px)


def observe(landmarks: np.ndarray | Tensor, size_px: float) -> Observation:
    """Landmarks [F, 478, 2 or 3] in px of a square crop, as the solver reads them."""
    return Observation.of(np.asarray(landmarks), size_px)
