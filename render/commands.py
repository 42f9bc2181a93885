"""The command `render`: an avatar to a video or a picture."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from avatar3d.avatar import Avatar
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.files import check_writable
from avatar3d.motion import Motion

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
TURN_S = 5.0  # once around the head
MAX_SIZE_PX = 4096


def render(
    avatar: tyro.conf.Positional[Path],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    motion: Path | None = None,
    size: int = 512,
    fps: float | None = None,
    yaw: float = 0.0,
    pitch: float = 0.0,
    expression: str = "neutral",
    head: str | None = None,
) -> None:
    """Draw an avatar: a turntable with expressions, a motion, or one picture.

    Args:
        avatar: The .avatar file.
        output: Video (.mp4), or one picture (.png, .jpg).
        motion: Motion to perform (.npz of avatar3d, or Live Link Face .csv); its sound comes along.
        size: Side of the picture in pixels.
        fps: Frames a second: 25, or the motion's own.
        yaw: Degrees that the camera stands toward the subject's left.
        pitch: Degrees that the camera stands above the face.
        expression: What a single picture shows: neutral, smile, laugh, surprise, ...
        head: Head model (name, or path of its file) if not the one that the avatar names.
    """
    from avatar3d.animation import expression_code, portrait_camera
    from avatar3d.asset import read_avatar
    from avatar3d.heads import load_head

    started = time.perf_counter()
    picture = output.suffix.lower() in PICTURE_SUFFIXES
    check_output(output, (".mp4", *PICTURE_SUFFIXES))
    check_size(size)
    check_rate(fps)
    if picture and motion is not None:
        raise UserError("a motion makes a video: name the output *.mp4, or leave --motion out")
    moves = None if motion is None else Motion.load(motion)
    loaded = read_avatar(avatar, None if head is None else load_head(head))
    camera = portrait_camera(loaded, size, math.radians(yaw), math.radians(pitch))
    if picture:
        from render.frames import frames
        from render.preview import write_picture

        write_picture(next(frames(loaded, [expression_code(expression)], camera)), output)
        print(f"wrote {output} ({size}x{size}) in {time.perf_counter() - started:.1f} s")
        return
    if moves is None:
        moves, cameras = showcase(loaded, size, 25.0 if fps is None else fps)
    else:
        moves = moves if fps is None else moves.resample(fps)
        cameras = camera
    write_video(loaded, moves, cameras, output, started)


def showcase(avatar: Avatar, size_px: int, fps: float) -> tuple[Motion, list[Camera]]:
    """Once around the head, then expressions before a camera that stands."""
    import torch

    from avatar3d.animation import expression_tour, idle, portrait_camera, turntable

    turning, tour = idle(TURN_S, fps), expression_tour(fps)
    codes = ExpressionCode(*(torch.cat(pair) for pair in zip(turning.codes, tour.codes)))
    cameras = turntable(avatar, size_px, len(turning)) + [portrait_camera(avatar, size_px)] * len(
        tour
    )
    return Motion(codes, fps), cameras


def write_video(
    avatar: Avatar,
    motion: Motion,
    cameras: Iterable[Camera] | Camera,
    output: Path,
    started: float,
    beside: Iterable[np.ndarray] | None = None,
) -> None:
    """Draw a motion into an mp4 with its sound, and say what was written.

    `started` is the clock's time when the command began; `beside` are pictures of the same height
    to show at the left.
    """
    from avatar3d.progress import tracked
    from render.ahead import ahead
    from render.frames import drawn, posed
    from render.rasterize import warm_up
    from render.video import VideoWriter

    if not len(motion):
        raise UserError("the motion has no frames, so there is nothing to draw; give another one")
    warm_up()
    drawing = time.perf_counter()
    with (
        VideoWriter(output, motion.frames_per_second, sound_of(motion)) as video,
        ahead(posed(avatar, motion.codes)) as gaussians,
        ahead(drawn(gaussians, cameras)) as pictures,
    ):
        if beside is not None:
            pictures = (np.concatenate(pair, axis=1) for pair in zip(beside, pictures))
        for picture in tracked(pictures, "render", len(motion)):
            video.write(picture)
    now = time.perf_counter()
    print(
        f"wrote {output} ({len(motion)} frames, {motion.duration_s:.1f} s) in {now - started:.1f} s, "
        f"{len(motion) / (now - drawing):.0f} frames/s with encoding"
    )


def sound_of(motion: Motion):
    """A motion's sound as the video writer takes it: at most two channels; None without."""
    if motion.audio is None or motion.audio_rate is None:
        return None
    return motion.audio[:, :2].numpy(), motion.audio_rate


def check_size(size_px: int) -> None:
    if not 16 <= size_px <= MAX_SIZE_PX:
        raise UserError(f"--size must be 16 to {MAX_SIZE_PX} pixels, got {size_px}")


def check_rate(fps: float | None) -> None:
    if fps is not None and not 1 <= fps <= 1000:
        raise UserError(f"--fps must be 1 to 1000 frames a second, got {fps}")


def check_output(output: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse an output of the wrong kind or place before any long work."""
    if output.suffix.lower() not in suffixes:
        raise UserError(
            f"cannot write {output}: expected a name ending in {' or '.join(suffixes)}, got "
            f"{output.suffix or 'none'!r}"
        )
    check_writable(output)
