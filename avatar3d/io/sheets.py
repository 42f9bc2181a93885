"""UV sheets: an avatar's look as pictures to paint on, and painted pictures back into the avatar.

A folder holds, for the head and for the sheet behind it:

    albedo, sheet_albedo     sRGB colours without light (.png, or .exr in floats)
    opacity, sheet_opacity   how much the Gaussians cover, 0 to 1 (.png or .exr)
    offset                   metres that they stand off the surface: R tangent, G bitangent,
                             B normal (always .exr)
    maps.json                what the pictures were made from

Reading compares each picture with what the avatar gives now, and lets the Gaussians that made a
texel take up the difference. So a picture that nobody touched changes nothing, not even by
rounding, and pictures that were not touched may be missing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from avatar3d.asset import head_hash
from avatar3d.avatar import Attributes, Avatar
from avatar3d.errors import UserError
from avatar3d.files import check_readable
from avatar3d.io.bake import SHEET_GROUP, Resting, at_rest
from avatar3d.io.exr import read_exr, write_exr
from avatar3d.io.folders import atomic_folder
from avatar3d.io.footprints import Footprints
from avatar3d.io.maps import Maps, bake_sheet, bake_surface, to_byte
from avatar3d.io.png import png_bytes, read_png
from avatar3d.io.surface import Surface, head_surface, sheet_surface

FORMAT_VERSION = 1
MANIFEST = "maps.json"
_AGAIN = "export the avatar again with: avatar3d export --to texture"
Images = Literal["png", "exr"]
_STEPS = 4  # of taking up the difference: one alone would blur what was painted
_GREATEST_OFFSET_M = 0.5
_CHANNELS = {"albedo": ("R", "G", "B"), "opacity": ("Y",), "offset": ("R", "G", "B")}


@dataclass(frozen=True)
class _Side:
    """One surface's pictures."""

    prefix: str
    maps: Maps
    surface: Surface
    group: np.ndarray  # [P] of the texels


def write_sheets(avatar: Avatar, folder: Path, size: int = 1024, images: Images = "png") -> None:
    """Write the pictures of an avatar into a new folder."""
    sides = _sides(avatar, at_rest(avatar), size)
    manifest = {
        "format_version": FORMAT_VERSION,
        "head": {"name": avatar.head.name, "hash": head_hash(avatar.head)},
        "avatar": _fingerprint(avatar),
        "texture_size": size,
        "images": images,
    }
    with atomic_folder(folder) as temporary:
        for side in sides:
            for name, picture in _pictures(side).items():
                _write_picture(picture, name, temporary / _file_name(side, name, images))
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def read_sheets(folder: Path, avatar: Avatar) -> tuple[Avatar, list[str]]:
    """The avatar with the folder's edits, and the names of the pictures that were edited."""
    size, images = _read_manifest(folder, avatar)
    resting = at_rest(avatar)
    values = {
        "albedo": resting.albedo.astype(np.float64),
        "opacity": resting.cloud.opacities.astype(np.float64)[:, None],
        "offset": resting.offset.astype(np.float64),
    }
    before = {name: value.copy() for name, value in values.items()}
    edited, found = [], 0
    for side in _sides(avatar, resting, size):
        changes = {}
        for name, picture in _pictures(side).items():
            path = folder / _file_name(side, name, images)
            if not path.exists():
                continue
            found += 1
            painted = _read_picture(path, name)
            if painted.shape != picture.shape:
                raise UserError(
                    f"{path} is {painted.shape[1]}x{painted.shape[0]} texels, expected {size}x{size}"
                )
            own = _as_read(picture, name, path.suffix)
            if not np.array_equal(painted, own):
                edited.append(path.name)
                changes[name] = _at_texels(side, painted), _at_texels(side, own)
        if changes:
            footprints = Footprints.of(resting.cloud, side.maps.texels, side.surface, side.group)
            for name, (wanted, own) in changes.items():
                values[name] += _taken_up(footprints, name, wanted, own)
    if not found:
        raise UserError(f"{folder} has none of its pictures, such as albedo.{images}; {_AGAIN}")
    return _changed(avatar, before, values, folder), edited


def _sides(avatar: Avatar, resting: Resting, size: int) -> list[_Side]:
    head, sheet = head_surface(avatar), sheet_surface(avatar)
    maps, sheet_maps = bake_surface(resting, head, size), bake_sheet(resting, sheet, size)
    return [
        _Side("", maps, head, head.group[maps.texels.triangle]),
        _Side("sheet_", sheet_maps, sheet, np.full(len(sheet_maps.texels.index), SHEET_GROUP)),
    ]


def _pictures(side: _Side) -> dict[str, np.ndarray]:
    """float [S, S, C] by name."""
    baked, maps = side.maps.baked, side.maps
    pictures = {
        "albedo": maps.filled_picture(baked.colors),
        "opacity": maps.picture(baked.cover[:, None]),
    }
    if not side.prefix:
        pictures["offset"] = maps.filled_picture(baked.offset)
    return pictures


