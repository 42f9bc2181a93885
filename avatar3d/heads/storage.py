"""Heads as files: one safetensors file, bases quantised to integers with a scale a mode."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import safe_open
from torch import Tensor

from avatar3d.errors import UserError
from avatar3d.heads.model import HeadModel

_INDEX_FIELDS = {
    "triangles", "triangle_part", "landmark_triangles", "ibug_triangles", "mirror"
}  # fmt: skip
_TENSOR_FIELDS = [f.name for f in fields(HeadModel) if f.name not in ("name", "expression_names")]


def read_head(path: Path) -> HeadModel:
    """Read a head file; `UserError` when it is not one."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = json.loads(file.metadata()["head"])
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        tensors = {name: _expand(stored, name) for name in _TENSOR_FIELDS}
        return HeadModel(
            name=metadata["name"], expression_names=tuple(metadata["expression_names"]), **tensors
        )
    except FileNotFoundError:
        raise UserError(f"the head file {path} does not exist") from None
    except Exception as error:
        raise UserError(
            f"{path} is not a head file ({error}); expected a safetensors file written by avatar3d"
        ) from error


def write_head(head: HeadModel, path: Path) -> None:
    """Write a head; bases are stored as int16, exact to 1/32767 of each mode's largest motion."""
    arrays: dict[str, np.ndarray] = {}
    for name in _TENSOR_FIELDS:
        value = getattr(head, name).numpy()
        if name in ("identity_basis", "expression_basis"):
            scale = np.abs(value).max(axis=(1, 2)).clip(1e-12) / 32767
            arrays[name] = np.round(value / scale[:, None, None]).astype(np.int16)
            arrays[f"{name}_scale"] = scale.astype(np.float32)
        else:
            arrays[name] = value.astype(np.int32 if name in _INDEX_FIELDS else np.float32)
    metadata = {"name": head.name, "expression_names": list(head.expression_names)}
    save_file(arrays, str(path), metadata={"head": json.dumps(metadata)})


def _expand(stored: dict[str, Tensor], name: str) -> Tensor:
    value = stored[name]
    if name in _INDEX_FIELDS:
        return value.to(torch.int64)
    value = value.to(torch.float32)
    scale = stored.get(f"{name}_scale")
    if scale is not None:
        value = value * scale.to(torch.float32).reshape(-1, *[1] * (value.ndim - 1))
    return value
