"""A head model in plain paint: skin, lips, brows, lashes and irises, drawn under one light.

It is not a person, so pictures of it belong to nobody, and its code is known exactly: what trackers
are measured on, and what the detector's habits are learned from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.geometry import vertex_normals
from avatar3d.heads import HeadModel
from avatar3d.heads.model import PART_INDEX, PARTS
from avatar3d.heads.skinning import LEFT_EYE, RIGHT_EYE
from recon.capture.mesh_points import EYES
from recon.capture.opencv import cv2
from recon.track import kernels
from render.mesh import project_points, rasterize_mesh

OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)  # fmt: skip  # noqa: E501
BROW_LOOPS = (
    (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
    (300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
)
IRIS_RADIUS_M, PUPIL_RADIUS_M = 5.9e-3, 2.3e-3
LASH_WIDTH_M = 1.0e-3
# The front of the face flattened to x and y: one texel is a quarter of a millimetre.
_TEXEL_M, _TEXELS = 2.5e-4, 800


@dataclass(frozen=True)
class Paint:
    """Colours, linear enough for a detector: sRGB in 0..1."""

    skin: tuple[float, float, float] = (0.80, 0.62, 0.53)
    lips: tuple[float, float, float] = (0.68, 0.36, 0.36)
    brows: tuple[float, float, float] = (0.25, 0.17, 0.13)
    hair: tuple[float, float, float] = (0.22, 0.15, 0.11)
    iris: tuple[float, float, float] = (0.32, 0.22, 0.14)
    cloth: tuple[float, float, float] = (0.25, 0.30, 0.40)
    background: tuple[float, float, float] = (0.62, 0.66, 0.70)
    light: tuple[float, float, float] = (0.35, 0.5, 0.8)  # toward it, head at rest
    ambient: float = 0.55


def random_paint(rng: np.random.Generator) -> Paint:
    """Skin from light to dark, lips and hair that go with it, the light from anywhere in front."""
    tone = rng.uniform(0.25, 1.0)
    skin = np.array([0.35, 0.24, 0.18]) * (1 - tone) + np.array([0.92, 0.76, 0.68]) * tone
    lips = skin * [0.85, 0.6, 0.62] * rng.uniform(0.9, 1.05)
    dark = rng.uniform(0.3, 0.75)
    return Paint(
        skin=_color(skin),
        lips=_color(lips),
        brows=_color(skin * dark * [0.6, 0.5, 0.45]),
        hair=_color(rng.uniform(0.05, 0.6) * np.array([1.0, 0.8, 0.6])),
        iris=_color(rng.uniform(0.1, 0.5, 3)),
        cloth=_color(rng.uniform(0.1, 0.8, 3)),
        background=_color(rng.uniform(0.2, 1.0, 3)),
        light=_color(np.array([rng.uniform(-0.7, 0.7), rng.uniform(0.0, 0.8), 0.8])),
        ambient=float(rng.uniform(0.45, 0.75)),
    )


@dataclass(frozen=True)
class PaintedHead:
    """One identity of a head model, ready to be drawn in any code."""

    head: HeadModel
    identity: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    paint: Paint = field(default_factory=Paint)

    def picture(self, code: ExpressionCode, camera: Camera) -> UInt8[np.ndarray, "H W 3"]:
        """One code (no batch) as `camera` sees it."""
        posed = self.head.vertices(self.identity, code)
        triangles = self.head.triangles
        points_px, depth = project_points(
            posed.double().numpy(), camera.viewmat.double().numpy(), camera.K.double().numpy()
        )
        seen = rasterize_mesh(points_px, depth, triangles.numpy(), camera.width, camera.height)
        covered = seen.triangle >= 0
        index = seen.triangle[covered]
        corners = triangles.numpy()[index]
        # Where a pixel is on the mean face, and the posed surface's normal there.
        values = np.concatenate(
            [self.head.neutral.numpy(), vertex_normals(posed, triangles).numpy()], axis=1
        )
        mixed = kernels.interpolate(values, corners, seen.barycentrics[covered])
        colors = self._colors(self.head.triangle_part.numpy()[index], mixed[:, :3])
        light = np.array(self.paint.light, np.float32) / np.linalg.norm(self.paint.light)
        cosine = mixed[:, 3:] @ light.astype(np.float32)
        shade = self.paint.ambient + (1.05 - self.paint.ambient) * np.maximum(cosine, 0)
        image = np.empty((camera.height, camera.width, 3), np.float32)
        image[:] = self.paint.background
        image[covered] = colors * shade[:, None]
        # A lens is never as sharp as a z-buffer.
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.7))
        return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)

    def _colors(
        self, part: Int[np.ndarray, " P"], at: Float[np.ndarray, "P 3"]
    ) -> Float[np.ndarray, "P 3"]:
        """Unlit colours of pixels by their part and place on the mean face."""
        paint = self.paint
        table = np.array([_PART_COLORS.get(name, paint.skin) for name in PARTS], np.float32)
        for name, color in (("scalp", paint.hair), ("bust", paint.cloth)):
            table[PART_INDEX[name]] = color
        colors = table[part]
        in_front = _PAINTED[part] & (at[:, 2] > 0.0)
        texel = np.clip(at[:, :2] / _TEXEL_M + _TEXELS / 2, 0, _TEXELS - 1).astype(np.int32)
        for mask, color in zip(_masks(self.head), (paint.lips, paint.brows, paint.brows)):
            share = mask[texel[:, 1], texel[:, 0]] * in_front
            painted = np.flatnonzero(share)
            colors[painted] += share[painted, None] * (
                np.array(color, np.float32) - colors[painted]
            )
        eyeballs = np.flatnonzero(_EYEBALLS[part])
        colors[eyeballs] = self._eye_colors(at[eyeballs])
        return colors

    def _eye_colors(self, at: Float[np.ndarray, "P 3"]) -> Float[np.ndarray, "P 3"]:
        joints = self.head.joints.numpy()
        centre = np.where(at[:, :1] > 0, joints[LEFT_EYE], joints[RIGHT_EYE])
        away = at - centre
        off_axis = np.where(away[:, 2] > 0, np.hypot(away[:, 0], away[:, 1]), 1.0)
        colors = np.full((len(at), 3), 0.93, np.float32)
        for radius, color in ((IRIS_RADIUS_M, self.paint.iris), (PUPIL_RADIUS_M, (0.03,) * 3)):
            share = np.clip((radius - off_axis) / 4e-4 + 0.5, 0, 1)[:, None]
            colors += share * (np.array(color, np.float32) - colors)
        return colors


_PAINTED = np.isin(PARTS, ("face", "eyelids"))
_EYEBALLS = np.isin(PARTS, ("left_eyeball", "right_eyeball"))
_PART_COLORS = {
    "upper_teeth": (0.90, 0.88, 0.82),
    "lower_teeth": (0.86, 0.84, 0.78),
    "gums": (0.65, 0.35, 0.36),
    "tongue": (0.72, 0.38, 0.38),
    "mouth": (0.28, 0.12, 0.12),
}


def _color(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


@lru_cache(maxsize=4)
def _masks(head: HeadModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lips, brows and lashes over x and y of the mean face, f32 [T, T] in 0..1."""
    corners = head.triangles[head.landmark_triangles]
    points = (head.landmark_barycentrics[..., None] * head.neutral[corners]).sum(1).numpy()
    texels = points[:, :2] / _TEXEL_M + _TEXELS / 2
    lips, brows, lashes = (np.zeros((_TEXELS, _TEXELS), np.float32) for _ in range(3))
    cv2.fillPoly(lips, [texels[list(OUTER_LIPS)].astype(np.int32)], (1.0,))
    for loop in BROW_LOOPS:
        cv2.fillPoly(brows, [texels[list(loop)].astype(np.int32)], (1.0,))
    width = round(LASH_WIDTH_M / _TEXEL_M)
    for loop in (EYES[:16], EYES[16:]):
        cv2.polylines(lashes, [texels[list(loop)].astype(np.int32)], True, (0.8,), width)
    lips, brows, lashes = (
        np.asarray(cv2.GaussianBlur(mask, (0, 0), 2.0)) for mask in (lips, brows, lashes)
    )
    return lips, brows, lashes
