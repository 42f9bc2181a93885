"""A clip to the motion of the face in it: one identity and focal length, a code for every frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avatar3d.code_interpolation import interpolate_codes
from avatar3d.errors import UserError
from avatar3d.heads import HeadModel
from avatar3d.motion import MAX_FRAMES_PER_SECOND, Motion
from recon.capture import (
    Frame,
    HeadCrop,
    read_audio,
    read_video,
    read_video_info,
    stable_head_crop,
    track_faces,
)
from recon.capture.video import VideoInfo
from recon.track import Tracking, track_frames, track_support

CROP_PX = 512
SUPPORT_FRAMES = 16  # enough to tell identity and focal length
_STEADY_S = 0.002  # timestamps off an even grid by less are a fixed rate

Watch = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class ClipMotion:
    """The motion of a clip, with what is needed to lay it over the clip's pictures."""

    motion: Motion
    tracking: Tracking
    crop: HeadCrop  # the square that the tracking's camera sees
    times_s: np.ndarray  # [F] of the clip's own frames
    found: np.ndarray  # [F] bool: the face was seen


def track_clip(
    path: str | Path,
    head: HeadModel,
    *,
    face_index: int | None = None,
    frames_per_second: float | None = None,
    watch: Watch | None = None,
) -> ClipMotion:
    """Codes of every frame of a clip at a fixed rate (the clip's own, if none is given), with its
    sound. Frames without the face hold the code of the one before."""
    path = Path(path)
    info = read_video_info(path)
    track = track_faces(_watched(read_video(path), info, watch), face_index=face_index)
    found = np.flatnonzero(track.found)
    if not len(found):
        raise UserError(
            f"no face was found in any frame of {path.name}; give a clip that shows one face from "
            "the front, upright and well lit"
        )
    crop = stable_head_crop(track.landmarks, CROP_PX)
    landmarks = crop.to_crop(track.landmarks)
    even = np.linspace(0, len(found) - 1, min(SUPPORT_FRAMES, len(found))).round().astype(int)
    tracking = track_support(landmarks[found[even]], CROP_PX, head)
    codes = track_frames(tracking, landmarks, temporal=True)

    rate = _rate(track.times_s, info)
    times_s = track.times_s
    if len(times_s) > 1 and not np.allclose(
        times_s, np.arange(len(times_s)) / rate, atol=_STEADY_S + 0.25 / rate
    ):
        grid_s = np.arange(max(1, round(times_s[-1] * rate) + 1)) / rate
        positions = np.interp(grid_s, times_s, np.arange(len(times_s)))
        codes = interpolate_codes(codes, torch.from_numpy(positions))
    sound = read_audio(path) if info.has_audio else None
    motion = Motion(
        codes,
        rate,
        extra_names=head.expression_names[52:],
        audio=None if sound is None else torch.from_numpy(sound[0]),
        audio_rate=None if sound is None else sound[1],
    )
    if frames_per_second is not None:
        motion = motion.resample(frames_per_second)
    return ClipMotion(motion, tracking, crop, times_s, track.found)


def crops_at(clip: Path, crop: HeadCrop, times_s: Iterable[float]) -> Iterator[np.ndarray]:
    """The clip's picture in `crop` at each time, u8 [S, S, 3]: the last frame shown by then."""
    frames = read_video(clip)
    shown: Frame = next(frames)
    following: Frame | None = next(frames, None)
    picture = crop.warp(shown.image)
    for time_s in times_s:
        moved = False
        while following is not None and following.time_s <= time_s + 1e-3:
            shown, following, moved = following, next(frames, None), True
        if moved:
            picture = crop.warp(shown.image)
        yield picture


def _watched(frames: Iterable[Frame], info: VideoInfo, watch: Watch | None) -> Iterator[Frame]:
    for done, frame in enumerate(frames, start=1):
        yield frame
        if watch:
            watch(done, max(done, info.frame_count))


def _rate(times_s: np.ndarray, info: VideoInfo) -> float:
    """Frames a second: the header's, or what the timestamps say where it is silent or absurd."""
    if 1.0 <= info.frames_per_second <= 240.0:
        return info.frames_per_second
    steps = np.diff(times_s)
    steps = steps[steps > 0]
    return float(np.clip(1 / np.median(steps), 1.0, MAX_FRAMES_PER_SECOND)) if len(steps) else 25.0
