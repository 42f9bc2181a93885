"""Motions cut, joined, blended, retimed, mirrored, amplified and bent by curves.

Each function takes motions and returns a new one. Sound goes along where time stays as it is, and
is left out where it would not fit any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from avatar3d.code_interpolation import interpolate_codes, slerp
from avatar3d.codes import ExpressionCode, other_side
from avatar3d.errors import UserError
from avatar3d.geometry import quaternion_power
from avatar3d.motion import Motion
from avatar3d.smooth import smoothstep

Curve = Sequence[tuple[float, float]]  # (x, y) points, x ascending


def cut(motion: Motion, start_s: float = 0.0, stop_s: float | None = None) -> Motion:
    """From `start_s` to `stop_s` seconds (the end, if none is given)."""
    stop_s = motion.duration_s if stop_s is None else stop_s
    first, last = (round(time_s * motion.frames_per_second) for time_s in (start_s, stop_s))
    if not 0 <= first < last <= len(motion):
        raise UserError(
            f"a motion of {motion.duration_s:.2f} s cannot be cut from {start_s:g} to {stop_s:g} s; "
            "give times within it, the first before the second"
        )
    return motion[first:last]


def join(motions: Sequence[Motion], blend_s: float = 0.0) -> Motion:
    """One after the other at the first one's rate, each fading into the next over `blend_s`.

    Sound is joined where all have it at one rate and nothing is blended, else left out.
    """
    if not motions:
        raise UserError("joining needs at least one motion, none was given")
    first = motions[0]
    rate = first.frames_per_second
    resampled = [motion.resample(rate) for motion in motions]
    if any(motion.names != first.names for motion in motions):
        raise UserError("motions with different coefficients cannot be joined; track them alike")
    overlap = round(blend_s * rate)
    codes = resampled[0].codes
    for motion in resampled[1:]:
        shared = min(overlap, len(codes.coefficients), len(motion))
        codes = _overlapped(codes, motion.codes, shared)
    audio, audio_rate = None, None
    if overlap == 0 and all(_same_sound(motion, first) for motion in motions):
        audio_rate = first.audio_rate
        audio = torch.cat([_whole_sound(motion) for motion in resampled])
    return replace(first, codes=codes, frames_per_second=rate, audio=audio, audio_rate=audio_rate)


def blend(a: Motion, b: Motion, share: float, names: Sequence[str] | None = None) -> Motion:
    """`share` of the way from `a` to `b` (at a's rate, as long as the shorter), with a's sound.

    `names`: only these coefficients; the pose and the others stay a's.
    """
    if a.names != b.names:
        raise UserError("motions with different coefficients cannot be blended; track them alike")
    b = b.resample(a.frames_per_second)
    count = min(len(a), len(b))
    a, b = a[:count], b[:count]
    if names is not None:
        index = columns_of(a, names)
        values = a.codes.coefficients.clone()
        values[:, index] = torch.lerp(values[:, index], b.codes.coefficients[:, index], share)
        return replace(a, codes=a.codes._replace(coefficients=values.clamp(0, 1)))
    return replace(a, codes=_mixed(a.codes, b.codes, torch.full((count, 1), share)))


def retime(motion: Motion, speed: float) -> Motion:
    """Played `speed` times as fast, at the same rate; the sound is left out unless speed is 1."""
    if not 0.01 <= speed <= 100:
        raise UserError(f"the speed must lie between 0.01 and 100, got {speed:g}")
    if speed == 1 or len(motion) == 0:
        return motion
    count = max(1, round(len(motion) / speed))
    positions = torch.arange(count, dtype=torch.float64) * speed
    return replace(
        motion, codes=interpolate_codes(motion.codes, positions), audio=None, audio_rate=None
    )


def mirror(motion: Motion) -> Motion:
    """Left for right, as in a mirror."""
    column = {name: index for index, name in enumerate(motion.names)}
    order = [column.get(other_side(name), index) for name, index in column.items()]
    codes = motion.codes
    return replace(
        motion,
        codes=ExpressionCode(
            codes.coefficients[:, order],
            codes.head_rotation * torch.tensor([1.0, 1.0, -1.0, -1.0]),
            codes.head_translation * torch.tensor([-1.0, 1.0, 1.0]),
            codes.neck_rotation * torch.tensor([1.0, 1.0, -1.0, -1.0]),
        ),
    )


def amplify(
    motion: Motion, factor: float, names: Sequence[str] | None = None, pose: float = 1.0
) -> Motion:
    """Coefficients (`names`, or all) times `factor`, turns and moves of the head times `pose`."""
    if factor < 0:
        raise UserError(f"a motion is amplified by 0 or more, got {factor:g}")
    index = columns_of(motion, names)
    codes = motion.codes
    values = codes.coefficients.clone()
    values[:, index] *= factor
    codes = codes._replace(coefficients=values.clamp(0, 1))
    if pose != 1.0:
        codes = codes._replace(
            head_rotation=quaternion_power(codes.head_rotation, pose),
            head_translation=codes.head_translation * pose,
            neck_rotation=quaternion_power(codes.neck_rotation, pose),
        )
    return replace(motion, codes=codes)


def over_time(motion: Motion, name: str, curve: Curve, how: str = "add") -> Motion:
    """A curve over seconds on one coefficient: `add` to it, `set` it, or `scale` it.

    The curve is smooth between its points and holds its ends.
    """
    index = columns_of(motion, [name])
    times_s = torch.arange(len(motion), dtype=torch.float64) / motion.frames_per_second
    amount = _smooth_curve(curve, times_s).to(torch.float32)[:, None]
    values = motion.codes.coefficients.clone()
    old = values[:, index]
    values[:, index] = {"add": old + amount, "scale": old * amount}.get(how, amount)
    return replace(motion, codes=motion.codes._replace(coefficients=values.clamp(0, 1)))


def by_value(motion: Motion, names: Sequence[str], curve: Curve) -> Motion:
    """A curve from old to new value: (0, 0), (0.5, 0.8), (1, 1) makes half open eyes close more."""
    index = columns_of(motion, names)
    values = motion.codes.coefficients.clone()
    new = _straight_curve(curve, values[:, index].to(torch.float64))
    values[:, index] = new.to(torch.float32)
    return replace(motion, codes=motion.codes._replace(coefficients=values.clamp(0, 1)))


def _overlapped(a: ExpressionCode, b: ExpressionCode, shared: int) -> ExpressionCode:
    """a, then b, with the last `shared` frames of a fading into the first of b."""
    if shared == 0:
        return ExpressionCode(*(torch.cat(pair) for pair in zip(a, b)))
    count = len(a.coefficients)
    share = ((torch.arange(shared) + 1) / (shared + 1))[:, None]
    middle = _mixed(a.at(slice(count - shared, count)), b.at(slice(0, shared)), smoothstep(share))
    parts = (a.at(slice(0, count - shared)), middle, b.at(slice(shared, None)))
    return ExpressionCode(*(torch.cat(values) for values in zip(*parts)))


def _mixed(a: ExpressionCode, b: ExpressionCode, share: Tensor) -> ExpressionCode:
    """`share` [T, 1] of the way from codes a to b [T, ...]."""
    return ExpressionCode(
        torch.lerp(a.coefficients, b.coefficients, share).clamp(0, 1),
        slerp(a.head_rotation, b.head_rotation, share),
        torch.lerp(a.head_translation, b.head_translation, share),
        slerp(a.neck_rotation, b.neck_rotation, share),
    )


def columns_of(motion: Motion, names: Sequence[str] | None) -> list[int]:
    """Where coefficients stand. A name without its side means both: `mouthSmile`."""
    if names is None:
        return list(range(len(motion.names)))
    found: list[int] = []
    for name in names:
        fitting = [
            index
            for index, other in enumerate(motion.names)
            if other in (name, f"{name}Left", f"{name}Right")
        ]
        if not fitting:
            raise UserError(
                f"there is no coefficient {name!r}; use ARKit's names such as jawOpen, "
                "mouthSmileLeft, or mouthSmile for both sides"
            )
        found += fitting
    return found


def _same_sound(motion: Motion, first: Motion) -> bool:
    return (
        motion.audio is not None
        and first.audio is not None
        and motion.audio_rate == first.audio_rate
        and motion.audio.shape[1] == first.audio.shape[1]
    )


def _whole_sound(motion: Motion) -> Tensor:
    """The sound, cut or filled with silence to the length of the frames."""
    assert motion.audio is not None
    assert motion.audio_rate is not None
    samples = round(motion.duration_s * motion.audio_rate)
    missing = max(0, samples - len(motion.audio))
    return torch.nn.functional.pad(motion.audio[:samples], (0, 0, 0, missing))


def _points(curve: Curve) -> tuple[Tensor, Tensor]:
    x, y = torch.tensor([list(point) for point in curve], dtype=torch.float64).T.contiguous()
    if len(x) == 0 or not (x.diff() > 0).all():
        raise UserError("a curve needs at least one point, each further right than the one before")
    return x, y


def _straight_curve(curve: Curve, at: Tensor) -> Tensor:
    x, y = _points(curve)
    if len(x) == 1:
        return y.expand(at.shape)
    index = torch.searchsorted(x, at.contiguous()).clamp(1, len(x) - 1)
    share = ((at - x[index - 1]) / (x[index] - x[index - 1])).clamp(0, 1)
    return torch.lerp(y[index - 1], y[index], share)


def _smooth_curve(curve: Curve, at: Tensor) -> Tensor:
    """Monotone between points, with no speed at them."""
    x, y = _points(curve)
    if len(x) == 1:
        return y.expand(at.shape)
    index = torch.searchsorted(x, at.contiguous()).clamp(1, len(x) - 1)
    share = smoothstep(at, x[index - 1], x[index])
    return torch.lerp(y[index - 1], y[index], share)
