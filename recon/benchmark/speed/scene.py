"""The fixed scenes that speed is measured on: a synthetic head, and a fitted avatar."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from avatar3d.avatar import Avatar
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.files import temporary_folder
from avatar3d.gaussians import Gaussians

SEED = 0
_RADII_M = np.array([0.075, 0.105, 0.095])  # half the width, height and depth of a head
_RELIEF_M = 0.0008  # how far the Gaussians lie off the surface
_FLATNESS = 0.3  # thickness over width of a Gaussian
_COVERED = 0.5  # of the picture, by the head
_SILHOUETTE_M2 = math.pi * 0.078 * 0.109
_DISTANCE_M = 1.0


class Scene(NamedTuple):
    """What is drawn: its name in the report, the Gaussians, and a camera of any size."""

    name: str
    gaussians: Gaussians
    camera: Camera

    def resized(self, size_px: int) -> Scene:
        return self._replace(camera=self.camera.resized(size_px, size_px))

    def to(self, device: str) -> Scene:
        return self._replace(
            gaussians=Gaussians(*(value.to(device) for value in self.gaussians)),
            camera=replace(
                self.camera, viewmat=self.camera.viewmat.to(device), K=self.camera.K.to(device)
            ),
        )


def synthetic_head(count: int) -> Scene:
    """Flat Gaussians as large as their spacing on an ellipsoid with a face's bumps and dents.

    The same for every run and machine; it covers half of the picture.
    """
    random = np.random.default_rng(SEED)
    directions = _spread_directions(count) + random.normal(0, 0.3 / math.sqrt(count), (count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    means = directions * _RADII_M * _relief(directions)[:, None]
    means += random.normal(0, _RELIEF_M, means.shape)
    scales = math.sqrt(_ellipsoid_area(_RADII_M) / count) * np.exp(
        random.normal(-0.25, 0.3, (count, 3))
    )
    scales[:, 2] *= _FLATNESS
    normals = directions / _RADII_M
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    spin = random.uniform(0, math.pi, count)
    values = (
        means,
        _facing(normals, spin),
        scales,
        random.uniform(0.3, 1.0, count),
        np.clip(0.5 + 0.4 * directions + random.normal(0, 0.08, means.shape), 0, 1),
    )
    gaussians = Gaussians(*(torch.from_numpy(value.astype(np.float32)) for value in values))
    size_px = 512
    focal_length_px = math.sqrt(_COVERED * size_px**2 / _SILHOUETTE_M2) * _DISTANCE_M
    return Scene("head", gaussians, Camera.frontal(focal_length_px, size_px, _DISTANCE_M))


def avatar_scene(avatar: Avatar) -> Scene:
    """The avatar at rest, head and shoulders."""
    from avatar3d.animation import portrait_camera

    code = ExpressionCode.neutral(coefficient_count=avatar.head.expression_count)
    with torch.no_grad():
        return Scene("avatar", avatar.gaussians(code), portrait_camera(avatar, 512))


def load_or_make_avatar(path: Path | None, *, quick: bool) -> Avatar:
    """The avatar of a file, or one of the portrait that `avatar3d demo` shows."""
    from avatar3d.config import load_preset
    from recon.console import stage_bars
    from recon.making import write_portrait
    from recon.pipeline import CreateConfig, create

    if path is not None:
        return Avatar.load(path)
    config = load_preset(CreateConfig, "create", "draft" if quick else "default")
    with temporary_folder() as folder, stage_bars() as watch:
        return create([write_portrait(folder)], config, progress=watch).avatar


def _spread_directions(count: int) -> np.ndarray:
    """Evenly on the unit sphere [count, 3]: a Fibonacci spiral."""
    turn = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * turn / count), math.pi * (1 + math.sqrt(5)) * turn
    return np.stack(
        [np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], axis=-1
    )


def _relief(directions: np.ndarray) -> np.ndarray:
    """Factor of the radius [N]: a nose's ridge, two eye sockets, waves all around."""
    x, y, z = directions.T
    front = z > 0
    ridge = 0.18 * np.exp(-((x / 0.12) ** 2 + ((y + 0.05) / 0.2) ** 2))
    sockets = 0.08 * np.exp(-(((np.abs(x) - 0.35) / 0.15) ** 2 + ((y - 0.2) / 0.1) ** 2))
    return 1 + front * (ridge - sockets) + 0.05 * np.sin(6 * x) * np.sin(5 * y)


def _ellipsoid_area(radii: np.ndarray) -> float:
    """Thomsen's approximation, within 1.1 %."""
    a, b, c = radii**1.6
    return 4 * math.pi * ((a * b + a * c + b * c) / 3) ** (1 / 1.6)


def _facing(normals: np.ndarray, spin: np.ndarray) -> np.ndarray:
    """Quaternions wxyz [N, 4]: a turn by 2 `spin` about +Z, then +Z onto the normal."""
    w, x, y = 1 + normals[:, 2], -normals[:, 1], normals[:, 0]
    cosine, sine = np.cos(spin), np.sin(spin)
    turned = np.stack([w * cosine, x * cosine + y * sine, y * cosine - x * sine, w * sine], axis=-1)
    return turned / np.linalg.norm(turned, axis=1, keepdims=True)
