"""`.avatar` files: one person's head, small, versioned, and read without trust.

The container (see `avatar3d.container`) keeps named arrays and JSON metadata. Look is stored at the
precision that a render can show: float16 for the attributes, int8 with a scale a component for the
expression basis, colours as SH coefficients of degree 0 in the 3DGS convention,
colour = 0.5 + C0 * coefficient. The template is not stored: it follows from the head and the count.
"""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes, Avatar, ExpressionBasis
from avatar3d.container import read_container, write_container
from avatar3d.errors import UserError
from avatar3d.files import check_writable
from avatar3d.gaussians import SH_C0
from avatar3d.heads import HeadModel, load_head
from avatar3d.schema import Field, check_schema
from avatar3d.template import TEMPLATE_VERSION

FORMAT_VERSION = 1
MAX_GAUSSIANS = 1_000_000

# Bounds are far beyond what a fit makes; what lies outside is damage.
_SCHEMA = {
    "identity": Field("float32", ("modes",), -30.0, 30.0),
    "offsets": Field("float16", ("anchors", 3), -0.5, 0.5),  # metres
    "rotations": Field("float16", ("anchors", 4), -1.01, 1.01),
    "log_scales": Field("float16", ("anchors", 3), -14.0, 0.0),  # a micrometre to a metre
    "opacity_logits": Field("float16", ("anchors",), -30.0, 30.0),
    "sh0": Field("float16", ("anchors", 3), -16.0, 16.0),
    "light": Field("float32", (9, 3), -100.0, 100.0, optional=True),
    "basis_mean": Field("float32", ("coefficients",), -1.0, 2.0, optional=True),
    "basis_projection": Field("float32", ("coefficients", "rank"), -1e4, 1e4, optional=True),
    "basis_limits": Field("float32", (2, "rank"), -1e4, 1e4, optional=True),
    "basis_offsets": Field("int8", ("rank", "anchors", 3), optional=True),
    "basis_offsets_scale": Field("float32", ("rank",), 0.0, 0.01, optional=True),
    "basis_colors": Field("int8", ("rank", "anchors", 3), optional=True),
    "basis_colors_scale": Field("float32", ("rank",), 0.0, 1.0, optional=True),
}
_BASIS = tuple(name for name in _SCHEMA if name.startswith("basis_"))


def write_avatar(avatar: Avatar, path: Path) -> None:
    """Write `avatar`; the file appears whole or not at all."""
    check_writable(path)
    arrays = _pack(avatar)
    check_schema(arrays, _SCHEMA, path)  # what could not be read back shall not be written
    metadata = {
        "format_version": FORMAT_VERSION,
        "head": {"name": avatar.head.name, "hash": head_hash(avatar.head)},
        "template": {"version": TEMPLATE_VERSION, "count": avatar.count},
        "provenance": avatar.provenance,
    }
    write_container(path, arrays, metadata)


def read_avatar(path: Path, head: HeadModel | None = None) -> Avatar:
    """Read a `.avatar` file; a `UserError` says what is wrong with any other.

    `head` stands in for the head model of this machine that has the file's name for it.
    """
    arrays, metadata = read_container(path)
    version = metadata.get("format_version")
    if type(version) is not int or version < 1:
        raise UserError(f"{path} is no avatar: it does not say its format version")
    if version not in _READERS:
        raise UserError(
            f"{path} has avatar format {version}, but this avatar3d reads up to {FORMAT_VERSION}; "
            "upgrade it with: pip install -U avatar3d"
        )
    return _READERS[version](arrays, metadata, path, head)


# By a head's hash: former versions of it with the same vertices, triangles and identity modes, on
# which avatars were made that open on it unchanged.
_FORMER_HEADS = {
    "a0e94d6c565db921d6cbc500d8d20a8c8c35baef8ab9ea8ec75f1a21892cfe38": (
        "41e67e4ed9fc52af59dfc011612601fc4a6755c660620735c6b5f7c2e47b4f2c",
        "49216f309a7f0c2e5902353df9cfa1a463b875336cf478d7c6edab77a17b52e4",
    ),
}


@lru_cache(maxsize=4)
def head_hash(head: HeadModel) -> str:
    """`head.content_hash()`, kept: it reads some 50 MB."""
    return head.content_hash()


def _pack(avatar: Avatar) -> dict[str, np.ndarray]:
    attributes = Attributes(
        *(_clean(getattr(avatar.attributes, f.name)) for f in fields(Attributes))
    )
    # An avatar that was read and is written again keeps every bit: rotations that are of unit length
    # to half precision are left alone, and grey so near the middle that float32 colours lose its
    # last bits (7e-5 of 1) is the middle.
    length = attributes.rotations.norm(dim=-1, keepdim=True)
    unit = torch.nn.functional.normalize(attributes.rotations, dim=-1)
    sh0 = (attributes.colors - 0.5) / SH_C0
    packed = {
        "offsets": attributes.offsets,
        "rotations": torch.where((length - 1).abs() < 1e-3, attributes.rotations, unit),
        "log_scales": attributes.log_scales,
        "opacity_logits": attributes.opacity_logits,
        "sh0": torch.where(sh0.abs() < 2.5e-4, 0.0, sh0),
    }
    arrays = {name: value.numpy().astype(np.float16) for name, value in packed.items()}
    arrays["identity"] = _clean(avatar.identity).numpy()
    if avatar.light is not None:
        arrays["light"] = _clean(avatar.light).numpy()
    if avatar.basis is not None:
        for name in ("mean", "projection", "limits"):
            arrays[f"basis_{name}"] = _clean(getattr(avatar.basis, name)).numpy()
        for name in ("offsets", "colors"):
            values, scale = _to_int8(_clean(getattr(avatar.basis, name)).numpy())
            arrays[f"basis_{name}"], arrays[f"basis_{name}_scale"] = values, scale
    return arrays


