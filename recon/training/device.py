"""Where a training runs: the device, mixed precision, and our objects moved there."""

from __future__ import annotations

import copy
from functools import cache
from typing import Literal, TypeVar

import torch
from torch import Tensor

from avatar3d.errors import UserError

Device = Literal["auto", "cpu", "cuda"]

T = TypeVar("T")


def choose_device(device: Device) -> torch.device:
    """auto: cuda where there is one."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda needs a GPU that torch sees, but there is none; use cpu")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """For reports."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"


def autocast(device: torch.device, on: bool) -> torch.autocast:
    """bfloat16, whose range needs no scaling of the loss; not on a CPU that only imitates it, where
    convolutions would take many times longer."""
    return torch.autocast(device.type, torch.bfloat16, enabled=on and knows_bfloat16(device))


@cache
def knows_bfloat16(device: torch.device) -> bool:
    """Of a CPU oneDNN is asked; every GPU that torch still supports knows it, fast or not."""
    asked = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return device.type == "cuda" or bool(asked is not None and asked())


def moved(value: T, device: torch.device | str) -> T:
    """A copy of an object of ours with all tensors in it on `device`; arrays stay in memory."""
    if isinstance(value, Tensor):
        return value.to(device)  # pyright: ignore[reportReturnType]
    if isinstance(value, (tuple, list)):
        items = [moved(item, device) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if type(value).__module__.split(".")[0] in ("avatar3d", "recon"):
        other = copy.copy(value)
        for name, item in vars(value).items():
            vars(other)[name] = moved(item, device)
        return other
    return value
