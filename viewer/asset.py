"""The viewer's asset, `.a3dweb`: one person's rig and Gaussians, quantised and gzipped.

Inside the gzip lies the container of `.avatar` files (safetensors; docs/formats.md), so that the
page checks one layout. Only what the page draws is kept: the triangles that carry anchors, with
identity folded in, and of the provenance what others must know (tool, licence, consent).

Steps are far below what a picture shows: shapes 1/32767 of their largest offset, offsets at most
0.005 mm, rotations 0.1 degrees, scales 1 to 2 %, colours and opacities 1/255 of their range.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor

from avatar3d.animation.view import FRAME_HEIGHT_M, FRAME_TARGET_M, photographed_from_m
from avatar3d.avatar import Avatar
from avatar3d.container import METADATA_KEY
from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from avatar3d.template import HAIR_INNER, HAIR_OUTER, LEVELS

FORMAT = "avatar3d-web"
FORMAT_VERSION = 1
SUFFIX = ".a3dweb"
MAX_VERTICES = 1 << 16  # indices are 16 bits wide

LIT, ONE_SIDED = 1, 2  # bits of `flags`
# Parts that close around what lies behind them: a splat there that faces away is hidden. Not the
# ears, which are thin, nor the bust, which few Gaussians cover.
_CLOSED_PARTS = ("face", "scalp", "neck", "left_eyeball", "right_eyeball")
_CLOSE_TO_SKIN_M = 0.012  # hair that stands no farther off is hidden with the skin below it
_SMALLEST_SHAPE_M = 1e-6
_FINEST_STEP_M = 5e-6


def write_web_asset(avatar: Avatar, path: Path, count: int | None = None) -> None:
    """Write the asset of the first `count` Gaussians; the file appears whole or not at all."""
    content = encode_web_asset(avatar, count)
    with atomic_output(path) as temporary:
        temporary.write_bytes(content)


def encode_web_asset(avatar: Avatar, count: int | None = None) -> bytes:
    """The asset's bytes; same avatar, same bytes."""
    avatar = avatar if count is None else avatar.level(count)
    arrays: dict[str, NDArray[Any]] = {}
    ranges: dict[str, list[float]] = {}
    with torch.no_grad():
        _rig(avatar, arrays)
        _splats(avatar, arrays, ranges)
        _basis(avatar, arrays)
    text = json.dumps(_metadata(avatar, ranges), ensure_ascii=False, sort_keys=True)
    return gzip.compress(save(arrays, metadata={METADATA_KEY: text}), 9, mtime=0)


def _metadata(avatar: Avatar, ranges: dict[str, list[float]]) -> dict[str, Any]:
    provenance = avatar.provenance
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "head": avatar.head.name,
        "expression_names": list(avatar.head.expression_names),
        "count": avatar.count,
        "levels": [level for level in LEVELS if level < avatar.count],
        "ranges": ranges,
        "view": {
            "target": list(FRAME_TARGET_M),
            "height_m": FRAME_HEIGHT_M,
            "distance_m": photographed_from_m(avatar) - FRAME_TARGET_M[2],
        },
        "about": {
            key: str(provenance[key])
            for key in ("tool", "licence", "consent")
            if provenance.get(key)
        },
    }


def _rig(avatar: Avatar, arrays: dict[str, NDArray[Any]]) -> None:
    binding = avatar.binding
    rig = binding.rig
    vertex_count = len(rig.neutral)
    if vertex_count > MAX_VERTICES or len(binding.triangles) > MAX_VERTICES:
        raise UserError(
            f"the head {avatar.head.name!r} has {vertex_count:,} vertices under its Gaussians; the "
            f"viewer's asset holds at most {MAX_VERTICES:,}; use another head"
        )
    shapes = rig.expression_basis
    if rig.pose_correctives is not None:  # shapes too, weighed by the pose instead of the code
        shapes = torch.cat([shapes, rig.pose_correctives])
    offsets = shapes.unflatten(-1, (-1, 3))  # [E, V, 3], or [E + 36, V, 3]
    moved = offsets.abs().amax(-1) > _SMALLEST_SHAPE_M
    shape, vertex = moved.nonzero(as_tuple=True)  # in order of shapes
    steps = (offsets.abs().amax((1, 2)) / 32767).clamp(min=1e-12)
    tangents = binding.tangent_weights / binding.tangent_weights.abs().max().clamp(min=1e-12)
    arrays["vertices"] = _f32(rig.neutral)
    arrays["triangles"] = _as(binding.triangles, np.uint16)
    arrays["tangents"] = _as((tangents * 32767).round(), np.int16)
    arrays["skin_weights"] = _as((rig.skin_weights * 65535).round(), np.uint16)
    arrays["shape_counts"] = _as(torch.bincount(shape, minlength=len(offsets)), np.uint32)
    arrays["shape_vertices"] = _as(vertex, np.uint16)
    quantised = (offsets[shape, vertex] / steps[shape, None]).round()
    arrays["shape_offsets"] = _as(quantised, np.int16)
    arrays["shape_steps"] = _f32(steps)
    arrays["joints"] = _f32(rig.joints)
    arrays["joint_drive"] = _f32(rig.joint_drive)
    if rig.combinations is not None and rig.combination_amounts is not None:
        arrays["combinations"] = _as(rig.combinations, np.uint16)
        arrays["combination_amounts"] = _f32(rig.combination_amounts)
    if rig.joint_expression is not None:
        arrays["joint_expression"] = _f32(rig.joint_expression)


