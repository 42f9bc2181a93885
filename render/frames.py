"""An avatar, its codes and a camera path to pictures."""

from __future__ import annotations

import itertools
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

__all__ = ["Posable", "drawn", "frames", "posed", "to_uint8"]


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
    return drawn(
        posed(avatar, codes), cameras, size,
        background=background, sh_degree=sh_degree, mode=mode, backend=backend,
    )  # fmt: skip


def posed(avatar: Posable, codes: Iterable[ExpressionCode] | ExpressionCode) -> Iterator[Gaussians]:
    """The avatar's Gaussians of each code, without gradient; computed as they are asked for."""
    for code in _unstacked(codes) if isinstance(codes, ExpressionCode) else codes:
        with torch.no_grad():  # holds for a thread, so it cannot be set by the caller
            gaussians = avatar.gaussians(code)
        yield gaussians


def drawn(
    gaussians: Iterable[Gaussians],
    cameras: Iterable[Camera] | Camera,
    size: tuple[int, int] | None = None,
    *,
    background: Tensor | None = None,
    sh_degree: int | None = None,
    mode: Mode = "classic",
    backend: BackendName = "auto",
) -> Iterator[np.ndarray]:
    """As `frames`, of what is posed already: posing and drawing may have a thread each."""
    cameras = itertools.repeat(cameras) if isinstance(cameras, Camera) else cameras
    background = torch.ones(3) if background is None else background
    for each, camera in zip(gaussians, cameras):
        if size is not None and size != (camera.width, camera.height):
            camera = camera.resized(*size)
        with torch.no_grad():
            picture = rasterize_8_bit(
                each,
                camera,
                background=background,
                sh_degree=sh_degree,
                mode=mode,
                backend=backend,
            )
        yield picture


def _unstacked(codes: ExpressionCode) -> Iterator[ExpressionCode]:
    if codes.coefficients.ndim == 1:
        yield codes
        return
    for index in range(len(codes.coefficients)):
        yield codes.at(index)
