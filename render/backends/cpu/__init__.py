"""Our rasterizer for CPUs: Numba kernels on explicit vectors, no compiler on the user's machine.

project -> sort by depth -> list splats per tile of 16 x 16 px -> blend blocks of 4 x 4 px; backward
in reverse. Numba is imported, and the kernels compiled or loaded from the cache, at first use.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from torch import Tensor

from avatar3d.gaussians import Gaussians
from render.backends.base import Backend


class CpuBackend(Backend):
    name = "cpu"

    def why_unavailable(self) -> str | None:
        if importlib.util.find_spec("numba") is None:
            return "the package numba is not installed (pip install 'avatar3d[recon]')"
        return None

    def render(
        self,
        gaussians: Gaussians,
        viewmat: Tensor,
        K: Tensor,
        width: int,
        height: int,
        background: Tensor,
        antialiased: bool,
    ) -> tuple[Tensor, Tensor]:
        """Computed in float32 on the CPU, returned in the dtype and on the device of the means."""
        from render.backends.cpu.function import RasterizeFunction

        home = gaussians.means
        tensors = _on_cpu(*gaussians, viewmat, K, background)
        image, alpha = RasterizeFunction.apply(*tensors, width, height, antialiased)
        return image.to(home), alpha.to(home)

    def render_8_bit(
        self,
        gaussians: Gaussians,
        viewmat: Tensor,
        K: Tensor,
        width: int,
        height: int,
        background: Tensor,
        antialiased: bool,
    ) -> np.ndarray:
        from render.backends.cpu.function import draw_8_bit

        return draw_8_bit(_on_cpu(*gaussians, viewmat, K, background), width, height, antialiased)


def _on_cpu(*tensors: Tensor) -> list[Tensor]:
    return [value.to(device="cpu", dtype=torch.float32) for value in tensors]