def _file_name(side: _Side, name: str, images: Images) -> str:
    return f"{side.prefix}{name}.{'exr' if name == 'offset' else images}"


def _write_picture(picture: np.ndarray, name: str, path: Path) -> None:
    if path.suffix == ".exr":
        write_exr(picture, _CHANNELS[name], path)
    else:
        path.write_bytes(png_bytes(to_byte(picture)))


def _read_picture(path: Path, name: str) -> np.ndarray:
    channels = _CHANNELS[name]
    picture = read_exr(path, channels) if path.suffix == ".exr" else read_png(path, len(channels))
    low, high = (-_GREATEST_OFFSET_M, _GREATEST_OFFSET_M) if name == "offset" else (-16.0, 16.0)
    if not (picture.min() >= low and picture.max() <= high):
        raise UserError(
            f"{path} has values from {picture.min():g} to {picture.max():g}, expected {low:g} to "
            f"{high:g}"
        )
    return picture


def _as_read(picture: np.ndarray, name: str, suffix: str) -> np.ndarray:
    """What reading gives for a picture that was written and not touched."""
    del name
    return (
        picture.astype(np.float32)
        if suffix == ".exr"
        else to_byte(picture).astype(np.float32) / 255
    )


def _at_texels(side: _Side, picture: np.ndarray) -> np.ndarray:
    return picture.reshape(-1, picture.shape[-1])[side.maps.texels.index].astype(np.float64)


def _taken_up(footprints: Footprints, name: str, wanted: np.ndarray, own: np.ndarray) -> np.ndarray:
    """What to add to the Gaussians' values [N, C] so that their texels change as painted."""
    if name == "opacity":  # cover is no weighted mean of opacities: scale those who made it
        ratio = np.where(own > 1e-3, wanted / own.clip(1e-3), 1.0)
        return footprints.opacities[:, None] * footprints.spread(ratio - 1)
    shown = footprints.gather(np.ones((len(footprints.opacities), 1))) > 0
    change = np.where(shown, wanted - own, 0)
    total = footprints.spread(change)
    for _ in range(_STEPS - 1):
        total += footprints.spread(np.where(shown, change - footprints.gather(total), 0))
    return total


def _changed(
    avatar: Avatar, before: dict[str, np.ndarray], after: dict[str, np.ndarray], folder: Path
) -> Avatar:
    """Only what changed is replaced, so that the rest keeps its last bit."""

    def added(old: torch.Tensor, name: str) -> torch.Tensor:
        difference = after[name] - before[name]
        if not difference.any():
            return old
        return old + torch.from_numpy(difference.reshape(old.shape)).float()

    attributes = avatar.attributes
    offsets = added(attributes.offsets, "offset")
    if float(offsets.abs().max()) > _GREATEST_OFFSET_M:
        raise UserError(
            f"{folder} moves Gaussians by more than {_GREATEST_OFFSET_M} m; paint smaller offsets"
        )
    logits = attributes.opacity_logits
    if (after["opacity"] != before["opacity"]).any():
        moved = torch.from_numpy((after["opacity"] != before["opacity"])[:, 0])
        opacity = torch.from_numpy(after["opacity"][:, 0]).float().clamp(1e-4, 1 - 1e-4)
        logits = torch.where(moved, torch.logit(opacity), logits)
    return replace(
        avatar,
        attributes=replace(
            attributes,
            offsets=offsets,
            opacity_logits=logits,
            colors=added(attributes.colors, "albedo").clamp(-4, 4),
        ),
    )


def _read_manifest(folder: Path, avatar: Avatar) -> tuple[int, Images]:
    path = folder / MANIFEST
    check_readable(path, 1 << 20)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: it is not JSON ({error})") from error
    get = partial(_member, manifest)
    if get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{path} has the format version {get('format_version')!r}, expected {FORMAT_VERSION}; "
            f"{_AGAIN}"
        )
    size, images = get("texture_size"), get("images")
    if type(size) is not int or not 16 <= size <= 8192 or images not in ("png", "exr"):
        raise UserError(f"{path} is damaged: it has no sound texture_size and images")
    if get("avatar") != _fingerprint(avatar):
        raise UserError(
            f"{folder} was made from another avatar, or from this one before it was changed; import "
            "it into the file that it was exported from"
        )
    return size, images


def _member(manifest: Any, name: str) -> Any:
    return manifest.get(name) if isinstance(manifest, dict) else None


def _fingerprint(avatar: Avatar) -> str:
    """sha256 of all that the pictures depend on."""
    digest = hashlib.sha256(head_hash(avatar.head).encode())
    parts = [avatar.identity, *(getattr(avatar.attributes, f.name) for f in fields(Attributes))]
    if avatar.basis is not None:
        parts += [getattr(avatar.basis, f.name) for f in fields(avatar.basis)]
    for part in parts:
        digest.update(part.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
