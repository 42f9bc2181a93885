"""Clips to motion files, with a record beside each of what was found in every frame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from avatar3d.errors import UserError
from avatar3d.files import atomic_output, check_writable
from avatar3d.heads import HeadModel
from avatar3d.progress import progress
from recon.capture.inputs import hash_file
from recon.clip_motion import ClipMotion, Watch, track_clip
from recon.console import warnings_said
from recon.track.people import Choice

NO_FACE = "no face was found"


def track_one(
    clip: Path,
    output: Path,
    head: HeadModel,
    choice: Choice,
    frames_per_second: float | None,
    watch: Watch | None = None,
) -> str:
    """Write a clip's motion and its record; what to say of it."""
    tracked = track_clip(clip, head, choice, frames_per_second=frames_per_second, watch=watch)
    motion = tracked.motion
    motion.save(output)
    with atomic_output(record_path(output)) as temporary:
        content = record(clip, tracked, head, choice, frames_per_second)
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    missed = int((~tracked.found).sum())
    said = f"wrote {output} ({len(motion)} frames, {motion.duration_s:.1f} s"
    said += f", {missed} without the face" if missed else ""
    said += f", {len(tracked.shots)} shots" if len(tracked.shots) > 1 else ""
    return said + ")"


def track_many(
    clips: Sequence[Path],
    folder: Path,
    head: HeadModel,
    choice: Choice,
    frames_per_second: float | None,
    *,
    again: bool = False,
) -> list[str]:
    """Write `folder/NAME.npz` for each clip; why clips failed. What a run before has finished with
    the same clip, head and choice is not done again."""
    if folder.suffix in (".npz", ".csv"):
        raise UserError(f"several clips go into a folder, got the file {folder}; name a folder")
    names = [clip.stem for clip in clips]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UserError(f"clips with one name would overwrite each other: {', '.join(doubled)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {folder} ({error.strerror}); choose another with -o"
        ) from None
    failed: list[str] = []
    with progress("track", len(clips)) as step, warnings_said():
        for clip in clips:
            output = folder / f"{clip.stem}.npz"
            if not again and is_finished(clip, output, head, choice, frames_per_second):
                print(f"kept {output}, which a run before has finished")
            else:
                check_writable(output)
                try:
                    print(track_one(clip, output, head, choice, frames_per_second))
                except UserError as error:
                    failed.append(f"{clip.name} ({error})")
            step()
    return failed


def record(
    clip: Path,
    tracked: ClipMotion,
    head: HeadModel,
    choice: Choice,
    frames_per_second: float | None,
) -> dict[str, object]:
    """What was found: shots, and frames that failed with the reason, as ranges [first, stop]."""
    failures: list[dict[str, object]] = []
    for shot in tracked.shots:
        if shot.problem is not None:
            failures.append({"frames": [shot.first, shot.stop], "reason": shot.problem})
            continue
        for first, stop in runs(~tracked.found[shot.first : shot.stop]):
            frames = [shot.first + first, shot.first + stop]
            failures.append({"frames": frames, "reason": NO_FACE})
    return {
        **_made_of(clip, head, choice, frames_per_second),
        "frames": len(tracked.found),
        "frames_with_face": int(tracked.found.sum()),
        "shots": [[shot.first, shot.stop] for shot in tracked.shots],
        "failures": failures,
    }


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Ranges [first, stop) in which `flags` [T] are true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]


def is_finished(
    clip: Path, output: Path, head: HeadModel, choice: Choice, frames_per_second: float | None
) -> bool:
    """A motion lies there whose record names the same clip and settings."""
    beside = record_path(output)
    if not (output.is_file() and beside.is_file() and clip.is_file()):
        return False
    try:
        found = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    wanted = _made_of(clip, head, choice, frames_per_second)
    return isinstance(found, dict) and all(found.get(key) == wanted[key] for key in wanted)


def record_path(output: Path) -> Path:
    return output.with_suffix(".tracking.json")


def _made_of(
    clip: Path, head: HeadModel, choice: Choice, frames_per_second: float | None
) -> dict[str, object]:
    chosen = asdict(choice)
    chosen["place"] = None if choice.place is None else list(choice.place)
    return {
        "clip": clip.name,
        "sha256": hash_file(clip),
        "head": head.name,
        "face": chosen,
        "frames_per_second": frames_per_second,
    }
