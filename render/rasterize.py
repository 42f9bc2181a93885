"""Gaussians and a camera to pixels: the one entry to all backends."""

from __future__ import annotations

import functools
import logging
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatar3d.camera import Camera
from avatar3d.errors import UserError
from avatar3d.gaussians import Gaussians
from render import spherical_harmonics
from render.backends.base import Backend
from render.checks import check_background, check_batch, check_camera, check_gaussians

BackendName = Literal["auto", "reference", "cpu", "cuda"]
Mode = Literal["classic", "antialiased"]

_log = logging.getLogger(__name__)


class Rendering(NamedTuple):
    colors: Tensor  # [..., H, W, C] over the background
    alpha: Tensor  # [..., H, W]
    depth: Tensor | None  # [..., H, W] metres, mean over what covers the pixel; 0 where nothing


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    *,
    background: Tensor | None = None,
    sh_degree: int | None = None,
    mode: Mode = "classic",
    backend: BackendName = "auto",
    return_depth: bool = False,
) -> Rendering:
    """Draw Gaussians as a camera sees them, with the semantics of gsplat 1.5's `rasterization`.

    Differentiable in all tensors of `gaussians`, in `background`, and in the camera's viewmat and
    K. Leading dimensions of Gaussians, camera and background broadcast and are drawn one by one.

    gaussians: `colors` are [..., N, C] with any number of channels, or with `sh_degree` (0 to 3)
        SH coefficients [..., N, K, 3] evaluated for the view.
    background: [C] or [..., C]; black if None.
    mode: "antialiased" lowers the opacity of splats that the 0.3 px^2 dilation enlarges (Yu et al.
        2024, "Mip-Splatting").
    backend: "auto" takes cuda for tensors on a GPU, else cpu, else (float64, or Numba missing) the
        slow reference.
    return_depth: also compute depth, at the cost of a fourth channel.
    """
    ready = _ready(gaussians, camera, background, sh_degree, mode, backend)
    chosen, gaussians, colors, viewmat, K, background, batch = ready
    if return_depth:
        # What is not finite is not drawn; a zero keeps its NaN out of the camera's gradient.
        means = gaussians.means.nan_to_num(0.0, 0.0, 0.0)
        depth = means @ viewmat[..., 2, :3, None] + viewmat[..., 2, 3, None, None]
        rows = torch.broadcast_shapes(depth.shape[:-1], colors.shape[:-1])
        colors = torch.cat([colors.expand(*rows, -1), depth.expand(*rows, -1)], dim=-1)
        background = torch.cat([background, torch.zeros_like(background[..., :1])], dim=-1)

    size, antialiased = (camera.width, camera.height), mode == "antialiased"
    gaussians = gaussians._replace(colors=colors)
    if 0 in batch:
        image = colors.new_zeros(*batch, camera.height, camera.width, background.shape[-1])
        alpha = image[..., 0]
    elif batch:
        single_dims = (2, 2, 2, 1, 2, 2, 2, 1)  # of one picture's tensors
        *values, viewmat, K, background = (
            value.expand(*batch, *value.shape[value.ndim - dims :]).flatten(0, len(batch) - 1)
            for value, dims in zip((*gaussians, viewmat, K, background), single_dims)
        )
        image, alpha = chosen.render_batch(
            Gaussians(*values), viewmat, K, *size, background, antialiased
        )
        image, alpha = image.unflatten(0, batch), alpha.unflatten(0, batch)
    else:
        image, alpha = chosen.render(gaussians, viewmat, K, *size, background, antialiased)
    if not return_depth:
        return Rendering(image, alpha, None)
    # Alpha is 0 or at least 1/255, so the floor only guards pixels without any splat.
    return Rendering(image[..., :-1], alpha, image[..., -1] / alpha.clamp_min(1e-4))


@torch.no_grad()
def rasterize_8_bit(
    gaussians: Gaussians,
    camera: Camera,
    *,
    background: Tensor | None = None,
    sh_degree: int | None = None,
    mode: Mode = "classic",
    backend: BackendName = "auto",
) -> np.ndarray:
    """`to_uint8(rasterize(...).colors)` of one picture, uint8 [H, W, 3], bit for bit but sooner:
    the cpu backend writes bytes at once."""
    ready = _ready(gaussians, camera, background, sh_degree, mode, backend)
    if ready.batch:
        raise ValueError(f"one picture at a time is drawn in 8 bits, got {list(ready.batch)}")
    if ready.colors.shape[-1] != 3:
        raise ValueError(f"8-bit pictures have 3 channels, got {ready.colors.shape[-1]}")
    return ready.backend.render_8_bit(
        ready.gaussians._replace(colors=ready.colors),
        ready.viewmat,
        ready.K,
        camera.width,
        camera.height,
        ready.background,
        mode == "antialiased",
    )


