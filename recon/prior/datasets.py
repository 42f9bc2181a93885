"""Clips of many people as public datasets lay them out: who is seen in which file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from avatar3d.errors import UserError
from recon.benchmark.config import VIDEO_SUFFIXES
from recon.benchmark.prepare import frame_files


@dataclass(frozen=True)
class PersonClip:
    """One video, or a folder of its frames, and the name of the person in it, without a dash."""

    person: str
    path: Path


def read_layout(layout: str, folder: Path) -> list[PersonClip]:
    """The clips below `folder`, sorted; a `UserError` where there is none."""
    if layout not in LAYOUTS:
        raise UserError(f"the layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    found = [PersonClip(person.replace("-", "_"), path) for person, path in LAYOUTS[layout](folder)]
    if not found:
        raise UserError(
            f"{folder} must hold clips in the layout {layout!r} ({LAYOUTS[layout].__doc__}), but "
            f"none was found; choose another layout or folder"
        )
    return sorted(found, key=lambda clip: (clip.person, clip.path))


def _people(folder: Path) -> Iterable[tuple[str, Path]]:
    """PERSON/CLIP.mp4"""
    return ((path.parent.name, path) for path in _videos(folder.glob("*/*")))


def _manifest(folder: Path) -> Iterable[tuple[str, Path]]:
    """manifest.json: a list of entries with kind "clip", identity and file"""
    file = folder / "manifest.json"
    try:
        entries = json.loads(file.read_text())
        clips = [entry for entry in entries if entry.get("kind") == "clip"]
        return [(str(entry["identity"]), folder / entry["file"]) for entry in clips]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(
            f"{file} must be a list of entries with kind, identity and file, but cannot be read "
            f"so ({error!r}); write one or choose another layout"
        ) from error


def _voxceleb2(folder: Path) -> Iterable[tuple[str, Path]]:
    """VoxCeleb2 (Chung et al. 2018): [dev/|test/]mp4/idNNNNN/VIDEO/NNNNN.mp4"""
    return ((path.parts[-3], path) for path in _videos(folder.glob("**/mp4/id*/*/*")))


def _nersemble(folder: Path) -> Iterable[tuple[str, Path]]:
    """NeRSemble (Kirschstein et al. 2023): PARTICIPANT/sequences/SEQUENCE/images/cam_SERIAL.mp4"""
    return (
        (f"nersemble_{path.parts[-5]}", path)
        for path in _videos(folder.glob("*/sequences/*/images/cam_*"))
    )


def _vfhq(folder: Path) -> Iterable[tuple[str, Path]]:
    """VFHQ (Xie et al. 2022): Clip+VIDEO+PN+CN+F... as a folder of pictures or a video, anywhere"""
    for path in folder.glob("**/Clip+*+P*+C*+F*"):
        if (path.is_dir() and frame_files(path)) or path.suffix.lower() in VIDEO_SUFFIXES:
            # A video's name may hold the sign too; the last three fields never do.
            video, person = path.name[len("Clip+") :].rsplit("+", 3)[:2]
            yield f"vfhq_{video}_{person}", path


def _insta(folder: Path) -> Iterable[tuple[str, Path]]:
    """INSTA (Zielonka et al. 2023): ACTOR/images/NNNNN.png beside ACTOR/transforms*.json"""
    for path in folder.glob("*/images"):
        if frame_files(path) and any(path.parent.glob("transforms*.json")):
            yield f"insta_{path.parent.name}", path


def _videos(paths: Iterable[Path]) -> Iterable[Path]:
    return (path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES)


LAYOUTS: dict[str, Callable[[Path], Iterable[tuple[str, Path]]]] = {
    "people": _people,
    "manifest": _manifest,
    "voxceleb2": _voxceleb2,
    "nersemble": _nersemble,
    "vfhq": _vfhq,
    "insta": _insta,
}
