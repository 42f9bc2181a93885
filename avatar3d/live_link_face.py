"""Live Link Face CSV: a timecode, 52 ARKit coefficients and three head angles a row.

The columns are those of Epic's app: `Timecode,BlendShapeCount,EyeBlinkLeft,...,HeadYaw,HeadPitch,
HeadRoll,LeftEyeYaw,...`. The app's publisher documents neither unit nor sign of the angles; here
they are radians and right-handed in the head frame, R = R_y(yaw) R_x(pitch) R_z(roll): yaw > 0 to
the subject's left, pitch > 0 down, roll > 0 toward the subject's right shoulder (docs/formats.md).
"""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from avatar3d.code_interpolation import interpolate_codes
from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError
from avatar3d.files import check_readable
from avatar3d.geometry import (
    quaternion_multiply,
    quaternion_to_matrix,
    rotation_vector_to_quaternion,
)

HEAD_ANGLES = ("HeadYaw", "HeadPitch", "HeadRoll")
EYE_ANGLES = ("LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll", "RightEyeYaw", "RightEyePitch", "RightEyeRoll")  # fmt: skip  # noqa: E501
COLUMNS = tuple(name[0].upper() + name[1:] for name in ARKIT_NAMES) + HEAD_ANGLES + EYE_ANGLES

DEFAULT_TIMECODE_RATE = 60.0  # the app's own
MAX_BYTES = 1 << 29
MAX_FRAMES = 1_000_000  # four and a half hours at 60 frames/s; wrong timecodes ask for more
_TIMECODE = re.compile(r"(\d{1,3}):(\d{1,2}):(\d{1,2})[:;](\d{1,3}(?:\.\d+)?)")
_TIME = re.compile(r"(\d{1,3}):(\d{1,2}):(\d{1,2}(?:\.\d+)?)")
_KNOWN_RATES = np.array([*range(1, 241), *(n * 1000 / 1001 for n in (24, 30, 48, 60, 120))])


def write(path: str | Path, codes: ExpressionCode, frames_per_second: float) -> None:
    """Write codes [T, ...]. Head translation, neck rotation and a head's own coefficients are left
    out: the format has no place for them. The eyes' angles are 0: gaze travels in eyeLook."""
    angles = head_angles(codes.head_rotation)
    coefficients = codes.coefficients[:, : len(ARKIT_NAMES)].detach().cpu()
    values = torch.cat(
        [coefficients, angles.cpu(), torch.zeros(len(angles), len(EYE_ANGLES))], dim=1
    )
    rate = max(1, math.ceil(frames_per_second - 1e-9))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Timecode", "BlendShapeCount", *COLUMNS])
        for index, row in enumerate(values.tolist()):
            # The first row is the last frame of a second: so even two rows tell how many frames
            # the timecode counts to a second.
            timecode = _format_timecode((rate - 1) / rate + index / frames_per_second, rate)
            writer.writerow([timecode, len(COLUMNS), *(f"{value:.7g}" for value in row)])


def read(path: str | Path, timecode_rate: float | None = None) -> tuple[ExpressionCode, float]:
    """Codes [T, ...] and frames/s. `timecode_rate`: how many frames a timecode counts to a second.

    Columns are found by name in any case and order; missing coefficients are 0, rows without a face
    are filled from their neighbours, uneven times are resampled. The bust stands still: the neck
    takes the whole rotation of the head.
    """
    check_readable(path, MAX_BYTES)
    columns, timecodes, table = _read_table(path)
    coefficients = _coefficients(columns, table, path)
    angles = np.zeros((len(table), 3))
    for axis, name in enumerate(HEAD_ANGLES):
        if name.lower() in columns:
            angles[:, axis] = table[:, columns[name.lower()]]
    if np.abs(angles).max() > math.pi:  # some tools write degrees
        angles = np.radians(angles)
    if np.abs(angles).max() > 2 * math.pi:
        raise UserError(
            f"{path}: head angles reach {np.degrees(np.abs(angles).max()):.0f} degrees, expected at "
            f"most 360; repair the columns {', '.join(HEAD_ANGLES)}"
        )
    rotation = head_rotation(torch.from_numpy(angles).to(torch.float32))
    codes = ExpressionCode(
        torch.from_numpy(coefficients).to(torch.float32),
        rotation,
        torch.zeros(len(table), 3),
        rotation.clone(),
    )
    if timecodes is None:
        return codes, timecode_rate or DEFAULT_TIMECODE_RATE
    return _at_fixed_rate(codes, _times(timecodes, timecode_rate, path), timecode_rate, path)


