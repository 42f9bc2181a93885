"""An avatar, its codes and a camera path to pictures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.gaussians import Gaussians
from render.eight_bit import to_uint8
from render.rasterize import BackendName, Mode, rasterize_8_bit

__all__ = ["Posable", "frames", "to_uint8", "turntable"]


class Posable(Protocol):
    """What can be drawn: an avatar, or anything that turns a code into Gaussians."""

    def gaussians(self, code: ExpressionCode) -> Gaussians: ...


def frames(
    avatar: Posable,
    codes: Iterable[ExpressionCode] | ExpressionCode,
    cameras: Iterable[Camera] | Camera,
    size: tuple[int, int] | None = None,
    *,
    background: Tensor | None = None,
    sh_degree: int | None = None,
    mode: Mode = "classic",
    backend: BackendName = "auto",
) -> Iterator[np.ndarray]:
    """Pictures [H, W, 3] uint8, one per code; computed as they are asked for.

    codes: one per frame, or one `ExpressionCode` whose tensors lead with the frames.
    cameras: one per frame, or one for all; the shorter of the two iterables ends the video.
    size: (width, height) px, the cameras' own if None.
    background: [3] in 0..1, white if None.
    """
    if isinstance(codes, ExpressionCode):
        codes = _unstacked(codes)
    cameras = itertools.repeat(cameras) if isinstance(cameras, Camera) else cameras
    background = torch.ones(3) if background is None else background
    for code, camera in zip(codes, cameras):
        if size is not None and size != (camera.width, camera.height):
            camera = camera.resized(*size)
        with torch.no_grad():
            gaussians = avatar.gaussians(code)
        yield rasterize_8_bit(
            gaussians,
            camera,
            background=background,
            sh_degree=sh_degree,
            mode=mode,
            backend=backend,
        )


def turntable(
    frame_count: int,
    focal_length_px: float,
    size_px: int,
    distance_m: float,
    yaw_range: float = 2 * math.pi,
    pitch: float = 0.0,
) -> list[Camera]:
    """Cameras around the head that begin in front.

    A whole turn (`yaw_range` = 2 pi) goes round by equal steps and closes; a smaller range swings
    from the front to +range/2, to -range/2, and back, slow at the ends. Radians, metres.
    """
    phase = [2 * math.pi * index / frame_count for index in range(frame_count)]
    if yaw_range >= 2 * math.pi:
        yaws = phase
    else:
        yaws = [yaw_range / 2 * math.sin(angle) for angle in phase]
    return [Camera.frontal(focal_length_px, size_px, distance_m, yaw, pitch) for yaw in yaws]


def _unstacked(codes: ExpressionCode) -> Iterator[ExpressionCode]:
    if codes.coefficients.ndim == 1:
        yield codes
        return
    for index in range(len(codes.coefficients)):
        yield codes.at(index)
