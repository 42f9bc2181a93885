"""Codes over time at a fixed rate, with optional sound; saved as .npz or as Live Link Face CSV."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar3d import live_link_face
from avatar3d.code_interpolation import interpolate_codes
from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from avatar3d.npz import read_npz
from avatar3d.schema import Field, check_schema

FORMAT_VERSION = 1
MAX_FRAMES_PER_SECOND = 1000.0
_FLAME_SUFFIXES = (".frame", ".pt", ".pth")

_SCHEMA = {
    "coefficients": Field("float32", ("frames", "coefficients")),
    "head_rotation": Field("float32", ("frames", 4), -1.01, 1.01),
    "head_translation": Field("float32", ("frames", 3), -1e3, 1e3),
    "neck_rotation": Field("float32", ("frames", 4), -1.01, 1.01),
    "frames_per_second": Field("float64", (), 1e-3, MAX_FRAMES_PER_SECOND),
    "audio": Field("float32", ("samples", "channels"), optional=True),
    "audio_rate": Field("int64", (), 1, 1_000_000, optional=True),
}


@dataclass(frozen=True)
class Motion:
    """`codes` [T, ...] at `frames_per_second`; frame i is at i / frames_per_second seconds.

    Coefficients are the 52 of ARKit, then a head's own in the order of `extra_names`.
    """

    codes: ExpressionCode  # [T, ...]
    frames_per_second: float
    extra_names: tuple[str, ...] = ()
    audio: Tensor | None = None  # [S, channels] in -1..1, from the time of the first frame
    audio_rate: int | None = None  # samples a second

    def __post_init__(self) -> None:
        count = self.codes.coefficients.shape[0]
        expected = [(count, len(self.names)), (count, 4), (count, 3), (count, 4)]
        for name, value, shape in zip(ExpressionCode._fields, self.codes, expected):
            if tuple(value.shape) != shape:
                raise ValueError(f"{name} has shape {list(value.shape)}, expected {list(shape)}")
        if not 0 < self.frames_per_second <= MAX_FRAMES_PER_SECOND:
            raise ValueError(f"frames_per_second is {self.frames_per_second}")
        if (self.audio is None) != (self.audio_rate is None):
            raise ValueError("audio and audio_rate go together")
        if self.audio is not None and self.audio.ndim != 2:
            raise ValueError(f"audio has shape {list(self.audio.shape)}, expected [S, channels]")

    def __len__(self) -> int:
        return self.codes.coefficients.shape[0]

    def __getitem__(self, frames: slice) -> Motion:
        """Consecutive frames, the sound cut alike."""
        start, stop, step = frames.indices(len(self))
        if step != 1:
            raise ValueError("a motion is cut in steps of one frame; see resample")
        stop = max(start, stop)
        audio = self.audio
        if audio is not None and self.audio_rate is not None:
            samples_per_frame = self.audio_rate / self.frames_per_second
            audio = audio[round(start * samples_per_frame) : round(stop * samples_per_frame)]
        return replace(self, codes=self.codes.at(slice(start, stop)), audio=audio)

    @property
    def names(self) -> tuple[str, ...]:
        return ARKIT_NAMES + self.extra_names

    @property
    def duration_s(self) -> float:
        return len(self) / self.frames_per_second

    def resample(self, frames_per_second: float) -> Motion:
        """The same motion at another rate: linear between frames, the last one held."""
        if frames_per_second == self.frames_per_second or len(self) == 0:
            return replace(self, frames_per_second=frames_per_second)
        ratio = self.frames_per_second / frames_per_second
        count = max(1, math.ceil(len(self) / ratio - 1e-6))
        positions = torch.arange(count, dtype=torch.float64) * ratio
        codes = interpolate_codes(self.codes, positions)
        return replace(self, codes=codes, frames_per_second=frames_per_second)

    def save(self, path: str | Path) -> None:
        """Write .npz (everything) or .csv (Live Link Face: 52 coefficients and head rotation)."""
        with atomic_output(path) as temporary:
            if _format(path) == ".csv":
                live_link_face.write(temporary, self.codes, self.frames_per_second)
            else:
                _write_npz(self, temporary)

    @staticmethod
    def load(path: str | Path, frames_per_second: float | None = None) -> Motion:
        """Read .npz, Live Link Face .csv, or FLAME's parameters (`flame_param.npz` of VHAP and
        GaussianAvatars, `.frame` of metrical-tracker, a folder of either; needs a FLAME head).

        `frames_per_second` is the rate in which a CSV counts the frames of its timecodes, for files
        too short to tell it, and that of FLAME's parameters (25 if not given); an .npz of avatar3d
        says its own.
        """
        if Path(path).is_dir() or Path(path).suffix.lower() in _FLAME_SUFFIXES:
            return _read_flame(path, frames_per_second)
        if _format(path) == ".csv":
            return Motion(*live_link_face.read(path, frames_per_second))
        return _read_npz(path, frames_per_second)


def _format(path: str | Path) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in (".npz", ".csv"):
        raise UserError(f"{path}: expected a motion named *.npz or *.csv, got {suffix!r}")
    return suffix


def _write_npz(motion: Motion, path: Path) -> None:
    arrays = {
        name: value.detach().cpu().to(torch.float32).numpy()
        for name, value in zip(ExpressionCode._fields, motion.codes)
    }
    if motion.audio is not None and motion.audio_rate is not None:
        arrays["audio"] = motion.audio.detach().cpu().to(torch.float32).numpy()
        arrays["audio_rate"] = np.array(motion.audio_rate, np.int64)
    # The reader takes arrays in C order only; sound often comes with its channels turned.
    arrays = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    with open(path, "wb") as file:
        np.savez_compressed(
            file,
            version=np.int64(FORMAT_VERSION),
            names=np.array(motion.names),
            frames_per_second=np.float64(motion.frames_per_second),
            **arrays,
        )


def _read_flame(path: str | Path, frames_per_second: float | None) -> Motion:
    """Parameters of FLAME, as the 52 that any head performs."""
    from avatar3d.heads import load_head
    from avatar3d.heads.flame_parameters import read_flame_parameters, to_motion

    parameters = read_flame_parameters(Path(path))
    return to_motion(load_head("flame"), parameters, frames_per_second or 25.0)


def _read_npz(path: str | Path, frames_per_second: float | None) -> Motion:
    from avatar3d.heads.flame_parameters import is_flame_npz

    if is_flame_npz(path):
        return _read_flame(path, frames_per_second)
    arrays = read_npz(path)
    version, names = arrays.pop("version", None), arrays.pop("names", None)
    if version is None or version.shape != () or names is None or names.ndim != 1:
        raise UserError(f"{path} is an .npz file but not a motion: it has no version or names")
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has motion format {version}, this avatar3d reads {FORMAT_VERSION}; "
            "upgrade it with: pip install -U avatar3d"
        )
    names = tuple(map(str, names))
    if names[: len(ARKIT_NAMES)] != ARKIT_NAMES:
        raise UserError(f"{path}: its coefficients are not the 52 of ARKit in Apple's order")
    check_schema(arrays, _SCHEMA, path, {"coefficients": len(names)})
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f"{path} has NaN or infinite values in {name!r}")
    if ("audio" in arrays) != ("audio_rate" in arrays):
        raise UserError(f"{path} has sound without its rate, or a rate without sound")
    codes = ExpressionCode(*(torch.from_numpy(arrays[name]) for name in ExpressionCode._fields))
    for rotation in (codes.head_rotation, codes.neck_rotation):
        if ((rotation.norm(dim=-1) - 1).abs() > 1e-2).any():
            raise UserError(f"{path} has rotations that are not unit quaternions")
    return Motion(
        codes,
        float(arrays["frames_per_second"]),
        names[len(ARKIT_NAMES) :],
        torch.from_numpy(arrays["audio"]) if "audio" in arrays else None,
        int(arrays["audio_rate"]) if "audio_rate" in arrays else None,
    )