class _Ready(NamedTuple):
    """What the arguments of `rasterize` come to, checked."""

    backend: Backend
    gaussians: Gaussians
    colors: Tensor  # plain channels
    viewmat: Tensor
    K: Tensor
    background: Tensor
    batch: torch.Size


def _ready(
    gaussians: Gaussians,
    camera: Camera,
    background: Tensor | None,
    sh_degree: int | None,
    mode: Mode,
    backend: BackendName,
) -> _Ready:
    if mode not in ("classic", "antialiased"):
        raise ValueError(f"mode is 'classic' or 'antialiased', got {mode!r}")
    check_gaussians(gaussians, sh_degree)
    check_camera(camera)
    channels = 3 if sh_degree is not None else gaussians.colors.shape[-1]
    if background is None:
        background = gaussians.colors.new_zeros(channels)
    check_background(background, channels)
    batch = check_batch(gaussians, camera, background, sh_degree)
    chosen = _choose(backend, gaussians.means)
    viewmat, K = camera.viewmat.to(gaussians.means), camera.K.to(gaussians.means)
    background = background.to(gaussians.means)
    colors = gaussians.colors
    if sh_degree is not None:
        colors = _seen_from(viewmat, gaussians, sh_degree)
    return _Ready(chosen, gaussians, colors, viewmat, K, background, batch)


def warm_up() -> None:
    """Compile (or load from the cache) every kernel: avatar, cpu backend, loss and mesh.

    Without it the first use of each waits for its kernels: about 20 s in sum where the cache is
    cold (once per installation), 0.5 s where it is not.
    """
    from avatar3d.fused.stage import warm_up as warm_up_avatar
    from render.losses import photometric_loss, prepare_target
    from render.mesh import rasterize_mesh

    warm_up_avatar()
    generator = torch.Generator().manual_seed(0)
    gaussians = Gaussians(
        means=torch.rand(8, 3, generator=generator) * 0.1,
        quaternions=torch.rand(8, 4, generator=generator),
        scales=torch.full((8, 3), 0.01),
        opacities=torch.full((8,), 0.5),
        colors=torch.rand(8, 3, generator=generator),
    )
    gaussians = Gaussians(*(value.requires_grad_() for value in gaussians))
    camera = Camera.frontal(focal_length_px=32.0, size_px=32, distance_m=1.0)
    rasterize_8_bit(gaussians, camera, backend="cpu")
    image = rasterize(gaussians, camera, backend="cpu").colors
    photometric_loss(image, prepare_target(torch.zeros(32, 32, 3))).backward()
    corners = np.array([[0.0, 0.0], [0.0, 4.0], [4.0, 0.0]])
    rasterize_mesh(corners, np.ones(3), np.array([[0, 1, 2]]), 4, 4)


def _seen_from(viewmat: Tensor, gaussians: Gaussians, sh_degree: int) -> Tensor:
    """Colours [..., N, 3] of SH coefficients; NaN, thus not drawn, where an input is not finite."""
    coefficients, means = gaussians.colors, gaussians.means
    position = -(viewmat[..., :3, :3].mT @ viewmat[..., :3, 3:])[..., 0]
    if means.is_cuda or torch.isfinite(coefficients.detach().sum() + means.detach().sum()):
        return spherical_harmonics.evaluate(coefficients, means, position, sh_degree)
    # Evaluated at zeros instead, so that no NaN reaches the gradients of the others or the camera.
    whole_means = means.isfinite().all(-1, keepdim=True)
    whole = coefficients.isfinite().flatten(-2).all(-1, keepdim=True)
    means = torch.where(whole_means, means, 0.0)
    coefficients = torch.where(whole[..., None], coefficients, 0.0)
    colors = spherical_harmonics.evaluate(coefficients, means, position, sh_degree)
    return torch.where(whole & whole_means, colors, torch.nan)


@functools.cache
def _backend(name: str) -> Backend:
    if name == "reference":
        from render.backends.reference import ReferenceBackend

        return ReferenceBackend()
    if name == "cpu":
        from render.backends.cpu import CpuBackend

        return CpuBackend()
    if name == "cuda":
        from render.backends.cuda import CudaBackend

        return CudaBackend()
    raise ValueError(f"backend is 'auto', 'reference', 'cpu' or 'cuda', got {name!r}")


def _choose(name: str, means: Tensor) -> Backend:
    if name != "auto":
        backend = _backend(name)
        reason = backend.why_unavailable()
        if reason is not None:
            raise UserError(f"the rasterizer backend {name!r} cannot run here: {reason}")
        return backend
    if means.dtype == torch.float64:
        return _backend("reference")  # double precision is asked for truth, not speed
    for candidate in ("cuda", "cpu") if means.is_cuda else ("cpu",):
        reason = _backend(candidate).why_unavailable()
        if reason is None:
            return _backend(candidate)
        _say_once(candidate, reason)
    return _backend("reference")


@functools.cache
def _say_once(name: str, reason: str) -> None:
    _log.warning("the rasterizer backend %r cannot run here (%s); using a slower one", name, reason)
