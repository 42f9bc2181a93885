"""What the few-shot benchmark runs over by default: `configs/benchmark/fewshot.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avatar3d.errors import UserError

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".m4v")


@dataclass(frozen=True)
class FewshotConfig:
    """Fill it with `load_preset(FewshotConfig, "benchmark", "fewshot")`."""

    clips: tuple[str, ...] = ()  # names of files without their ending; none: every clip there is
    shots: tuple[int, ...] = (1, 8, 32)  # numbers of support frames
    methods: tuple[str, ...] = ("copy", "warp2d")  # names of recon.benchmark.METHODS


def find_clips(data: Path, names: Sequence[str] = ()) -> list[Path]:
    """The clips called `names` in the folder `data` or in its folder `clips`; all without names."""
    folder = data / "clips" if (data / "clips").is_dir() else data
    if not folder.is_dir():
        raise UserError(f"--data must name a folder with clips, but {data} is none; check the path")
    found = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in VIDEO_SUFFIXES}
    missing = [name for name in names if name not in found]
    if missing or not found:
        raise UserError(
            f"the folder {folder} must hold the clips {', '.join(missing) or 'to measure on'}, but "
            f"{'they are' if len(missing) != 1 else 'it is'} not there; "
            f"name another folder with --data or other clips with --clips"
        )
    return [found[name] for name in names or found]
