"""From what the network says to coefficients: strength, emotion, and lips that close on p, b, m."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from avatar3d.audio.channels import CHANNEL_INDEX, CHANNELS, COEFFICIENTS_OF_CHANNELS
from avatar3d.audio.network import MEASURE_COUNT
from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, both_sides
from avatar3d.smooth import smoothstep

EmotionName = Literal[
    "neutral", "happy", "sad", "angry", "surprised", "afraid", "disgusted", "friendly"
]
MAX_STRENGTH = 3.0


@dataclass(frozen=True)
class Style:
    """How a voice is performed."""

    strength: float = 1.0  # of all that the mouth does; 0 is a mouth at rest
    jaw: float = 1.0  # of the jaw, on top: below 1 a mumbler
    lips: float = 1.0  # of rounding, spreading and lip lifting, on top
    emotion: EmotionName = "neutral"
    emotion_amount: float = 0.7  # 0..1

    def __post_init__(self) -> None:
        for name in ("strength", "jaw", "lips"):
            if not 0 <= getattr(self, name) <= MAX_STRENGTH:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 to {MAX_STRENGTH:g}")
        if not 0 <= self.emotion_amount <= 1:
            raise ValueError(f"emotion_amount is {self.emotion_amount}, expected 0 to 1")


# Milder than the expressions of `animation`: a face that speaks wears them for minutes.
EMOTIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "friendly": both_sides(mouthSmile=0.25, cheekSquint=0.15, eyeSquint=0.08),
    "happy": both_sides(mouthSmile=0.55, cheekSquint=0.35, eyeSquint=0.2, mouthDimple=0.15),
    "sad": {
        "browInnerUp": 0.6,
        "mouthShrugLower": 0.2,
        **both_sides(mouthFrown=0.45, eyeBlink=0.12, eyeLookDown=0.12),
    },
    "angry": both_sides(
        browDown=0.7, eyeSquint=0.3, noseSneer=0.3, mouthFrown=0.15, mouthPress=0.15
    ),
    "surprised": {"browInnerUp": 0.7, "jawOpen": 0.06, **both_sides(browOuterUp=0.6, eyeWide=0.5)},
    "afraid": {"browInnerUp": 0.7, **both_sides(eyeWide=0.45, mouthStretch=0.25, browOuterUp=0.2)},
    "disgusted": {
        "mouthShrugUpper": 0.15,
        **both_sides(noseSneer=0.6, mouthUpperUp=0.2, browDown=0.35, eyeSquint=0.2),
    },
}
# While somebody speaks the mouth is busy: an emotion keeps so much of its share of it.
_MOUTH_SHARE_IN_SPEECH = 0.6

_JAW = [CHANNEL_INDEX[name] for name in ("jawOpen", "jawForward")]
_LIPS = [row for row in range(len(CHANNELS)) if row not in _JAW]
# What people see moving; the others (lips rolled in, pressed) turn into grimaces when amplified.
_LIVELY = [
    CHANNEL_INDEX[name]
    for name in (
        "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthSmile", "mouthStretch",
        "mouthLowerDown", "mouthUpperUp",
    )
]  # fmt: skip
_MOUTH = [
    index
    for index, name in enumerate(ARKIT_NAMES)
    if name.startswith(("mouth", "jaw", "cheekPuff"))
]
_PARTING = [
    ARKIT_INDEX[name + side]
    for name in ("mouthLowerDown", "mouthUpperUp")
    for side in ("Left", "Right")
]
_OPEN, _CLOSE, _FUNNEL = (ARKIT_INDEX[n] for n in ("jawOpen", "mouthClose", "mouthFunnel"))
_PRESS = slice(ARKIT_INDEX["mouthPressLeft"], ARKIT_INDEX["mouthPressRight"] + 1)
_PRESSED = 0.2  # lips that touch are pressed a little
_JAW_OF_CLOSED = 0.6  # the jaw rises too when lips close
# What closing lips take away from each coefficient.
_TAKEN = np.zeros(len(ARKIT_NAMES), np.float32)
_TAKEN[_OPEN] = 1 - _JAW_OF_CLOSED
_TAKEN[[*_PARTING, _FUNNEL]] = 1.0


class Calibration(NamedTuple):
    """What a network's outputs mean, as its training found it."""

    gain: float = 1.0  # by how much its mouth is flatter than life
    closure_threshold: float = 0.5  # the probability above which lips count as closed
    rest: tuple[float, ...] = (0.0,) * len(CHANNELS)  # what it says of a silent mouth


def perform(
    outputs: Float[np.ndarray, "T C"], style: Style, calibration: Calibration
) -> Float[np.ndarray, "T 52"]:
    """Coefficients in 0..1 from the network's outputs, each frame by itself.

    In numpy: a microphone gives one frame at a time, and torch's calls cost three of numpy's.
    """
    count = len(CHANNELS)
    rest, spread = _scales(style, calibration)
    coefficients = _within_0_1((outputs[:, :count] - rest) @ spread)
    # The logistic function by a tanh, which no logit makes overflow.
    closure = 0.5 + 0.5 * np.tanh(0.5 * outputs[:, count + MEASURE_COUNT, None])
    if style.emotion != "neutral":
        energy = _within_0_1(outputs[:, count + MEASURE_COUNT + 1, None])
        coefficients = _with_emotion(coefficients, energy, style)
    return close_lips(
        coefficients, lips_closed(closure, calibration.closure_threshold) * min(1.0, style.strength)
    )


@lru_cache(maxsize=8)
def _scales(style: Style, calibration: Calibration) -> tuple[np.ndarray, np.ndarray]:
    """What is taken off each channel [19], and what it adds to each coefficient [19, 52]."""
    scale = np.full(len(CHANNELS), style.strength, np.float32)
    scale[_LIVELY] *= calibration.gain
    scale[_JAW] *= style.jaw
    scale[_LIPS] *= style.lips
    return np.array(calibration.rest, np.float32), scale[:, None] * COEFFICIENTS_OF_CHANNELS


def lips_closed(
    probability: Float[np.ndarray, "T 1"], threshold: float
) -> Float[np.ndarray, "T 1"]:
    """0 well below the threshold, 1 well above, smooth between: lips do not jump."""
    return smoothstep(probability / threshold, 0.6, 1.4)


def close_lips(
    coefficients: Float[np.ndarray, "T 52"], closed: Float[np.ndarray, "T 1"]
) -> Float[np.ndarray, "T 52"]:
    """Bring the lips together by `closed` 0..1: mouthClose takes back what the jaw opens."""
    result = coefficients * (1 - _TAKEN * closed)
    jaw, close = result[:, _OPEN, None], result[:, _CLOSE, None]
    # Never more than the jaw has opened: lips would pass through each other.
    result[:, _CLOSE, None] = np.minimum(close + closed * (jaw - close), jaw)
    result[:, _PRESS] = np.maximum(result[:, _PRESS], _PRESSED * closed)
    return result


def _with_emotion(coefficients: np.ndarray, energy: np.ndarray, style: Style) -> np.ndarray:
    added = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, value in EMOTIONS[style.emotion].items():
        added[ARKIT_INDEX[name]] = style.emotion_amount * value
    share = np.ones((len(energy), len(ARKIT_NAMES)), np.float32)
    share[:, _MOUTH] = 1 - (1 - _MOUTH_SHARE_IN_SPEECH) * energy
    return _within_0_1(coefficients + share * added)


def _within_0_1(values: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(values, 0), 1)
