"""What `rasterize` refuses, each in one sentence: the argument, what it must be, what it is.

Free beside a picture: shapes and dtypes, and the few numbers of cameras on the CPU. The thousands
of numbers of Gaussians are looked at by the kernels, which leave out what is not finite.
"""

from __future__ import annotations

import math
from numbers import Integral

import torch
from torch import Tensor

from avatar3d.camera import Camera
from avatar3d.gaussians import Gaussians
from render import spherical_harmonics


def check_gaussians(gaussians: Gaussians, sh_degree: int | None) -> None:
    means = gaussians.means
    for name, value in zip(Gaussians._fields, gaussians):
        _check_tensor(name, value)
    if means.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"means must be float32 or float64, got {_dtype_name(means)}")
    if means.ndim < 2 or means.shape[-1] != 3:
        raise ValueError(f"means must be [..., N, 3], got {tuple(means.shape)}")
    count = means.shape[-2]
    endings = {"quaternions": (count, 4), "scales": (count, 3), "opacities": (count,)}
    for name, value in zip(Gaussians._fields[1:], gaussians[1:]):
        if value.dtype != means.dtype:
            wanted = _dtype_name(means)
            raise ValueError(f"{name} must be {wanted} like means, got {_dtype_name(value)}")
        if value.device != means.device:
            raise ValueError(f"{name} must be on {means.device} like means, got {value.device}")
        ending = endings.get(name)
        if ending is not None and tuple(value.shape[-len(ending) :]) != ending:
            wanted = f"[..., {', '.join(map(str, ending))}]"
            raise ValueError(f"{name} must be {wanted}, got {tuple(value.shape)}")
    if sh_degree is None:
        _check_channels(gaussians.colors, count)
    else:
        _check_harmonics(gaussians.colors, count, sh_degree)


def _check_channels(colors: Tensor, count: int) -> None:
    shape = tuple(colors.shape)
    if len(shape) < 2 or shape[-2] != count or shape[-1] < 1:
        raise ValueError(f"colors must be [..., {count}, C] with sh_degree=None, got {shape}")


def _check_harmonics(colors: Tensor, count: int, degree: int) -> None:
    highest = spherical_harmonics.MAX_DEGREE
    if not isinstance(degree, Integral) or not 0 <= degree <= highest:
        raise ValueError(f"sh_degree must be None or 0 to {highest}, got {degree!r}")
    shape = tuple(colors.shape)
    if len(shape) < 3 or shape[-3] != count or shape[-1] != 3:
        raise ValueError(
            f"colors must be [..., {count}, K, 3] with sh_degree={degree}, got {shape}"
        )
    needed = spherical_harmonics.coefficient_count(degree)
    if shape[-2] < needed:
        raise ValueError(
            f"colors must have {needed} coefficients or more with sh_degree={degree}, "
            f"got {shape[-2]}"
        )


def check_camera(camera: Camera) -> None:
    for name, size in (("width", camera.width), ("height", camera.height)):
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(
                f"the camera's {name} must be a whole number of 1 or more, got {size!r}"
            )
    for name, value, size in (("viewmat", camera.viewmat, 4), ("K", camera.K, 3)):
        _check_tensor(f"the camera's {name}", value)
        if tuple(value.shape[-2:]) != (size, size):
            shape = tuple(value.shape)
            raise ValueError(f"the camera's {name} must be [..., {size}, {size}], got {shape}")
        if not _finite(value):
            raise ValueError(f"the camera's {name} must be finite, got {value.tolist()}")
    numbers = _numbers(camera.K)
    if not all(x > 0 and y > 0 for x, y in zip(numbers[::9], numbers[4::9])):
        got = camera.K.diagonal(dim1=-2, dim2=-1)[..., :2].tolist()
        raise ValueError(f"the camera's focal lengths must be above 0, got {got}")


def check_background(background: Tensor, channels: int) -> None:
    _check_tensor("background", background)
    shape = tuple(background.shape)
    if not shape or shape[-1] != channels:
        raise ValueError(f"background must be [{channels}] or [..., {channels}], got {shape}")
    if not _finite(background):
        raise ValueError(f"background must be finite, got {background.tolist()}")


def check_batch(
    gaussians: Gaussians, camera: Camera, background: Tensor, sh_degree: int | None
) -> torch.Size:
    """The leading dimensions of the pictures."""
    color_dims = 2 if sh_degree is None else 3
    dims = 2, 2, 2, 1, color_dims, 2, 2, 1  # of one picture's tensors
    tensors = *gaussians, camera.viewmat, camera.K, background
    if all(value.ndim == count for value, count in zip(tensors, dims)):
        return torch.Size()
    leading = {
        name: value.shape[: value.ndim - count]
        for name, value, count in zip(
            (*Gaussians._fields, "viewmat", "K", "background"), tensors, dims
        )
    }
    try:
        return torch.broadcast_shapes(*leading.values())
    except RuntimeError:
        got = ", ".join(f"{name} {list(shape)}" for name, shape in leading.items())
        raise ValueError(f"leading dimensions must broadcast, got {got}") from None


def _check_tensor(name: str, value: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a torch.Tensor, got {type(value).__name__}")


def _finite(value: Tensor) -> bool:
    return all(map(math.isfinite, _numbers(value)))


def _numbers(value: Tensor) -> list[float]:
    """In order; none of a tensor on a GPU, which would have to be waited for."""
    return value.detach().float().flatten().tolist() if value.device.type == "cpu" else []


def _dtype_name(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
