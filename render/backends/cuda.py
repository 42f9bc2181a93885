"""gsplat's CUDA rasterizer behind the common interface; imported only when it is used."""

from __future__ import annotations

import importlib.metadata
import importlib.util

import torch
from torch import Tensor

from avatar3d.gaussians import Gaussians
from avatar3d.optional import require
from render.backends.base import DILATION_PX2, NEAR_PLANE_M, Backend

# 1.5 brought the opacity-aware extents and the 0.999 limit that the other backends keep.
MINIMUM_VERSION = (1, 5)


class CudaBackend(Backend):
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
        """Computed in float32 on the tensors' GPU, or on the first if they come from elsewhere."""
        batch = (*gaussians, viewmat, K, background)
        *values, viewmat, K, background = (value[None] for value in batch)
        colors, alpha = self.render_batch(
            Gaussians(*values), viewmat, K, width, height, background, antialiased
        )
        return colors[0], alpha[0]

    def render_batch(
        self,
        gaussians: Gaussians,
        viewmat: Tensor,
        K: Tensor,
        width: int,
        height: int,
        background: Tensor,
        antialiased: bool,
    ) -> tuple[Tensor, Tensor]:
        """All pictures in one call of gsplat, each with a camera of its own."""
        gsplat = require("gsplat", extra="cuda")
        home = gaussians.means
        device = _device(home)
        tensors = (*gaussians, viewmat, K, background)
        *values, viewmat, K, background = (value.to(device, torch.float32) for value in tensors)
        if K.requires_grad:
            viewmat, K = intrinsics_into_view(viewmat, K)
        colors, alpha, _ = gsplat.rasterization(
            *values,  # [B, N, ...]; gsplat's cameras are a dimension of their own behind B
            viewmats=viewmat[:, None],
            Ks=K[:, None],
            width=width,
            height=height,
            near_plane=NEAR_PLANE_M,
            eps2d=DILATION_PX2,
            backgrounds=background[:, None],
            rasterize_mode="antialiased" if antialiased else "classic",
            packed=False,
        )
        return colors[:, 0].to(home), alpha[:, 0, ..., 0].to(home)


def _device(home: Tensor) -> torch.device:
    return home.device if home.is_cuda else torch.device("cuda")


def intrinsics_into_view(viewmat: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """The same view, with K's gradient led through viewmat: gsplat has none for K.

    K x = K0 (K0^-1 K) x, where K0 is a constant of K's value; so K0^-1 K, whose value is the
    identity, goes to the camera's side of the projection. [..., 4, 4] and [..., 3, 3].
    """
    constant = K.detach()
    change = torch.eye(4, dtype=K.dtype, device=K.device).repeat(*K.shape[:-2], 1, 1)
    for axis in (0, 1):
        focal = constant[..., axis, axis]
        change[..., axis, axis] = K[..., axis, axis] / focal
        change[..., axis, 2] = (K[..., axis, 2] - constant[..., axis, 2]) / focal
    return change @ viewmat, constant