def head_rotation(angles: Tensor) -> Tensor:
    """Unit quaternions [..., 4] of (yaw, pitch, roll) [..., 3] in radians."""
    yaw, pitch, roll = (
        rotation_vector_to_quaternion(angles[..., i : i + 1] * angles.new_tensor(axis))
        for i, axis in enumerate([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    )
    return quaternion_multiply(quaternion_multiply(yaw, pitch), roll)


def head_angles(rotation: Tensor) -> Tensor:
    """(yaw, pitch, roll) [..., 3] of unit quaternions; pitch within +-90 degrees."""
    m = quaternion_to_matrix(rotation.detach().to(torch.float64))
    pitch = torch.asin((-m[..., 1, 2]).clamp(-1, 1))
    yaw = torch.atan2(m[..., 0, 2], m[..., 2, 2])
    roll = torch.atan2(m[..., 1, 0], m[..., 1, 1])
    return torch.stack([yaw, pitch, roll], dim=-1).to(torch.float32)


def _read_table(path: str | Path) -> tuple[dict[str, int], list[str] | None, np.ndarray]:
    """Column numbers by lower-case name; timecodes and values [T, columns] of rows with a face."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            delimiter = ";" if first.count(";") > first.count(",") else ","
            header = [
                name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])
            ]
            rows = [row for row in csv.reader(file, delimiter=delimiter) if any(row)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a CSV text ({error})") from error
    columns = {name: index for index, name in enumerate(header) if name}
    known = [name for name in ARKIT_NAMES if name.lower() in columns]
    if len(known) < len(ARKIT_NAMES) // 2:
        raise UserError(
            f"{path} is not a Live Link Face CSV: expected a header with the 52 ARKit names, "
            f"found {len(known)} of them"
        )
    time_column = columns.pop("timecode", None)
    numeric = sorted(
        columns[name.lower()] for name in (*known, *HEAD_ANGLES) if name.lower() in columns
    )
    table = np.zeros((len(rows), len(header)))
    has_face = np.ones(len(rows), dtype=bool)
    for index, row in enumerate(rows):
        cells = [row[column].strip() if column < len(row) else "" for column in numeric]
        if not all(cells):  # the app leaves the cells empty while it sees no face
            has_face[index] = False
            continue
        try:
            table[index, numeric] = [float(cell) for cell in cells]
        except ValueError as error:
            raise UserError(f"{path}, line {index + 2}: {error}") from error
    if not has_face.any():
        raise UserError(f"{path} has no row with values; give a recording in which a face was seen")
    if not np.isfinite(table).all():
        raise UserError(f"{path} has NaN or infinite values")
    timecodes = None
    if time_column is not None:
        timecodes = [
            row[time_column] if time_column < len(row) else ""
            for row, use in zip(rows, has_face)
            if use
        ]
    return columns, timecodes, table[has_face]


def _coefficients(columns: dict[str, int], table: np.ndarray, path: str | Path) -> np.ndarray:
    values = np.zeros((len(table), len(ARKIT_NAMES)))
    for index, name in enumerate(ARKIT_NAMES):
        if name.lower() in columns:
            values[:, index] = table[:, columns[name.lower()]]
    # Calibrated takes overshoot a little; far outside it is another unit.
    if values.min() < -1 or values.max() > 2:
        raise UserError(
            f"{path}: coefficients reach {values.min():g} to {values.max():g}, expected 0 to 1 "
            "(percentages must be divided by 100)"
        )
    return values.clip(0, 1)


def _times(timecodes: list[str], rate: float | None, path: str | Path) -> np.ndarray:
    """Seconds [T], increasing, of timecodes HH:MM:SS:FF.mmm or HH:MM:SS.mmm."""
    seconds, frames = np.zeros(len(timecodes)), np.zeros(len(timecodes))
    for index, text in enumerate(timecodes):
        match = _TIMECODE.fullmatch(text.strip()) or _TIME.fullmatch(text.strip())
        if match is None:
            raise UserError(f"{path}: {text[:40]!r} is not a timecode, expected HH:MM:SS:FF.mmm")
        hours, minutes, second, *frame = (float(group) for group in match.groups())
        seconds[index] = 3600 * hours + 60 * minutes + second
        frames[index] = frame[0] if frame else 0.0
    times = seconds + frames / (rate or _timecode_rate(seconds, frames))
    times[1:] += 86400 * np.cumsum(np.diff(times) < -43200)  # past midnight
    if (np.diff(times) <= 0).any():
        line = int(np.argmax(np.diff(times) <= 0)) + 2
        raise UserError(
            f"{path}: time does not go forward at row {line}; sort or repair the timecodes"
        )
    return times


def _timecode_rate(seconds: np.ndarray, frames: np.ndarray) -> float:
    """How many frames are counted to a second, from the rows where the second changes."""
    within = (np.diff(seconds) == 0) & (np.diff(frames) > 0)
    across = np.diff(seconds) == 1
    if not across.any():
        return max(DEFAULT_TIMECODE_RATE, float(np.floor(frames.max()) + 1))
    step = float(np.median(np.diff(frames)[within])) if within.any() else 1.0
    counted = round(float(np.median(step - np.diff(frames)[across])))
    return float(max(counted, np.floor(frames.max()) + 1, 1))


def _at_fixed_rate(
    codes: ExpressionCode, times: np.ndarray, timecode_rate: float | None, path: str | Path
) -> tuple[ExpressionCode, float]:
    if len(times) == 1:
        return codes, timecode_rate or DEFAULT_TIMECODE_RATE
    mean_step = (times[-1] - times[0]) / (len(times) - 1)
    even = times[0] + mean_step * np.arange(len(times))
    is_even = np.abs(times - even).max() < 0.25 * mean_step
    step = mean_step if is_even else float(np.median(np.diff(times)))
    rate = float(1 / step)
    nearest = float(_KNOWN_RATES[np.abs(_KNOWN_RATES - rate).argmin()])
    if (
        abs(nearest - rate) < max(1e-4, 2e-3 / (len(times) - 1)) * rate
    ):  # timecodes end at 1/1000 frame
        rate = nearest
    if is_even:
        return codes, rate
    count = 1 + round(float(times[-1] - times[0]) * rate)
    if count > MAX_FRAMES:
        _refuse_length(path, times[-1] - times[0])
    positions = np.interp(times[0] + np.arange(count) / rate, times, np.arange(len(times)))
    return interpolate_codes(codes, torch.from_numpy(positions)), rate


def _refuse_length(path: str | Path, duration_s: float) -> NoReturn:
    raise UserError(f"{path}: its timecodes span {duration_s / 3600:.1f} hours; repair or cut them")


def _format_timecode(time_s: float, rate: int) -> str:
    milliframes = round(time_s * rate * 1000)
    total_seconds, milliframes = divmod(milliframes, rate * 1000)
    minutes, second = divmod(total_seconds, 60)
    hours, minute = divmod(minutes, 60)
    frame, fraction = divmod(milliframes, 1000)
    return f"{hours:02d}:{minute:02d}:{second:02d}:{frame:02d}.{fraction:03d}"
