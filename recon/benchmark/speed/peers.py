"""Other rasterizers that are timed where they are installed, and named as absent where not."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import torch

from recon.benchmark.speed.scene import Scene
from render.backends.base import DILATION_PX2, NEAR_PLANE_M
from render.backends.cuda import CudaBackend


class Peer(NamedTuple):
    name: str  # begins its figures
    absent: str | None  # why it is not measured
    calls: Callable[[Scene], dict[str, Callable[[], object]]]  # figure -> what is timed


def peers() -> list[Peer]:
    return [
        Peer("gsplat_torch", _gsplat_missing(), _gsplat_torch),
        Peer("gsplat_cuda", CudaBackend().why_unavailable(), _gsplat_cuda),
    ]


def _gsplat_missing() -> str | None:
    if importlib.util.find_spec("gsplat") is None:
        return "the package gsplat is not installed"
    return None


def _gsplat_torch(scene: Scene) -> dict[str, Callable[[], object]]:
    """gsplat's own torch code, as far as it runs on a CPU: the projection. Its torch blending
    takes the list of (splat, pixel) pairs from its CUDA kernels."""
    from gsplat.cuda import _torch_impl as gsplat  # pyright: ignore[reportMissingImports]

    gaussians, camera = scene.gaussians, scene.camera

    @torch.no_grad()
    def project() -> object:
        quaternions = torch.nn.functional.normalize(gaussians.quaternions, dim=-1)
        covariances, _ = gsplat._quat_scale_to_covar_preci(
            quaternions, gaussians.scales, True, False
        )
        return gsplat._fully_fused_projection(
            gaussians.means, covariances, camera.viewmat[None], camera.K[None],
            camera.width, camera.height, eps2d=DILATION_PX2, near_plane=NEAR_PLANE_M,
        )  # fmt: skip

    return {"project": project}


def _gsplat_cuda(scene: Scene) -> dict[str, Callable[[], object]]:
    """The bare call of gsplat, without our entry around it."""
    import gsplat  # pyright: ignore[reportMissingImports]

    on_device = scene.to("cuda")
    gaussians, camera = on_device.gaussians, on_device.camera

    @torch.no_grad()
    def forward() -> object:
        return gsplat.rasterization(
            *gaussians, viewmats=camera.viewmat[None], Ks=camera.K[None],
            width=camera.width, height=camera.height, near_plane=NEAR_PLANE_M,
            eps2d=DILATION_PX2, packed=False,
        )  # fmt: skip

    return {"forward": forward}
