"""Phones with their times to mouth curves, with coarticulation.

Each phone wants a pose of the mouth, with a dominance that falls off on both sides of it; the mouth
takes the mean of what all phones want (Cohen and Massaro 1993). Closures (p b m) dominate, h hardly
shapes the mouth at all.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from avatar3d.audio.channels import CHANNEL_INDEX, CHANNELS


@dataclass(frozen=True)
class Viseme:
    """A kind of phones and what the mouth does for it."""

    phones: str  # IPA, separated by spaces
    dominance: float
    falloff: float  # 1/s
    pose: dict[str, float]  # channels


# Amounts are those of fluent speech, well below the grimaces that a coefficient of 1 shows.
VISEMES: dict[str, Viseme] = {
    "silence": Viseme("", 1.0, 8, {}),
    "PBM": Viseme("p b m ɓ pʰ bʱ", 8.0, 22, {
        "jawOpen": .05, "mouthClose": .06, "mouthPress": .35, "mouthRollLower": .15,
        "mouthRollUpper": .12}),
    "FV": Viseme("f v ɸ β ʋ ɱ", 4.0, 18, {
        "jawOpen": .06, "mouthClose": .03, "mouthRollLower": .35, "mouthUpperUp": .22,
        "mouthShrugLower": .1}),
    "TH": Viseme("θ ð", 1.0, 16, {
        "jawOpen": .1, "mouthLowerDown": .15, "mouthUpperUp": .05, "tongueOut": .12}),
    "TDNL": Viseme("t d n l ɾ ɽ ɭ ɫ ʎ ɲ ʈ ɖ ɳ ɬ tʰ dʱ t̪ d̪", .7, 16, {
        "jawOpen": .1, "mouthLowerDown": .12, "mouthStretch": .05}),
    "KG": Viseme("k ɡ g ŋ x ɣ q ɢ χ ɴ c ɟ kʰ", .5, 16, {
        "jawOpen": .14, "mouthLowerDown": .08}),
    "SZ": Viseme("s z ts dz", 2.0, 16, {
        "jawOpen": .03, "mouthLowerDown": .22, "mouthStretch": .2, "mouthUpperUp": .12,
        "mouthDimple": .1}),
    "SH": Viseme("ʃ ʒ tʃ dʒ ɕ ʑ tɕ dʑ ʂ ʐ ç tʂ", 2.2, 16, {
        "jawOpen": .05, "mouthFunnel": .45, "mouthPucker": .2, "mouthLowerDown": .2,
        "mouthUpperUp": .18}),
    "R": Viseme("ɹ r ʁ ʀ ɻ ɐ̯", 1.0, 16, {
        "jawOpen": .1, "mouthPucker": .2, "mouthFunnel": .18}),
    "W": Viseme("w ʍ ɥ", 3.0, 14, {
        "jawOpen": .06, "mouthPucker": .65, "mouthFunnel": .2, "mouthClose": .02}),
    "J": Viseme("j", 1.2, 16, {
        "jawOpen": .07, "mouthStretch": .2, "mouthSmile": .15}),
    "H": Viseme("h ħ ɦ ʔ ʕ", .15, 16, {"jawOpen": .16}),
    "A": Viseme("a ä ɐ ʌ", 2.0, 12, {
        "jawOpen": .36, "mouthLowerDown": .15, "mouthUpperUp": .08}),
    "AA": Viseme("ɑ", 2.0, 12, {
        "jawOpen": .4, "mouthLowerDown": .12, "mouthUpperUp": .05}),
    "AE": Viseme("æ", 2.0, 12, {
        "jawOpen": .32, "mouthLowerDown": .2, "mouthUpperUp": .12, "mouthStretch": .2,
        "mouthSmile": .08}),
    "AO": Viseme("ɒ", 2.0, 12, {
        "jawOpen": .34, "mouthFunnel": .25, "mouthPucker": .12, "mouthLowerDown": .08}),
    "E": Viseme("ɛ e̞", 2.0, 12, {
        "jawOpen": .24, "mouthLowerDown": .18, "mouthUpperUp": .1, "mouthStretch": .15,
        "mouthSmile": .08}),
    "EI": Viseme("e", 2.0, 12, {
        "jawOpen": .17, "mouthLowerDown": .18, "mouthUpperUp": .08, "mouthStretch": .22,
        "mouthSmile": .14}),
    "I": Viseme("i", 2.0, 12, {
        "jawOpen": .08, "mouthLowerDown": .18, "mouthUpperUp": .08, "mouthStretch": .3,
        "mouthSmile": .22}),
    "IH": Viseme("ɪ ɨ ᵻ", 1.5, 12, {
        "jawOpen": .12, "mouthLowerDown": .15, "mouthStretch": .16, "mouthSmile": .1}),
    "O": Viseme("o o̞ ɤ", 2.0, 12, {
        "jawOpen": .2, "mouthFunnel": .35, "mouthPucker": .4}),
    "OO": Viseme("ɔ", 2.0, 12, {
        "jawOpen": .27, "mouthFunnel": .35, "mouthPucker": .28}),
    "U": Viseme("u ʊ", 2.1, 12, {
        "jawOpen": .1, "mouthPucker": .6, "mouthFunnel": .28}),
    "Y": Viseme("y ʏ ø œ ʉ ɵ", 2.2, 12, {
        "jawOpen": .11, "mouthPucker": .5, "mouthFunnel": .3}),
    "AX": Viseme("ə ɜ ɚ ɝ ɘ ɯ ʲ", 1.0, 12, {
        "jawOpen": .15, "mouthLowerDown": .08}),
}  # fmt: skip
NAMES = tuple(VISEMES)
SILENCE, CLOSED, UNKNOWN = NAMES.index("silence"), NAMES.index("PBM"), NAMES.index("AX")

_POSES = np.zeros((len(NAMES), len(CHANNELS)))
for _row, _viseme in enumerate(VISEMES.values()):
    for _channel, _value in _viseme.pose.items():
        _POSES[_row, CHANNEL_INDEX[_channel]] = _value
_DOMINANCE = np.array([viseme.dominance for viseme in VISEMES.values()])
_FALLOFF = np.array([viseme.falloff for viseme in VISEMES.values()])
_OF_PHONE = {
    phone: row for row, viseme in enumerate(VISEMES.values()) for phone in viseme.phones.split()
}
_OF_PHONE[""] = SILENCE
_FILLER_S = 0.035  # shorter silences between words are the synthesizer's bookkeeping
_REACH_S = 0.5  # no phone shapes the mouth from farther away


@dataclass(frozen=True)
class Phones:
    """Segments one after the other."""

    starts_s: Float[np.ndarray, " N"]
    ends_s: Float[np.ndarray, " N"]
    visemes: Int[np.ndarray, " N"]


def visemes_of(phone: str) -> list[int]:
    """One viseme, or two for a diphthong; empty where nothing of the phone is known."""
    if phone.startswith("("):  # a note on language, not a sound
        return [SILENCE]
    for spelled in (
        phone,
        unicodedata.normalize("NFC", phone),
        unicodedata.normalize("NFD", phone),
    ):
        if spelled in _OF_PHONE:
            return [_OF_PHONE[spelled]]
    spelled = unicodedata.normalize("NFD", phone)
    if len(spelled) > 2 and spelled[:2] in _OF_PHONE:
        return [_OF_PHONE[spelled[:2]]]
    return [_OF_PHONE[sign] for sign in spelled if sign in _OF_PHONE][:2]


def segments(events: list[tuple[float, str]], end_s: float) -> Phones:
    """Phone events (start in seconds, IPA) to visemes that fill the time up to `end_s`."""
    events = [event for event in events if not event[1].startswith("(")]
    pieces: list[tuple[float, float, int]] = [(-1.0, events[0][0] if events else end_s, SILENCE)]
    for index, (start, phone) in enumerate(events):
        end = events[index + 1][0] if index + 1 < len(events) else end_s
        if end <= start:
            continue
        if phone == "" and end - start < _FILLER_S:
            pieces[-1] = (pieces[-1][0], end, pieces[-1][2])
            continue
        found = visemes_of(phone) or [UNKNOWN]
        step = (end - start) / len(found)
        pieces += [
            (start + k * step, start + (k + 1) * step, viseme) for k, viseme in enumerate(found)
        ]
    pieces.append((max(end_s, pieces[-1][1]), end_s + 2.0, SILENCE))
    starts, ends, visemes = zip(*pieces)
    return Phones(np.array(starts), np.array(ends), np.array(visemes))


def mouth_curves(
    phones: Phones, times_s: Float[np.ndarray, " T"]
) -> tuple[Float[np.ndarray, "T 19"], Int[np.ndarray, " T"]]:
    """Channels at each time, and the viseme that sounds then."""
    length = phones.ends_s - phones.starts_s
    begin, end = phones.starts_s + 0.3 * length, phones.starts_s + 0.7 * length
    away = np.maximum(np.maximum(begin - times_s[:, None], times_s[:, None] - end), 0)
    weight = _DOMINANCE[phones.visemes] * np.exp(-_FALLOFF[phones.visemes] * away)
    weight *= away < _REACH_S
    poses = weight @ _POSES[phones.visemes] / (weight.sum(1, keepdims=True) + 1e-6)
    at = np.searchsorted(phones.starts_s, times_s, side="right") - 1
    return poses.astype(np.float32), phones.visemes[np.clip(at, 0, len(length) - 1)]
