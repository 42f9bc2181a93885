"""What the benchmarks `tracking` and `codec` are measured on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.config import load_preset
from avatar3d.errors import UserError
from avatar3d.heads import load_head
from avatar3d.motion import Motion
from recon.benchmark.config import NamedClip, find_clips
from recon.capture import read_video
from recon.track.live import LiveSettings, LiveTracker

MAX_JSON_BYTES = 1 << 28
CLIP_FRAMES = 300


@dataclass(frozen=True)
class DrivingConfig:
    """`configs/benchmark/driving.yaml`."""

    clips: tuple[str, ...] = ()  # names, or first digits of the SHA-256


def clips_of(data: Path | None, names: tuple[str, ...]) -> list[NamedClip]:
    """The clips called `names`, or those of the preset; none without a folder."""
    if data is None:
        return []
    return find_clips(data, names or load_preset(DrivingConfig, "benchmark", "driving").clips)


def speech_of(data: Path | None) -> Motion | None:
    """Recorded coefficients of someone who speaks: `motion/*.json` in BEAT's format."""
    files = [] if data is None else sorted((data / "motion").glob("*.json"))
    return read_weights(files[0]) if files else None


def read_weights(path: Path) -> Motion:
    """`{"names": [...], "frames": [{"weights": [...], "time": s}, ...]}` as a motion."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise UserError(
            f"{path} is larger than {MAX_JSON_BYTES >> 20} MB; give a shorter recording"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        values = np.array([frame["weights"] for frame in content["frames"]], np.float32)
        times_s = np.array([frame["time"] for frame in content["frames"]], np.float64)
        columns = [ARKIT_INDEX[name] for name in content["names"]]
        codes = ExpressionCode.neutral(len(values))
        codes.coefficients[:, columns] = torch.from_numpy(values).clamp(0, 1)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path} is no recording of ARKit weights ({error})") from None
    return Motion(codes, float(1 / np.median(np.diff(times_s))))


def motions_of(data: Path | None, names: tuple[str, ...], quick: bool) -> dict[str, Motion]:
    """The second half of the recorded speech, and what the live tracker makes of the clips."""
    motions: dict[str, Motion] = {}
    speech = speech_of(data)
    if speech is not None:
        motions["speech"] = speech[len(speech) // 2 :]
    for clip in clips_of(data, names)[: 1 if quick else None]:
        motions[clip.name] = live_motion(clip.path, 90 if quick else CLIP_FRAMES)
    return motions


def live_motion(path: Path, frames: int) -> Motion:
    """A clip as the live tracker follows it, from the end of its calibration on."""
    codes, times_s = [], []
    with LiveTracker(
        load_head("default"), LiveSettings(resting=False, calibration_s=1.0)
    ) as follow:
        for frame in read_video(path, max_frames=frames):
            shown = follow(frame.image, frame.time_s)
            if shown.status == "tracked":
                codes.append(shown.code)
                times_s.append(frame.time_s)
    if len(codes) < 2:
        raise UserError(f"{path.name} shows no face that can be followed; choose another clip")
    return Motion(ExpressionCode.stack(codes), float(1 / np.median(np.diff(times_s))))
