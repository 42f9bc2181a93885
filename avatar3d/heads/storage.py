"""Heads as files: one safetensors file, read without trust and written whole or not at all.

Bases are stored as integers with a scale a mode, or exactly as float32. The metadata say what the
head is, where it comes from and under which licence; a head that was installed also says its hash,
so that damage is noticed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor

from avatar3d.codes import ARKIT_NAMES
from avatar3d.container import read_container
from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from avatar3d.heads.model import PARTS, HeadModel
from avatar3d.heads.skinning import JOINT_NAMES

MAX_BYTES = 1 << 29
_METADATA_KEY = "head"
_INDEX_FIELDS = {
    "triangles", "triangle_part", "landmark_triangles", "ibug_triangles", "mirror", "combinations"
}  # fmt: skip
_TENSOR_FIELDS = [f.name for f in fields(HeadModel) if f.name not in ("name", "expression_names")]
_OPTIONAL_FIELDS = {
    "joint_expression", "pose_correctives", "own_map", "source_origin", "combinations",
    "combination_amounts",
}  # fmt: skip
_BASES = ("identity_basis", "expression_basis")
_SHAPES: dict[str, tuple[str | int, ...]] = {
    "neutral": ("vertices", 3),
    "triangles": ("triangles", 3),
    "triangle_part": ("triangles",),
    "uv": ("vertices", 2),
    "identity_basis": ("modes", "vertices", 3),
    "expression_basis": ("coefficients", "vertices", 3),
    "joints": ("joints", 3),
    "joint_identity": ("modes", "joints", 3),
    "skin_weights": ("vertices", "joints"),
    "joint_drive": ("coefficients", "joints", 3),
    "landmark_triangles": (478,),
    "landmark_barycentrics": (478, 3),
    "landmark_offsets": (478, 3),
    "ibug_triangles": (68,),
    "ibug_barycentrics": (68, 3),
    "mirror": ("vertices",),
    "joint_expression": ("coefficients", "joints", 3),
    "pose_correctives": (36, "vertices", 3),
    "own_map": (len(ARKIT_NAMES), "own"),
    "source_origin": (3,),
    "combinations": ("combinations", 3),
    "combination_amounts": ("combinations",),
}
_LARGEST_M = 10.0  # no coordinate or mode of a head reaches so far
_LARGEST_COEFFICIENT = 1e3


@dataclass(frozen=True)
class HeadFacts:
    """Where a head comes from; texts for people, empty where nothing is known."""

    source: str = ""
    licence: str = ""
    release: str = ""
    notes: str = ""  # what its conversion had to say: shapes that are missing, parts derived


def read_head(path: Path) -> HeadModel:
    """Read a head file; `UserError` when it is none, or not what was written."""
    if not path.exists():
        raise UserError(f"the head file {path} does not exist")
    try:
        stored, metadata = read_container(path, max_bytes=MAX_BYTES, metadata_key=_METADATA_KEY)
        head = _assemble(stored, metadata)
    except (UserError, _Wrong) as error:
        reason = str(error).removeprefix(f"{path} ")
        raise UserError(
            f"{path} is not a head file ({reason}); expected a safetensors file written by avatar3d"
        ) from None
    written = metadata.get("content_hash")
    if written is not None and head.content_hash() != written:
        raise UserError(
            f"{path} has changed since it was installed: its contents do not have the hash that it "
            "names; remove it and add the head again"
        )
    return head


def read_facts(path: Path) -> HeadFacts:
    """What a head file says of itself."""
    if not path.exists():
        raise UserError(f"the head file {path} does not exist")
    _, metadata = read_container(path, max_bytes=MAX_BYTES, metadata_key=_METADATA_KEY)
    known = {f.name: metadata.get(f.name) for f in fields(HeadFacts)}
    return HeadFacts(**{name: value for name, value in known.items() if isinstance(value, str)})


def write_head(
    head: HeadModel, path: Path, *, exact: bool = False, facts: HeadFacts | None = None
) -> None:
    """Write a head; the file appears whole or not at all.

    Bases are stored as int16, exact to 1/32767 of each mode's largest motion; `exact` keeps float32
    and the hash by which avatars know their head. With `facts` the file carries its own hash.
    """
    arrays: dict[str, np.ndarray] = {}
    for name in _TENSOR_FIELDS:
        value = getattr(head, name)
        if value is None:
            continue
        value = value.detach().contiguous().numpy()
        if name in _BASES and not exact:
            scale = np.abs(value).max(axis=(1, 2)).clip(1e-12) / 32767
            arrays[name] = np.round(value / scale[:, None, None]).astype(np.int16)
            arrays[f"{name}_scale"] = scale.astype(np.float32)
        else:
            arrays[name] = value.astype(np.int32 if name in _INDEX_FIELDS else np.float32)
    metadata: dict[str, Any] = {"name": head.name, "expression_names": list(head.expression_names)}
    if facts is not None:
        metadata |= asdict(facts)
        stored = {name: torch.from_numpy(value) for name, value in arrays.items()}
        metadata["content_hash"] = _assemble_arrays(stored, metadata).content_hash()
    content = save(arrays, metadata={_METADATA_KEY: json.dumps(metadata)})
    with atomic_output(path) as temporary:
        temporary.write_bytes(content)


class _Wrong(Exception):
    """What is wrong with a head's contents."""