def _splats(
    avatar: Avatar, arrays: dict[str, NDArray[Any]], ranges: dict[str, list[float]]
) -> None:
    attributes, template = avatar.attributes, avatar.template
    arrays["corners"] = _anchor_triangles(avatar)
    arrays["barycentrics"] = _as((template.barycentrics[:, 1:] * 65535).round(), np.uint16)
    reach = attributes.offsets.norm(dim=-1) + 2 * attributes.log_scales.exp().amax(-1)
    hair = (template.layer == HAIR_INNER) | (template.layer == HAIR_OUTER)
    one_sided = template.is_part(*_CLOSED_PARTS) | (hair & (reach < _CLOSE_TO_SKIN_M))
    lit = template.lit if avatar.light is not None else torch.zeros_like(template.lit)
    arrays["flags"] = _as(LIT * lit + ONE_SIDED * one_sided, np.uint8)
    step = max(float(attributes.offsets.abs().max()) / 32767, _FINEST_STEP_M)
    ranges["offsets"] = [step]
    arrays["offsets"] = _as((attributes.offsets / step).round(), np.int16)
    arrays["rotations"] = smallest_three(attributes.rotations)
    for name in ("log_scales", "colors"):
        values = getattr(attributes, name)
        low, high = float(values.min()), float(values.max())
        high = max(high, low + 1e-6)
        ranges[name] = [low, high]
        arrays[name] = _as(((values - low) / (high - low) * 255).round(), np.uint8)
    opacities = attributes.opacity_logits.sigmoid() * 255
    # What is fainter than 1/255 no rasterizer draws; most of the sheet is.
    arrays["opacities"] = _as(torch.where(opacities < 1, 0.0, opacities.round()), np.uint8)
    if avatar.light is not None:
        arrays["light"] = _f32(avatar.light)


def _anchor_triangles(avatar: Avatar) -> NDArray[np.uint16]:
    """Each anchor's triangle as its number among the binding's, [N]."""
    _, anchors = torch.unique(avatar.template.triangle, return_inverse=True)
    return _as(anchors, np.uint16)


def _basis(avatar: Avatar, arrays: dict[str, NDArray[Any]]) -> None:
    basis = avatar.basis
    if basis is None:
        return
    arrays["basis_mean"] = _f32(basis.mean)
    arrays["basis_projection"] = _f32(basis.projection)
    arrays["basis_limits"] = _f32(basis.limits)
    for name in ("offsets", "colors"):
        values = getattr(basis, name)  # [K, N, 3]
        steps = (values.abs().amax((1, 2)) / 127).clamp(min=1e-12)
        arrays[f"basis_{name}"] = _as((values / steps[:, None, None]).round(), np.int8)
        arrays[f"basis_{name}_steps"] = _f32(steps)


def smallest_three(quaternions: Tensor) -> NDArray[np.uint32]:
    """Unit quaternions [N, 4] in 32 bits: which component is largest (2 bits, w first), then the
    other three in order, 10 bits each, -1/sqrt(2)..1/sqrt(2) as 0..1023."""
    unit = torch.nn.functional.normalize(quaternions.double(), dim=-1)
    largest = unit.abs().argmax(-1)
    sign = torch.where(torch.gather(unit, 1, largest[:, None]) < 0, -1.0, 1.0)
    others = torch.tensor([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])[largest]
    small = torch.gather(unit * sign, 1, others)
    levels = ((small * (2**0.5) + 1) / 2 * 1023).round().long().clamp(0, 1023)
    return _as(largest << 30 | levels[:, 0] << 20 | levels[:, 1] << 10 | levels[:, 2], np.uint32)


def _f32(value: Tensor) -> NDArray[np.float32]:
    return _as(value, np.float32)


def _as(value: Tensor, dtype: Any) -> NDArray[Any]:
    return np.ascontiguousarray(value.detach().cpu().numpy().astype(dtype))
