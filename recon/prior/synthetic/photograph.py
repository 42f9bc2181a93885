"""A synthetic person before a camera: pixels, a perfect matte, and landmarks that are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from recon.prior.synthetic.person import SyntheticPerson
from recon.prior.synthetic.scene import Light
from render.mesh import project_points
from render.rasterize import rasterize


@dataclass(frozen=True)
class Photograph:
    image: UInt8[np.ndarray, "S S 3"]  # sRGB
    matte: UInt8[np.ndarray, "S S"]  # 255 = person
    landmarks: Float[np.ndarray, "478 3"]  # px; z in px too, relative to the face's middle


def photograph(
    person: SyntheticPerson,
    code: ExpressionCode,
    light: Light,
    camera: Camera,
    background: Float[np.ndarray, "S S 3"],
    rng: np.random.Generator,
) -> Photograph:
    """One code (no batch), with the grain of a sensor and the small errors of a detector."""
    gaussians = person.gaussians(code, light, camera.position())
    drawn = rasterize(gaussians, camera, background=torch.zeros(3))
    alpha = drawn.alpha.numpy()
    picture = drawn.colors.numpy() + (1 - alpha[..., None]) * background
    picture = picture + rng.normal(0, rng.uniform(0.002, 0.012), picture.shape)
    return Photograph(
        image=(picture.clip(0, 1) * 255 + 0.5).astype(np.uint8),
        matte=(alpha.clip(0, 1) * 255 + 0.5).astype(np.uint8),
        landmarks=landmarks_px(person, code, camera, rng),
    )


def landmarks_px(
    person: SyntheticPerson,
    code: ExpressionCode,
    camera: Camera,
    rng: np.random.Generator | None = None,
) -> Float[np.ndarray, "478 3"]:
    """Where the head model has the landmarks in the picture, with a detector's noise by `rng`."""
    points = person.head.landmarks(person.identity, code).double().numpy()
    viewmat, K = camera.viewmat.double().numpy(), camera.K.double().numpy()
    pixels, depth = project_points(points, viewmat, K)
    z = (depth - depth.mean()) * K[0, 0] / depth.mean()
    found = np.concatenate([pixels, z[:, None]], axis=1)
    if rng is not None:
        unit = camera.width / 512  # detectors err by about as much of the crop, as a whole and each
        found[:, :2] += rng.normal(0, 0.35 * unit, 2) + rng.normal(0, 0.45 * unit, (478, 2))
    return found.astype(np.float32)
