"""What the few-shot benchmark runs over by default: `configs/benchmark/fewshot.yaml`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from avatar3d.errors import UserError
from recon.capture.inputs import hash_file

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".m4v")
_HASH = re.compile("[0-9a-f]{6,64}")


@dataclass(frozen=True)
class FewshotConfig:
    """Fill it with `load_preset(FewshotConfig, "benchmark", "fewshot")`."""

    clips: tuple[str, ...] = ()  # names or hashes, see `find_clips`; none: all there are


class NamedClip(NamedTuple):
    """A clip's file and what reports call it."""

    name: str
    path: Path


def find_clips(data: Path, names: Sequence[str] = ()) -> list[NamedClip]:
    """The clips called `names` in the folder `data` or in its folder `clips`; all without names.

    A name is that of a file without its ending, or the first digits of its bytes' SHA-256: at least
    six, of which reports show six.
    """
    folder = data / "clips" if (data / "clips").is_dir() else data
    if not folder.is_dir():
        raise UserError(f"--data must name a folder with clips, but {data} is none; check the path")
    files = [path for path in sorted(folder.iterdir()) if path.suffix in VIDEO_SUFFIXES]
    by_name = {path.stem: NamedClip(path.stem, path) for path in files}
    by_hash = {}
    if any(name not in by_name and _HASH.fullmatch(name) for name in names):
        by_hash = {hash_file(path): path for path in files}
    found, missing = [], []
    for name in names or by_name:
        if name in by_name:
            found.append(by_name[name])
            continue
        digits = [digest for digest in by_hash if _HASH.fullmatch(name) and digest.startswith(name)]
        if len(digits) > 1:
            raise UserError(
                f"{name} must be the beginning of one clip's SHA-256, but {len(digits)} clips of "
                f"{folder} begin so; give more digits"
            )
        if digits:
            found.append(NamedClip(f"clip_{name[:6]}", by_hash[digits[0]]))
        else:
            missing.append(name)
    if missing or not files:
        raise UserError(
            f"the folder {folder} must hold the clips {', '.join(missing) or 'to measure on'}, but "
            f"{'they are' if len(missing) != 1 else 'it is'} not there; "
            f"name another folder with --data or other clips with --clips"
        )
    return found
