"""What a face does besides the words: blinks, gaze shifts, raised brows, a head that sways.

A seeded generative model at 50 Hz, conditioned on how much is being said. Rates are those of people
who talk: 20 blinks a minute of 0.2 s (a renewal process); the sway is a smoothed random walk that
is drawn back to the middle, with the spread measured on tracked clips. Loudness explains the motion
of heads hardly better than chance, so it gates (more in speech, less in pauses) and sets accents.
viewer/web/src/voice/behaviour.ts performs the same, number by number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar3d.audio.stream import FRAME_S
from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES
from avatar3d.smooth import smoothstep

BLINKS_PER_MINUTE = 20.0
_BLINK_SPREAD = 0.5  # of the logarithm of the pause between two blinks
_SHORTEST_PAUSE_S = 0.5
_BLINK_CLOSE_S, _BLINK_OPEN_S = 0.08, 0.14  # lids fall faster than they rise
_BLINKS_AT_PAUSES = 2.5  # times as probable just when the voice stops

_GAZE_STAYS_S = 1.6  # mean time of a fixation
_GAZE_SPREAD = (0.10, 0.05)  # of the eyeLook coefficients: sideways, up and down
_GAZE_MOVES_S = 0.05  # a saccade
_GAZE_HOME = 0.55  # probability that the next fixation is the listener

_BROW_MEAN_PAUSE_S = 3.5  # between accents, while speaking
_BROW_RISE_S, _BROW_FALL_S, _BROW_AMOUNT = 0.12, 0.45, 0.28

# Pitch, yaw, roll in radians: half of the spread over tracked clips, which holds posture too.
_SWAY = (0.028, 0.030, 0.018)
_SWAY_HZ = (0.32, 0.22, 0.25)
_SWAY_IN_PAUSE = 0.45
_NOD = 0.045  # radians, with a brow accent


class Extras(NamedTuple):
    """What is added to the codes of a voice."""

    coefficients: Float[Tensor, "T 52"]
    turn: Float[Tensor, "T 3"]  # rotation vector of the head: pitch, yaw, roll; radians


class Numbers:
    """Seeded numbers by mulberry32 (Ettinger 2017): few lines, and the same in every language."""

    def __init__(self, seed: int) -> None:
        self._state = (seed ^ seed >> 32) & 0xFFFFFFFF

    def uniform(self) -> float:
        """In [0, 1)."""
        self._state = (self._state + 0x6D2B79F5) & 0xFFFFFFFF
        t = self._state
        t = (t ^ t >> 15) * (1 | t) & 0xFFFFFFFF
        t ^= (t + ((t ^ t >> 7) * (61 | t))) & 0xFFFFFFFF
        return (t ^ t >> 14) / 2**32

    def normal(self) -> float:
        """Of variance 1 (Box and Muller 1958)."""
        length = math.sqrt(-2 * math.log(1 - self.uniform()))
        return length * math.cos(2 * math.pi * self.uniform())


class Behaviour:
    """One performer; the same seed and the same voice give the same performance."""

    def __init__(self, seed: int = 0, blinks_per_minute: float = BLINKS_PER_MINUTE) -> None:
        self._numbers = Numbers(seed)
        self._mean_pause_s = 60 / blinks_per_minute
        self._blink_at, self._since_blink = self._pause(), _BLINK_CLOSE_S + _BLINK_OPEN_S
        self._gaze, self._target, self._gaze_left = np.zeros(2), np.zeros(2), 0.8
        self._since_accent, self._accent, self._accent_left = 10.0, 0.0, 1.5
        self._speaking = 0.0
        self._position, self._speed = np.zeros(3), np.zeros(3)

    def push(self, energy: Float[Tensor, " T"] | Sequence[float]) -> Extras:
        """The frames that belong to these of the voice; `energy` 0..1."""
        values = [float(value) for value in energy]
        coefficients = torch.zeros(len(values), len(ARKIT_NAMES))
        turn = torch.zeros(len(values), 3)
        for index, value in enumerate(values):
            face, turned = self._step(value)
            for name, amount in face.items():
                coefficients[index, ARKIT_INDEX[name]] = amount
            turn[index] = torch.from_numpy(turned)
        return Extras(coefficients, turn)

    def _step(self, energy: float) -> tuple[dict[str, float], np.ndarray]:
        before, self._speaking = self._speaking, self._speaking + 0.15 * (energy - self._speaking)
        stopping = before > 0.5 >= self._speaking
        # The same count of numbers in every frame, whatever happens in it.
        uniform = [self._numbers.uniform() for _ in range(4)]
        normal = np.array([self._numbers.normal() for _ in range(6)])
        face = self._blink(stopping, uniform[0], normal[0])
        face |= self._look(uniform[1], uniform[2], normal[1:3])
        face |= self._raise_brows(uniform[3])
        return face, self._sway(normal[3:6])

    def _blink(self, stopping: bool, chance: float, spread: float) -> dict[str, float]:
        self._since_blink += FRAME_S
        due = self._blink_at - self._since_blink
        if stopping and due < self._mean_pause_s and chance < 1 - 1 / _BLINKS_AT_PAUSES:
            due = 0.0
        if due <= 0:
            self._since_blink, self._blink_at = 0.0, self._pause(spread)
        shut = _rise(self._since_blink, _BLINK_CLOSE_S, _BLINK_OPEN_S)
        return {"eyeBlinkLeft": shut, "eyeBlinkRight": shut}

    def _pause(self, spread: float | None = None) -> float:
        spread = self._numbers.normal() if spread is None else spread
        # Lognormal with the wanted mean.
        pause = self._mean_pause_s * math.exp(_BLINK_SPREAD * spread - _BLINK_SPREAD**2 / 2)
        return max(_SHORTEST_PAUSE_S, pause)

    def _look(self, chance: float, home: float, where: np.ndarray) -> dict[str, float]:
        self._gaze_left -= FRAME_S
        if self._gaze_left <= 0:
            self._gaze_left = 0.25 - _GAZE_STAYS_S * math.log(max(chance, 1e-6))
            away = np.clip(where, -2, 2) * _GAZE_SPREAD
            self._target = np.zeros(2) if home < _GAZE_HOME else away
        self._gaze = self._gaze + (self._target - self._gaze) * min(1.0, FRAME_S / _GAZE_MOVES_S)
        side, up = self._gaze
        return {
            "eyeLookOutLeft": max(side, 0.0), "eyeLookInRight": max(side, 0.0),
            "eyeLookInLeft": max(-side, 0.0), "eyeLookOutRight": max(-side, 0.0),
            "eyeLookUpLeft": max(up, 0.0), "eyeLookUpRight": max(up, 0.0),
            "eyeLookDownLeft": max(-up, 0.0), "eyeLookDownRight": max(-up, 0.0),
        }  # fmt: skip

    def _raise_brows(self, chance: float) -> dict[str, float]:
        self._since_accent += FRAME_S
        self._accent_left -= FRAME_S * self._speaking  # the clock runs while somebody speaks
        if self._accent_left <= 0:
            self._accent_left = 0.8 - (_BROW_MEAN_PAUSE_S - 0.8) * math.log(max(chance, 1e-6))
            self._since_accent = 0.0
        self._accent = _rise(self._since_accent, _BROW_RISE_S, _BROW_FALL_S)
        raised = _BROW_AMOUNT * self._accent
        return {
            "browInnerUp": raised,
            "browOuterUpLeft": 0.7 * raised,
            "browOuterUpRight": 0.7 * raised,
        }

    def _sway(self, push: np.ndarray) -> np.ndarray:
        """A damped oscillator that noise keeps moving; its spread does not depend on the rate."""
        pace = 2 * math.pi * np.array(_SWAY_HZ)
        damping = 1.4 * pace
        # Variance of the position of x'' = -w^2 x - d x' + s n: s^2 / (2 d w^2).
        force = np.array(_SWAY) * np.sqrt(2 * damping) * pace
        self._speed = self._speed + FRAME_S * (-(pace**2) * self._position - damping * self._speed)
        self._speed = self._speed + force * math.sqrt(FRAME_S) * push
        self._position = self._position + FRAME_S * self._speed
        amount = _SWAY_IN_PAUSE + (1 - _SWAY_IN_PAUSE) * self._speaking
        turn = amount * self._position
        turn[0] += _NOD * self._accent
        return turn.astype(np.float32)


def _rise(since: float, up_s: float, down_s: float) -> float:
    """0 to 1 in `up_s`, back in `down_s`, smooth at the ends."""
    if since < up_s:
        return smoothstep(since / up_s)
    return smoothstep(1 - (since - up_s) / down_s)