def _clean(value: Tensor) -> Tensor:
    return value.detach().cpu().float()


def _to_int8(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[K, N, 3] -> int8 and the step of each component [K], exact to half a step."""
    step = np.abs(values).max(axis=(1, 2)).clip(min=1e-12) / 127
    return np.round(values / step[:, None, None]).astype(np.int8), step.astype(np.float32)


def _read_version_1(
    arrays: dict[str, np.ndarray], metadata: dict[str, Any], path: Path, head: HeadModel | None
) -> Avatar:
    sizes = check_schema(arrays, _SCHEMA, path)
    count = _number_in(metadata, "template", "count", path)
    if sizes["anchors"] != count or not 1 <= count <= MAX_GAUSSIANS:
        raise UserError(
            f"{path} says it has {count:,} Gaussians but holds {sizes['anchors']:,}; expected the "
            f"same, from 1 to {MAX_GAUSSIANS:,}; it is damaged"
        )
    template = _number_in(metadata, "template", "version", path)
    if template != TEMPLATE_VERSION:
        raise UserError(
            f"{path} has its Gaussians on template {template}, but this avatar3d knows template "
            f"{TEMPLATE_VERSION}; create the avatar again, or use the avatar3d that wrote it"
        )
    head = _head_of(metadata, path, head)
    if sizes["modes"] > head.identity_count:
        raise UserError(
            f"{path} has {sizes['modes']} identity modes, but its head {head.name!r} has "
            f"{head.identity_count}; it is damaged"
        )
    provenance = metadata.get("provenance")
    if not isinstance(provenance, dict):
        raise UserError(f"{path} does not say where it came from; it is damaged")
    if (np.abs(arrays["rotations"].astype(np.float32)).max(axis=-1) < 0.4).any():
        raise UserError(f"{path} has rotations that are not unit quaternions; it is damaged")
    attributes = Attributes(
        offsets=_tensor(arrays["offsets"]),
        rotations=_tensor(arrays["rotations"]),
        log_scales=_tensor(arrays["log_scales"]),
        opacity_logits=_tensor(arrays["opacity_logits"]),
        colors=_tensor(arrays["sh0"]) * SH_C0 + 0.5,
    )
    light = _tensor(arrays["light"]) if "light" in arrays else None
    identity = _tensor(arrays["identity"])
    return Avatar(head, identity, attributes, _basis(arrays, path, head), light, provenance)


_READERS = {1: _read_version_1}


def _basis(arrays: dict[str, np.ndarray], path: Path, head: HeadModel) -> ExpressionBasis | None:
    present = [name for name in _BASIS if name in arrays]
    if not present:
        return None
    if len(present) != len(_BASIS):
        missing = sorted(set(_BASIS) - set(present))
        raise UserError(f"{path} lacks {', '.join(missing)} of its expression basis; it is damaged")
    coefficients = len(arrays["basis_mean"])
    if coefficients > head.expression_count:
        raise UserError(
            f"{path} has an expression basis over {coefficients} coefficients, but its head "
            f"{head.name!r} has {head.expression_count}; it is damaged"
        )
    if (arrays["basis_limits"][0] > arrays["basis_limits"][1]).any():
        raise UserError(
            f"{path} has expression limits whose least exceeds the greatest; it is damaged"
        )

    def expanded(name: str) -> Tensor:
        return _tensor(arrays[name]) * _tensor(arrays[f"{name}_scale"])[:, None, None]

    return ExpressionBasis(
        mean=_tensor(arrays["basis_mean"]),
        projection=_tensor(arrays["basis_projection"]),
        offsets=expanded("basis_offsets"),
        colors=expanded("basis_colors"),
        limits=_tensor(arrays["basis_limits"]),
    )


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


def _head_of(metadata: dict[str, Any], path: Path, given: HeadModel | None) -> HeadModel:
    """The head model that the avatar was made on, or a sentence about how to get it."""
    described = metadata.get("head")
    name = described.get("name") if isinstance(described, dict) else None
    wanted = described.get("hash") if isinstance(described, dict) else None
    # The name leads to a file: letters, digits and dashes only, so that it cannot leave the folder.
    if (
        not isinstance(name, str)
        or not isinstance(wanted, str)
        or not 1 <= len(name) <= 64
        or not all(letter.isalnum() or letter in "-_" for letter in name)
    ):
        raise UserError(f"{path} does not say which head model it was made on; it is damaged")
    try:
        head = load_head(name) if given is None else given
    except UserError as error:
        raise UserError(
            f"{path} was made on the head model {name!r}, which cannot be loaded here ({error})"
        ) from error
    if wanted not in {head_hash(head), *_FORMER_HEADS.get(head_hash(head), ())}:
        where = "given" if given is not None else "on this machine"
        raise UserError(
            f"{path} was made on another version of the head model {name!r} than the one {where} "
            f"({head.name!r}); use the avatar3d and the head file it was made with, or create it again"
        )
    return head


def _number_in(metadata: dict[str, Any], group: str, name: str, path: Path) -> int:
    values = metadata.get(group)
    value = values.get(name) if isinstance(values, dict) else None
    if type(value) is not int:
        raise UserError(f"{path} does not say the {name} of its {group}; it is damaged")
    return value
