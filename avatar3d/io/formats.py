"""The formats of `avatar3d export`, found by entry point so that the floor names nobody above it.

A format is an `ExportFormat` registered in the group `avatar3d.exports`; the viewer registers its
own there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from avatar3d.avatar import Avatar
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.motion import Motion

if TYPE_CHECKING:
    from avatar3d.io.splats import Splats

GROUP = "avatar3d.exports"


@dataclass(frozen=True)
class ExportRequest:
    """What was asked for besides the avatar and the place; a format takes what it has use for."""

    code: ExpressionCode  # the pose of still formats
    motion: Motion | None = None
    texture_size: int = 1024
    unlit: bool = False
    images: Literal["png", "exr"] = "png"
    webcam: bool = False
    voice: str | None = None


@dataclass(frozen=True)
class ExportFormat:
    """How one format is written, and which options mean something to it."""

    suffix: str  # of the file; empty for a folder
    options: frozenset[
        str
    ]  # of "pose", "motion", "texture_size", "unlit", "images", "webcam", "voice"
    write: Callable[[Avatar, Path, ExportRequest], None]


def export_formats() -> dict[str, EntryPoint]:
    """The registered formats by name."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP))}


def load_format(name: str) -> ExportFormat:
    """A format by its name; `UserError` where none is registered."""
    found = export_formats()
    if name not in found:
        raise UserError(
            f"there is no export format {name!r} on this machine; found: {', '.join(found) or 'none'}"
        )
    return found[name].load()


def _still(avatar: Avatar, request: ExportRequest) -> Splats:
    import torch

    from avatar3d.io.splats import Splats

    with torch.no_grad():
        return Splats.from_gaussians(avatar.gaussians(request.code))


def _write_khr(avatar: Avatar, path: Path, request: ExportRequest) -> None:
    from avatar3d.io.khr import write_khr

    write_khr(_still(avatar, request), path)


def _write_ply(avatar: Avatar, path: Path, request: ExportRequest) -> None:
    from avatar3d.io.ply import write_ply

    write_ply(_still(avatar, request), path)


def _write_spz(avatar: Avatar, path: Path, request: ExportRequest) -> None:
    from avatar3d.io.spz import write_spz

    write_spz(_still(avatar, request), path)


def _write_glb(avatar: Avatar, path: Path, request: ExportRequest) -> None:
    from avatar3d.io.gltf import write_glb

    write_glb(avatar, path, request.texture_size, request.motion, request.unlit)


def _write_texture(avatar: Avatar, path: Path, request: ExportRequest) -> None:
    from avatar3d.io.sheets import write_sheets

    write_sheets(avatar, path, request.texture_size, request.images)


GLB = ExportFormat(".glb", frozenset({"motion", "texture_size", "unlit"}), _write_glb)
KHR = ExportFormat(".glb", frozenset({"pose"}), _write_khr)
PLY = ExportFormat(".ply", frozenset({"pose"}), _write_ply)
SPZ = ExportFormat(".spz", frozenset({"pose"}), _write_spz)
TEXTURE = ExportFormat("", frozenset({"texture_size", "images"}), _write_texture)
