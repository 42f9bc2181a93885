"""A scene whose truth is known: a plain head before a camera, as the fit would see it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from avatar3d.avatar import Avatar, pose_gaussians
from avatar3d.binding import Binding
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.geometry import rotation_vector_to_quaternion
from avatar3d.heads import load_head
from avatar3d.template import Template, make_template
from recon.fit.observation import Observation, Sighting, area_with_closed_eyes, sight
from render.rasterize import rasterize

COUNT = 3000
SIZE_PX = 96
CAMERA = Camera.frontal(focal_length_px=230, size_px=SIZE_PX, distance_m=0.9)


class Scene(NamedTuple):
    template: Template
    binding: Binding  # of the mean head


@lru_cache(maxsize=1)
def scene() -> Scene:
    template = make_template(load_head("default"), COUNT)
    return Scene(template, Binding(template, None))


def turned(yaw: float = 0.0, **coefficients: float) -> ExpressionCode:
    """A code whose head is turned to the subject's left by `yaw` radians, bust and all."""
    turn = rotation_vector_to_quaternion(torch.tensor([0.0, yaw, 0.0]))
    return ExpressionCode.from_named(**coefficients)._replace(head_rotation=turn)


def look(observation: Observation, code: ExpressionCode | None = None) -> Sighting:
    """How the mean head's anchors fall on an observation."""
    template, binding = scene()
    with torch.no_grad():
        return sight(
            observation,
            template,
            binding,
            template.head.rig(None),
            code or ExpressionCode.neutral(),
            CAMERA,
            area_with_closed_eyes(binding),
        )


def photograph(avatar: Avatar, code: ExpressionCode) -> Observation:
    """What the camera sees of an avatar on the mean head, free of background."""
    template, binding = scene()
    with torch.no_grad():
        gaussians = pose_gaussians(binding.frames(code), code, avatar.attributes, lit=template.lit)
        rendering = rasterize(gaussians, CAMERA, background=torch.zeros(3))
    alpha = rendering.alpha.numpy()
    colors = rendering.colors.numpy() / np.maximum(alpha, 1e-3)[..., None]
    return observe(colors.clip(0, 1), alpha)


def observe(
    colors: np.ndarray | Sequence[float], matte: np.ndarray, valid: np.ndarray | None = None
) -> Observation:
    """Colours, one or a picture of them, under a matte."""
    shape = (SIZE_PX, SIZE_PX, 3)
    return Observation(
        np.broadcast_to(np.asarray(colors, np.float32), shape).copy(),
        matte.astype(np.float32),
        np.ones(shape[:2], bool) if valid is None else valid,
    )


def disc(x: float, y: float, radius: float) -> np.ndarray:
    """A matte [S, S], px."""
    row, column = np.mgrid[:SIZE_PX, :SIZE_PX] + 0.5
    return (np.hypot(column - x, row - y) < radius).astype(np.float32)


EVERYWHERE = np.ones((SIZE_PX, SIZE_PX), np.float32)
