"""Steadier codes: One-Euro filters for live ones, the same in both directions for clips.

A One-Euro filter (Casiez, Roussel, Vogel 2012) is a low pass whose cutoff rises with the speed of
the signal: it holds what is still and lets go of what moves. Blinks, closing lips and the jaw have
high cutoffs and rise fast, so a blink of three frames and a p stay; brows and cheeks, which the
detector shakes most, are held most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.geometry import (
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_rotation_vector,
    rotation_vector_to_quaternion,
)

# Cutoff at rest in Hz, and how much of it a speed of one unit a second adds.
CUTOFFS: dict[str, tuple[float, float]] = {
    "eyeBlink": (3.0, 8.0), "eyeLook": (2.0, 6.0), "eyeSquint": (1.0, 4.0), "eyeWide": (1.0, 4.0),
    "jaw": (2.0, 8.0), "mouth": (2.0, 8.0), "brow": (1.0, 4.0), "cheek": (1.0, 4.0),
    "nose": (1.0, 4.0), "tongue": (2.0, 8.0),
}  # fmt: skip
OTHER_CUTOFF = (2.0, 6.0)  # a head's own coefficients
TURN_CUTOFF, PLACE_CUTOFF = (1.5, 12.0), (1.0, 60.0)  # radians, metres
SPEED_CUTOFF_HZ = 4.0  # of the speed itself


@dataclass(frozen=True)
class Smoothing:
    """How much is smoothed: 1 as tuned, 0 nothing, 2 half the cutoffs."""

    strength: float = 1.0


class OneEuro:
    """The filter for a vector of signals; `cutoffs` [N, 2] in Hz and Hz a unit a second."""

    def __init__(self, cutoffs: Float[np.ndarray, "N 2"], strength: float = 1.0) -> None:
        self._at_rest, self._by_speed = cutoffs.T / max(strength, 1e-6)
        self._value: np.ndarray | None = None
        self._raw = np.zeros(len(cutoffs))
        self._speed = np.zeros(len(cutoffs))

    def __call__(self, value: Float[np.ndarray, " N"], step_s: float) -> Float[np.ndarray, " N"]:
        """The smoothed value `step_s` seconds after the one before."""
        new = np.array(value, np.float64)
        old = self._value
        if old is None or step_s <= 0:
            smooth = new if old is None else old
        else:
            self._speed += _share(SPEED_CUTOFF_HZ, step_s) * (
                (new - self._raw) / step_s - self._speed
            )
            # What has just begun counts too: the smoothed speed alone would be late for a blink.
            quick = np.maximum(np.abs(self._speed), 0.5 * np.abs(new - old) / step_s)
            smooth = old + _share(self._at_rest + self._by_speed * quick, step_s) * (new - old)
        self._value, self._raw = smooth, new
        return smooth

    def forget(self) -> None:
        """Begin again at the next value."""
        self._value = None
        self._speed = np.zeros_like(self._speed)


class CodeSmoother:
    """One-Euro over coefficients, head rotation, translation and neck of a stream of codes.

    Rotations are filtered as turns away from the filtered one before, so no angle wraps.
    """

    def __init__(self, names: tuple[str, ...], smoothing: Smoothing | None = None) -> None:
        strength = (smoothing or Smoothing()).strength
        self._coefficients = OneEuro(coefficient_cutoffs(names), strength)
        self._head, self._neck = (_TurnFilter(strength) for _ in range(2))
        self._place = OneEuro(np.array([PLACE_CUTOFF] * 3), strength)

    def __call__(self, code: ExpressionCode, step_s: float) -> ExpressionCode:
        """One code without batch."""
        coefficients = self._coefficients(code.coefficients.double().numpy(), step_s)
        place = self._place(code.head_translation.double().numpy(), step_s)
        return ExpressionCode(
            torch.from_numpy(np.clip(coefficients, 0, 1)).float(),
            self._head(code.head_rotation, step_s),
            torch.from_numpy(place).float(),
            self._neck(code.neck_rotation, step_s),
        )

    def forget(self) -> None:
        for filter_ in (self._coefficients, self._place, self._head, self._neck):
            filter_.forget()


class _TurnFilter:
    """Filters the turn away from the first rotation; heads turn by less than half a turn."""

    def __init__(self, strength: float) -> None:
        self._filter = OneEuro(np.array([TURN_CUTOFF] * 3), strength)
        self._base: torch.Tensor | None = None

    def __call__(self, rotation: torch.Tensor, step_s: float) -> torch.Tensor:
        if self._base is None:
            self._base = rotation
        turn = quaternion_multiply(quaternion_conjugate(self._base), rotation)
        smooth = self._filter(quaternion_to_rotation_vector(turn).double().numpy(), step_s)
        turn = rotation_vector_to_quaternion(torch.from_numpy(smooth).float())
        return quaternion_multiply(self._base, turn)

    def forget(self) -> None:
        self._base = None
        self._filter.forget()


def coefficient_cutoffs(names: tuple[str, ...] = ARKIT_NAMES) -> Float[np.ndarray, "E 2"]:
    """Cutoffs of each coefficient by the longest prefix of its name in CUTOFFS."""

    def of(name: str) -> tuple[float, float]:
        fitting = [prefix for prefix in CUTOFFS if name.startswith(prefix)]
        return CUTOFFS[max(fitting, key=len)] if fitting else OTHER_CUTOFF

    return np.array([of(name) for name in names])


def smooth_clip(
    codes: ExpressionCode,
    frames_per_second: float,
    names: tuple[str, ...] = ARKIT_NAMES,
    smoothing: Smoothing | None = None,
) -> ExpressionCode:
    """Codes [T, ...] filtered forward and backward in time and averaged: nothing comes late."""
    smoothing = smoothing or Smoothing()
    count = len(codes.coefficients)
    if smoothing.strength <= 0 or count < 3:
        return codes
    forward = _pass(codes, 1 / frames_per_second, names, smoothing, range(count))
    backward = _pass(codes, 1 / frames_per_second, names, smoothing, range(count - 1, -1, -1))
    return half_way(forward, backward)


def half_way(a: ExpressionCode, b: ExpressionCode) -> ExpressionCode:
    """The middle between codes [T, ...]."""
    return ExpressionCode(
        (a.coefficients + b.coefficients) / 2,
        _between(a.head_rotation, b.head_rotation),
        (a.head_translation + b.head_translation) / 2,
        _between(a.neck_rotation, b.neck_rotation),
    )


def _pass(
    codes: ExpressionCode,
    step_s: float,
    names: tuple[str, ...],
    smoothing: Smoothing,
    order: range,
) -> ExpressionCode:
    smoother = CodeSmoother(names, smoothing)
    passed = [smoother(codes.at(index), step_s) for index in order]
    if order.step < 0:
        passed.reverse()
    return ExpressionCode.stack(passed)


def _between(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Half way from quaternions a to b [T, 4]."""
    turn = quaternion_to_rotation_vector(quaternion_multiply(quaternion_conjugate(a), b))
    return quaternion_multiply(a, rotation_vector_to_quaternion(turn / 2))


def _share(cutoff_hz: np.ndarray | float, step_s: float) -> np.ndarray | float:
    """How much of the way to the new value a first-order low pass goes in one step."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * step_s))
