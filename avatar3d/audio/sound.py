"""Sound files as blocks of 16 kHz mono: whatever the rate, the channels and the length."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from avatar3d.audio.features import RATE_HZ
from avatar3d.errors import UserError
from avatar3d.files import check_readable
from avatar3d.optional import require

logger = logging.getLogger(__name__)

_CLIPPED = 0.999  # a recording that touches full scale is cut off there
_CLIPPED_SHARE = 0.01  # of the samples: below, a click; above, the vowels are squared
_SILENT_RMS = 1e-4  # -80 dB: no microphone is that quiet while somebody speaks


@dataclass(frozen=True)
class SoundInfo:
    """What the header says; `duration_s` is 0 where it is silent about it."""

    rate_hz: int
    channels: int
    duration_s: float
    starts_s: float  # of the first sample, relative to the first picture of the same file


def read_sound_info(path: str | Path) -> SoundInfo:
    with _Opened(path) as (container, stream):
        duration = float(container.duration or 0) / 1e6
        return SoundInfo(int(stream.rate), int(stream.channels), duration, _start(container))


def read_sound(
    path: str | Path, *, rate_hz: int = RATE_HZ, channels: int = 1
) -> Iterator[Float[np.ndarray, "N channels"]]:
    """Decode the first sound track piece by piece, in -1..1; memory does not grow with its length.

    Where the file breaks off, what stands before is kept and a warning is logged; no sample at all
    is a UserError. Silence and heavy clipping are said in a warning at the end.
    """
    av = require("av", extra="audio")
    path = Path(path)
    # FFmpeg adds channels up, which clips: the resampler keeps them, and mono is their mean.
    layout = None if channels == 1 else "stereo"
    heard = _Heard()
    with _Opened(path) as (container, stream):
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate_hz)
        try:
            for frame in container.decode(stream):
                for piece in resampler.resample(frame):
                    yield heard.listen(piece.to_ndarray().T, channels)
        except (av.FFmpegError, OSError) as error:
            logger.warning(
                "the sound of %s breaks off after %.1f s (%s); what stands before is used",
                path.name, heard.samples / rate_hz, error,
            )  # fmt: skip
        if heard.samples:
            for piece in resampler.resample(None):
                yield heard.listen(piece.to_ndarray().T, channels)
    heard.judge(path.name)


class _Heard:
    """What a file sounded like, for its warnings."""

    def __init__(self) -> None:
        self.samples, self.clipped, self.energy = 0, 0, 0.0

    def listen(self, block: np.ndarray, channels: int) -> np.ndarray:
        # Float files may hold anything, NaN too.
        block = np.clip(np.nan_to_num(block.astype(np.float32, copy=False)), -1.0, 1.0)
        self.samples += len(block)
        self.clipped += int((np.abs(block) >= _CLIPPED).any(axis=1).sum())
        self.energy += float(np.square(block, dtype=np.float64).mean(axis=1).sum())
        if channels == 1:
            block = block.mean(axis=1, keepdims=True, dtype=np.float32)
        return np.ascontiguousarray(block)

    def judge(self, name: str) -> None:
        if not self.samples:
            raise UserError(
                f"{name} has a sound track without any sample that can be decoded; give an intact "
                "file"
            )
        if (self.energy / self.samples) ** 0.5 < _SILENT_RMS:
            logger.warning("%s is silent, so the mouth stays at rest", name)
        if self.clipped > _CLIPPED_SHARE * self.samples:
            logger.warning(
                "%s is clipped (%.0f %% of its samples are at full scale): the mouth follows it less "
                "well; record it more quietly",
                name, 100 * self.clipped / self.samples,
            )  # fmt: skip


class _Opened:
    """`with _Opened(path) as (container, stream)`: a file that has a sound track, or a UserError."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> tuple[Any, Any]:
        av = require("av", extra="audio")
        check_readable(self.path)
        try:
            self.container = av.open(str(self.path), metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UserError(
                f"{self.path.name} is not a sound file that can be read, or it is cut short "
                f"({error}); give an intact WAV, MP3, FLAC, OGG, M4A or video"
            ) from None
        if not self.container.streams.audio:
            self.container.close()
            raise UserError(
                f"{self.path.name} has no sound track; give a file with speech, or the words "
                "themselves with --text"
            )
        stream = self.container.streams.audio[0]
        if not stream.codec_context or not stream.rate or not 1 <= stream.channels <= 64:
            self.container.close()
            raise UserError(
                f"the sound track of {self.path.name} is of a kind that cannot be decoded; convert "
                "it to WAV"
            )
        return self.container, stream

    def __exit__(self, *error: object) -> None:
        self.container.close()


def _start(container: Any) -> float:
    """Containers shift their tracks: the sound's first sample against the first picture."""
    sound = container.streams.audio[0]
    if not container.streams.video or sound.start_time is None:
        return 0.0
    picture = container.streams.video[0]
    if picture.start_time is None:
        return 0.0
    return float(sound.start_time * sound.time_base - picture.start_time * picture.time_base)