def _wrong(reason: str) -> NoReturn:
    raise _Wrong(reason)


def _assemble(stored: dict[str, np.ndarray], metadata: dict[str, Any]) -> HeadModel:
    return _assemble_arrays({k: torch.from_numpy(v) for k, v in stored.items()}, metadata)


def _assemble_arrays(stored: dict[str, Tensor], metadata: dict[str, Any]) -> HeadModel:
    name, names = metadata.get("name"), metadata.get("expression_names")
    if not isinstance(name, str) or not isinstance(names, list):
        _wrong("it does not say its name or its coefficients")
    if tuple(names[: len(ARKIT_NAMES)]) != ARKIT_NAMES or not all(type(n) is str for n in names):
        _wrong("its coefficients are not the 52 of ARKit in Apple's order and then its own")
    tensors = {field: _expand(stored, field) for field in _TENSOR_FIELDS}
    _check_shapes(tensors, len(names))
    _check_values(tensors)
    return HeadModel(name=name, expression_names=tuple(names), **tensors)  # pyright: ignore[reportArgumentType]


def _expand(stored: dict[str, Tensor], name: str) -> Tensor | None:
    if name not in stored:
        if name in _OPTIONAL_FIELDS:
            return None
        _wrong(f"it lacks the array {name!r}")
    value = stored[name]
    if name in _INDEX_FIELDS:
        if value.is_floating_point():
            _wrong(f"array {name!r} should hold whole numbers")
        return value.to(torch.int64)
    value = value.to(torch.float32)
    scale = stored.get(f"{name}_scale")
    if scale is not None:
        if scale.ndim != 1 or scale.shape[0] != value.shape[0]:
            _wrong(f"array {name!r} and its scales do not fit each other")
        value = value * scale.to(torch.float32).reshape(-1, *[1] * (value.ndim - 1))
    return value


def _check_shapes(tensors: dict[str, Tensor | None], coefficients: int) -> None:
    sizes: dict[str, int] = {
        "coefficients": coefficients,
        "own": coefficients - len(ARKIT_NAMES),
        "joints": len(JOINT_NAMES),
    }
    for name, expected in _SHAPES.items():
        value = tensors[name]
        if value is None:
            continue
        got = tuple(value.shape)
        fits = len(got) == len(expected) and all(
            size == (sizes.setdefault(want, size) if isinstance(want, str) else want)
            for size, want in zip(got, expected)
        )
        if not fits:
            wanted = [sizes.get(w, w) if isinstance(w, str) else w for w in expected]
            _wrong(f"array {name!r} has shape {list(got)}, expected {wanted}")


def _check_values(tensors: dict[str, Tensor | None]) -> None:
    def of(name: str) -> Tensor:
        value = tensors[name]
        assert value is not None
        return value

    vertices, triangles = len(of("neutral")), len(of("triangles"))
    limits = {
        "triangles": vertices, "triangle_part": len(PARTS), "mirror": vertices,
        "landmark_triangles": triangles, "ibug_triangles": triangles,
        "combinations": len(of("expression_basis")),
    }  # fmt: skip
    if not vertices or not triangles:
        _wrong("it has no vertices or no triangles")
    if (tensors["combinations"] is None) != (tensors["combination_amounts"] is None):
        _wrong("its combinations and their amounts do not come together")
    for name, end in limits.items():
        value = tensors[name]
        if value is None or not value.numel():
            continue
        if value.min() < 0 or value.max() >= end:
            _wrong(f"array {name!r} points outside 0 to {end - 1}")
    for name, value in tensors.items():
        if value is None or name in _INDEX_FIELDS or not value.numel():
            continue
        largest = value.abs().max()
        if not largest <= (
            _LARGEST_COEFFICIENT if name == "own_map" else _LARGEST_M
        ):  # not: NaN fails it too
            _wrong(f"array {name!r} has NaN or values up to {float(largest):g}")
    weights = of("skin_weights")
    if weights.min() < -1e-4 or (weights.sum(1) - 1).abs().max() > 1e-2:
        _wrong("the weights of its joints are not shares that sum to 1")
