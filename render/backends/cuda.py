"""gsplat's CUDA rasterizer behind the common interface; imported only when it is used."""

from __future__ import annotations

import importlib.metadata
import importlib.util

import torch
from torch import Tensor

from avatar3d.gaussians import Gaussians
from avatar3d.optional import require
from render.backends.base import DILATION_PX2, NEAR_PLANE_M

# 1.5 brought the opacity-aware extents and the 0.999 limit that the other backends keep.
MINIMUM_VERSION = (1, 5)


class CudaBackend:
    name = "cuda"

    def why_unavailable(self) -> str | None:
        if not torch.cuda.is_available():
            return "torch sees no CUDA device"
        if importlib.util.find_spec("gsplat") is None:
            return "the package gsplat is not installed (pip install 'avatar3d[cuda]')"
        version = importlib.metadata.version("gsplat")
        if tuple(int(part) for part in version.split("+")[0].split(".")[:2]) < MINIMUM_VERSION:
            return f"gsplat {version} is older than 1.5"
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
        """Tensors stay on their device if it is CUDA, else travel there and back.

        gsplat gives no gradient for K.
        """
        gsplat = require("gsplat", extra="cuda")
        home = gaussians.means.device
        device = home if home.type == "cuda" else torch.device("cuda")
        colors, alpha, _ = gsplat.rasterization(
            *(value.to(device) for value in gaussians),
            viewmats=viewmat.to(device)[None],
            Ks=K.to(device)[None],
            width=width,
            height=height,
            near_plane=NEAR_PLANE_M,
            eps2d=DILATION_PX2,
            backgrounds=background.to(device)[None],
            rasterize_mode="antialiased" if antialiased else "classic",
            packed=False,
        )
        return colors[0].to(home), alpha[0, ..., 0].to(home)
