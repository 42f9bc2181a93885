"""Frames and sound of a video file, decoded one at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from avatar3d.errors import UserError
from avatar3d.optional import require
from recon.capture.frames import Frame, check_size
from recon.capture.hdr import is_hdr, sdr_picture

if TYPE_CHECKING:
    import av
    import av.container

logger = logging.getLogger(__name__)

# Pixels off square by less than this change no face: half a pixel over 100.
SQUARE_PIXEL_TOLERANCE = 0.005
# Untagged video of this height and above is taken for BT.709, below for BT.601, as players do.
HD_HEIGHT = 720


@dataclass(frozen=True)
class VideoInfo:
    """What the header of a video says; `frame_count` and `duration_s` are 0 where it is silent."""

    width: int
    height: int
    frames_per_second: float
    frame_count: int
    duration_s: float
    has_audio: bool


def read_video_info(path: str | Path) -> VideoInfo:
    """The header of a video. Width and height are as stored, before any rotation."""
    with _open_video(path) as container:
        stream = container.streams.video[0]
        duration = (container.duration or 0) / 1e6
        rate = float(stream.average_rate or stream.base_rate or 0.0)
        return VideoInfo(
            width=stream.width,
            height=stream.height,
            frames_per_second=rate,
            frame_count=stream.frames or round(duration * rate),
            duration_s=duration,
            has_audio=bool(container.streams.audio),
        )


def read_video(
    path: str | Path,
    *,
    max_frames: int | None = None,
    indices: Sequence[int] | None = None,
) -> Iterator[Frame]:
    """Decode a video lazily: upright frames with square pixels and their own timestamps.

    `max_frames` stops after so many frames; `indices` yields only these frames (counted from 0, in
    ascending order). The display matrix turns the frames, the sample aspect ratio widens them,
    and `time_s` follows the timestamps, so a variable frame rate stays variable. Where the file
    breaks off, the frames before it are kept and a warning is logged; no frame at all is a
    UserError.
    """
    path = Path(path)
    wanted = None if indices is None else sorted(set(indices))
    last = None if wanted is None else (wanted[-1] if wanted else -1)
    if max_frames is not None:
        last = max_frames - 1 if last is None else min(last, max_frames - 1)
    with _open_video(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        expected = stream.frames
        keep = None if wanted is None else set(wanted)
        count = 0
        start_s: float | None = None
        rate = float(stream.average_rate or stream.base_rate or 25.0)
        for picture in _decoded(container, path):
            time_s = picture.time if picture.time is not None else count / rate
            start_s = time_s if start_s is None else start_s
            if last is not None and count > last:
                return
            if keep is None or count in keep:
                yield Frame(_upright_rgb(picture, stream), None, time_s - start_s, path.name, count)
            count += 1
        if count == 0:
            raise UserError(f"{path.name} holds no frame that can be decoded; give an intact video")
        # Containers may count one or two frames that an edit list hides.
        if expected > count + 2 and (last is None or count <= last):
            logger.warning(
                "%s breaks off: %d of %d frames could be decoded", path.name, count, expected
            )


def read_audio(path: str | Path) -> tuple[NDArray[np.float32], int] | None:
    """The first sound track as (samples f32 [N, C] in -1..1, rate in Hz), or None without one."""
    path = Path(path)
    av = require("av", extra="recon")
    with _open_container(path) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        rate = int(stream.rate)
        resampler = av.AudioResampler(format="fltp", rate=rate)
        blocks: list[NDArray[np.float32]] = []
        try:
            for frame in container.decode(stream):
                blocks += [piece.to_ndarray().T for piece in resampler.resample(frame)]
            blocks += [piece.to_ndarray().T for piece in resampler.resample(None)]
        except (av.FFmpegError, OSError) as error:
            logger.warning("the sound of %s breaks off: %s", path.name, error)
    if not blocks:
        return None
    # Half an hour in stereo is 0.7 GB: one copy, its rows samples from the start.
    samples = np.empty((sum(map(len, blocks)), blocks[0].shape[1]), np.float32)
    return np.concatenate(blocks, out=samples), rate


def sample_indices(frame_count: int, samples: int) -> list[int]:
    """At most `samples` different frame numbers, evenly spaced over the whole clip."""
    if frame_count <= 0:
        return []
    even = np.linspace(0, frame_count - 1, min(samples, frame_count))
    return [int(index) for index in np.unique(even.round())]


@contextmanager
def _open_container(path: str | Path) -> Iterator[av.container.InputContainer]:
    path = Path(path)
    av = require("av", extra="recon")
    if not path.is_file():
        raise UserError(f"{path} is not a file; check the name of the video")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(
            f"{path.name} is not a video that can be read, or it is cut short ({error}); "
            "give an intact MP4, MOV, MKV or WebM"
        ) from None
    with container:
        yield container


@contextmanager
def _open_video(path: str | Path) -> Iterator[av.container.InputContainer]:
    with _open_container(path) as container:
        name = Path(path).name
        if not container.streams.video:
            if container.streams.audio:
                raise UserError(f"{name} has sound but no picture; give a video of the head")
            raise UserError(f"{name} holds no video, or it is cut short; give an intact video")
        stream = container.streams.video[0]
        check_size(stream.width, stream.height, name)
        yield container


def _decoded(container: av.container.InputContainer, path: Path) -> Iterator[av.VideoFrame]:
    """Frames up to the first error; what stands before a damage is worth keeping."""
    av = require("av", extra="recon")
    frames = container.decode(video=0)
    count = 0
    while True:
        try:
            picture = next(frames, None)
        except (av.FFmpegError, OSError) as error:
            if count:
                logger.warning(
                    "%s breaks off after %d frames (%s); those are used", path.name, count, error
                )
            return
        if picture is None:
            return
        count += 1
        yield picture


def _upright_rgb(picture: av.VideoFrame, stream: av.VideoStream) -> NDArray[np.uint8]:
    """Decoded frame -> u8 [H, W, 3] sRGB, turned upright, with square pixels."""
    unspecified = 2  # AVCOL_SPC_UNSPECIFIED
    colorspace = None
    if picture.colorspace == unspecified and picture.format.name.startswith("yuv"):
        colorspace = "ITU709" if picture.height >= HD_HEIGHT else "ITU601"
    width = picture.width
    aspect = float(stream.sample_aspect_ratio or 1.0)
    if abs(aspect - 1.0) > SQUARE_PIXEL_TOLERANCE and 0.2 < aspect < 5.0:
        width = max(1, round(width * aspect))
    if is_hdr(picture):
        image = sdr_picture(picture, width)
    else:
        image = picture.reformat(
            width=width, format="rgb24", src_colorspace=colorspace, interpolation="BICUBIC"
        ).to_ndarray()
    # The display matrix gives the counter-clockwise angle; only quarter turns are in use.
    quarter_turns = round((picture.rotation or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarter_turns), dtype=np.uint8)
