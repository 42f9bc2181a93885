"""Pictures and sound to an mp4 that plays everywhere: H.264 yuv420p and AAC."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from avatar3d.optional import require
from render.frames import to_uint8

# ISO/IEC 23091-2 code points, as libavutil's enums number them.
_BT709 = 1
_LIMITED_RANGE = 1
# libx264's scale: 18 is close to lossless for the eye, 23 its default.
DEFAULT_QUALITY = 18
_AUDIO_BIT_RATE = 128_000
# Audio is handed to the encoder in pieces of this many samples.
_AUDIO_CHUNK = 4096


class Audio(NamedTuple):
    """Sound that starts with the first frame."""

    samples: np.ndarray  # float32 in -1..1, mono [S] or [S, channels] with 1 or 2 channels
    rate_hz: int


class AudioBlocks(NamedTuple):
    """The same for sound that is too long to be held: read when the pictures have been written."""

    blocks: Iterable[np.ndarray]  # float32 in -1..1, [S, channels] each
    rate_hz: int
    channels: int  # 1 or 2


class VideoWriter:
    """Writes pictures to an mp4 file; a context manager.

        with VideoWriter("out.mp4", fps=25) as video:
            video.write(image)  # [H, W, 3] float in 0..1 or uint8, sRGB

    The file appears whole when the block ends, and not at all if it ends by an exception: frames
    go to a temporary file beside it, which is then renamed. All frames have the first one's size;
    an odd width or height grows by repeating the last column or row, since yuv420p shares colour
    between pairs of pixels. Sound longer than the pictures is cut to their length.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float | Fraction,
        audio: Audio | AudioBlocks | tuple[np.ndarray, int] | None = None,
        quality: int = DEFAULT_QUALITY,
        preset: str = "veryfast",
    ):
        """`quality` is x264's CRF (0 best to 51), `preset` its name for speed against size."""
        if not 0 < fps <= 1000:
            raise UserError(f"a video's frame rate must lie between 0 and 1000, got {fps}")
        self.path = Path(path)
        self.fps = Fraction(fps).limit_denominator(1001)
        self.frame_count = 0
        self._audio = None if audio is None else _as_blocks(audio)
        self._quality, self._preset = quality, preset
        self._output = contextlib.ExitStack()  # renames or removes the temporary file
        self._container: Any = None
        self._video_stream: Any = None
        self._audio_stream: Any = None
        self._size: tuple[int, int] | None = None  # width, height of the pictures given

    def __enter__(self) -> VideoWriter:
        av = require("av", extra="recon")
        temporary = self._output.enter_context(atomic_output(self.path))
        # The index goes to the front, so that a browser plays before it has the whole file.
        options = {"movflags": "+faststart"}
        self._container = av.open(str(temporary), "w", format="mp4", options=options)
        return self

    def write(self, image: np.ndarray | Tensor) -> None:
        """Append one picture, [H, W, 3]: uint8, or float in 0..1 (clipped)."""
        if self._container is None:
            raise RuntimeError("write to a VideoWriter inside its `with` block")
        av = require("av", extra="recon")
        pixels = to_uint8(image)
        if pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"a video frame is [H, W, 3], got {pixels.shape}")
        height, width = pixels.shape[:2]
        if self._size is None:
            self._size = width, height
            self._open_streams(width + width % 2, height + height % 2)
        if self._size != (width, height):
            raise ValueError(
                f"all frames of a video have one size: the first was {self._size[0]}x"
                f"{self._size[1]}, this one is {width}x{height}"
            )
        if width % 2 or height % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = frame.reformat(
            format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE
        )
        frame.pts = self.frame_count
        frame.time_base = 1 / self.fps
        self._mux(self._video_stream, frame)
        self.frame_count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._output:  # an exception that leaves this block removes the file
            try:
                if error is not None:
                    raise error
                if self.frame_count == 0:
                    raise UserError(f"the video {self.path} got no frames; nothing was written")
                self._write_audio()
                self._mux(self._video_stream, None)
                self._close()
            finally:
                # After an error, what the muxer still has to say about the file does not matter.
                with contextlib.suppress(Exception):
                    self._close()

    def _open_streams(self, width: int, height: int) -> None:
        stream = self._container.add_stream("libx264", rate=self.fps)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(self._quality), "preset": self._preset}
        context = stream.codec_context
        context.time_base = 1 / self.fps
        context.color_range = _LIMITED_RANGE
        context.colorspace = _BT709
        context.color_primaries = _BT709
        context.color_trc = _BT709
        self._video_stream = stream
        if self._audio is not None:
            audio = self._container.add_stream("aac", rate=self._audio.rate_hz)
            audio.layout = "mono" if self._audio.channels == 1 else "stereo"
            audio.bit_rate = _AUDIO_BIT_RATE
            self._audio_stream = audio

    def _write_audio(self) -> None:
        if self._audio is None:
            return
        av = require("av", extra="recon")
        blocks, rate, channels = self._audio
        end = round(self.frame_count / self.fps * rate)
        start = 0
        for block in blocks:
            piece = np.ascontiguousarray(block[: end - start].T)
            if not piece.size:
                break
            layout = "mono" if channels == 1 else "stereo"
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate = rate
            frame.pts = start
            frame.time_base = Fraction(1, rate)
            self._mux(self._audio_stream, frame)
            start += piece.shape[1]
        self._mux(self._audio_stream, None)

    def _mux(self, stream: Any, frame: Any) -> None:
        """Encode one frame (None: flush) and write what comes out."""
        with self._full_disk_is_said():
            self._container.mux(stream.encode(frame))

    def _close(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            with self._full_disk_is_said():
                container.close()

    @contextlib.contextmanager
    def _full_disk_is_said(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # PyAV's errors of the file system are OSErrors
            raise UserError(
                f"cannot write the video {self.path}: {error.strerror or error}"
            ) from error


def _as_blocks(audio: Audio | AudioBlocks | tuple[np.ndarray, int]) -> AudioBlocks:
    if isinstance(audio, AudioBlocks):
        if audio.channels not in (1, 2):
            raise ValueError(f"a video's sound has 1 or 2 channels, got {audio.channels}")
        return audio
    samples, rate_hz = _checked_audio(Audio(*audio))
    starts = range(0, len(samples), _AUDIO_CHUNK)
    blocks = [samples[start : start + _AUDIO_CHUNK] for start in starts]
    return AudioBlocks(blocks, rate_hz, samples.shape[1])


def _checked_audio(audio: Audio) -> Audio:
    samples = np.asarray(audio.samples)
    samples = samples[:, None] if samples.ndim == 1 else samples
    if samples.ndim != 2 or samples.shape[1] not in (1, 2) or samples.dtype.kind != "f":
        raise ValueError(
            "audio is float [samples] or [samples, 1 or 2 channels], got "
            f"{audio.samples.dtype} {audio.samples.shape}"
        )
    if not np.isfinite(samples).all():
        raise ValueError("audio holds samples that are not finite numbers")
    return Audio(np.clip(samples, -1, 1).astype(np.float32), int(audio.rate_hz))
