"""Landmarks that a head itself makes from known codes: tracking must find these again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.geometry import rotation_vector_to_quaternion
from avatar3d.heads import HeadModel
from recon.track.landmark_shape import landmark_shape
from recon.track.tracking import crop_camera

SIZE_PX = 512
DISTANCE_M = 0.86
# What a face shows at once, left and right alike; a few of these make one face.
FACES = (
    ("mouthSmileLeft", "mouthSmileRight"),
    ("jawOpen",),
    ("eyeBlinkLeft", "eyeBlinkRight"),
    ("browInnerUp",),
    ("browDownLeft", "browDownRight"),
    ("mouthPucker",),
    ("mouthFunnel",),
    ("eyeLookOutLeft", "eyeLookInRight"),
    ("eyeLookInLeft", "eyeLookOutRight"),
    ("eyeLookUpLeft", "eyeLookUpRight"),
    ("mouthFrownLeft", "mouthFrownRight"),
    ("mouthUpperUpLeft", "mouthUpperUpRight"),
    ("mouthLeft",),
    ("mouthRight",),
    ("browOuterUpLeft", "browOuterUpRight"),
)


class Scene(NamedTuple):
    identity: torch.Tensor  # [I]
    codes: ExpressionCode  # [F]
    landmarks: np.ndarray  # [F, 478, 2] px


def random_codes(rng: np.random.Generator, head: HeadModel, frames: int) -> torch.Tensor:
    """Each frame shows at most three of FACES."""
    coefficients = torch.zeros(frames, head.expression_count)
    for frame in range(frames):
        for face in rng.choice(len(FACES), size=rng.integers(0, 4), replace=False):
            amount = float(rng.uniform(0.3, 0.9))
            for name in FACES[face]:
                coefficients[frame, ARKIT_INDEX[name]] = amount
    return coefficients


def make_scene(
    head: HeadModel,
    seed: int,
    frames: int,
    noise_px: float = 0.0,
    turn: float = 0.25,
    identity_size: float = 0.7,
    coefficients: torch.Tensor | None = None,
    focal_px: float = 1500.0,
) -> Scene:
    """A random person, turned by up to about `turn` radians, seen by a crop camera of 512 px."""
    rng = np.random.default_rng(seed)
    identity = torch.from_numpy(rng.normal(0, identity_size, head.identity_count)).float()
    if coefficients is None:
        coefficients = random_codes(rng, head, frames)
    rotation = torch.from_numpy(rng.normal(0, turn, (frames, 3)) * [0.5, 1.0, 0.3]).float()
    translation = torch.from_numpy(rng.normal(0, 0.01, (frames, 3))).float()
    codes = ExpressionCode(
        coefficients,
        rotation_vector_to_quaternion(rotation),
        translation,
        ExpressionCode.neutral(frames).neck_rotation,
    )
    camera = crop_camera(focal_px, SIZE_PX, DISTANCE_M * focal_px / 1500)
    person = landmark_shape(head).of_person(identity.double().numpy())
    world = torch.from_numpy(person.points(coefficients.double().numpy())).float()
    posed = head_to_world(world, codes)
    in_camera = posed @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    px = (in_camera @ camera.K.T)[..., :2] / in_camera[..., 2:]
    return Scene(identity, codes, px.numpy() + rng.normal(0, noise_px, px.shape))


def head_to_world(points: torch.Tensor, codes: ExpressionCode) -> torch.Tensor:
    from avatar3d.geometry import quaternion_to_matrix

    rotation = quaternion_to_matrix(codes.head_rotation)
    return points @ rotation.transpose(-1, -2) + codes.head_translation[:, None]
