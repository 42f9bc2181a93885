"""Expression codes as a stream of a few bits: quantised, delta- and entropy-coded packets.

One packet a code (docs/code_stream.md has every bit). All values become whole numbers: coefficients
in steps of 1/51, so that none is off by more than 0.0098; rotations and translation in steps that
nobody sees. A key packet carries the numbers themselves, the others their difference from the code
before, through a binary arithmetic coder whose probabilities are fixed numbers learned once
(`codec_model.json`). What a packet means depends on itself and on the numbers before it, on nothing
else that was received: after a lost packet the next ones still decode, off by what was lost, and
the next key packet makes all exact.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError
from avatar3d.geometry import (
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_rotation_vector,
    rotation_vector_to_quaternion,
)

VERSION = 1
KEY_FLAG = 0x80
SEQUENCE_SIZE = 128  # packets count modulo this
COEFFICIENT_LEVELS = 51
HEAD_STEP_RAD = 1 / 256  # 0.22 degrees
BUST_STEP_RAD = 1 / 128
TRANSLATION_STEP_M = 1 / 512
POSE_VALUES = 9  # head rotation vector, translation, bust rotation vector
MAX_LEVEL = 2047  # of a pose value: 8 rad, 4 m
LATE_IN_A_ROW = 3  # packets overtaken by others are fewer
MAX_EXTRA = 64  # coefficients of a head's own
MODEL = Path(__file__).with_name("codec_model.json")

PROBABILITY_BITS = 12
_ONE = 1 << PROBABILITY_BITS
UNARY_BITS = 12  # magnitudes up to this are counted out, larger ones escape to Exp-Golomb
_ACTIVITY_LIMITS = (0, 2, 5, 9)  # changed values so far in the packet: five contexts


class Contexts(NamedTuple):
    """Probabilities of a 0 in 4096ths; index layouts in docs/code_stream.md."""

    changed: np.ndarray  # [VALUES, 5, 3] activity so far, what the value's partner did
    sign: np.ndarray  # [3] by the partner's sign
    more: np.ndarray  # [VALUES, UNARY_BITS]
    key_zero: np.ndarray  # [VALUES, 2] whether the partner is zero
    key_bits: np.ndarray  # [7, 6] of a key's level by bit, by the bits above it


VALUES = len(ARKIT_NAMES) + POSE_VALUES + 1  # the last: any coefficient of a head's own


def partner(value: int) -> int:
    """The value whose symbol is the context of this one's: the left side of a right one, else the
    value before; -1 for the first."""
    if value < len(ARKIT_NAMES) and ARKIT_NAMES[value].endswith("Right"):
        left = ARKIT_NAMES[value].removesuffix("Right") + "Left"
        # eyeLookInRight goes with eyeLookOutLeft: both eyes turn together.
        left = (
            left.replace("LookIn", "Look*").replace("LookOut", "LookIn").replace("Look*", "LookOut")
        )
        return ARKIT_INDEX[left]
    return value - 1


PARTNERS = tuple(partner(value) for value in range(VALUES - 1))


@lru_cache(maxsize=1)
def load_contexts() -> Contexts:
    """The learned probabilities that both sides of every stream share."""
    model = json.loads(MODEL.read_text(encoding="utf-8"))
    if model["version"] != VERSION:
        raise ValueError(f"codec_model.json has version {model['version']}, expected {VERSION}")
    return Contexts(*(np.array(model[name], np.int64) for name in Contexts._fields))


def flat_contexts() -> Contexts:
    """All even: what learning starts from."""
    shapes = ((VALUES, 5, 3), (3,), (VALUES, UNARY_BITS), (VALUES, 2), (7, 6))
    return Contexts(*(np.full(shape, _ONE // 2, np.int64) for shape in shapes))


# ---------------------------------------------------------------------------------------------
# Numbers of a code


def quantise(code: ExpressionCode) -> np.ndarray:
    """One code (no batch) -> int64 [E + 9]: coefficients, head turn, translation, bust turn."""
    coefficients = code.coefficients.detach().cpu().double().clamp(0, 1).numpy()
    bust = quaternion_multiply(code.head_rotation, quaternion_conjugate(code.neck_rotation))
    pose = np.concatenate(
        [
            _turn(code.head_rotation) / HEAD_STEP_RAD,
            code.head_translation.detach().cpu().double().numpy() / TRANSLATION_STEP_M,
            _turn(bust) / BUST_STEP_RAD,
        ]
    )
    if not (np.isfinite(coefficients).all() and np.isfinite(pose).all()):
        raise ValueError("a code with NaN or infinity cannot be sent")
    levels = np.concatenate(
        [coefficients * COEFFICIENT_LEVELS, np.clip(pose, -MAX_LEVEL, MAX_LEVEL)]
    )
    return np.rint(levels).astype(np.int64)


def dequantise(levels: np.ndarray) -> ExpressionCode:
    """The code that the numbers stand for."""
    coefficients, pose = levels[:-POSE_VALUES], levels[-POSE_VALUES:].astype(np.float64)
    head = rotation_vector_to_quaternion(_tensor(pose[:3] * HEAD_STEP_RAD))
    bust = rotation_vector_to_quaternion(_tensor(pose[6:] * BUST_STEP_RAD))
    return ExpressionCode(
        _tensor(coefficients / COEFFICIENT_LEVELS),
        head,
        _tensor(pose[3:6] * TRANSLATION_STEP_M),
        quaternion_multiply(quaternion_conjugate(bust), head),
    )


def _turn(quaternion: torch.Tensor) -> np.ndarray:
    return quaternion_to_rotation_vector(quaternion.detach().cpu().double()).numpy()


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


# ---------------------------------------------------------------------------------------------
# Symbols of a packet


class _BitSink:
    """What codes a decision: an encoder, a decoder or a counter.

    `decide(table, index, bit)` returns the bit: the encoder's own, the decoder's read one.
    """

    def decide(self, table: str, index: tuple[int, ...], bit: int) -> int:
        raise NotImplementedError


def _code_delta(coder: _BitSink, delta: np.ndarray) -> np.ndarray:
    """Differences [E + 9] through `coder`; a decoder fills them in."""
    extra = len(delta) - (VALUES - 1)
    out = np.zeros_like(delta)
    changed = 0
    for position in range(len(delta)):
        value, beside = _value_and_partner(position, extra)
        known = int(np.sign(out[beside])) if beside >= 0 else 0
        activity = sum(changed > limit for limit in _ACTIVITY_LIMITS)
        symbol = int(delta[position])
        if not coder.decide("changed", (value, activity, abs(known)), int(symbol != 0)):
            continue
        changed += 1
        negative = coder.decide("sign", (known + 1,), int(symbol < 0))
        magnitude = _code_magnitude(coder, value, abs(symbol))
        out[position] = -magnitude if negative else magnitude
    return out


def _value_and_partner(position: int, extra: int) -> tuple[int, int]:
    """Which statistics a position has, and the position of its partner."""
    if position < len(ARKIT_NAMES):
        return position, PARTNERS[position]
    if position < len(ARKIT_NAMES) + extra:
        return VALUES - 1, position - 1
    return position - extra, position - 1


def _code_magnitude(coder: _BitSink, value: int, magnitude: int) -> int:
    """1, 2, 3...: counted out up to UNARY_BITS, then Exp-Golomb."""
    count = 1
    while count <= UNARY_BITS:
        if not coder.decide("more", (value, count - 1), int(magnitude > count)):
            return count
        count += 1
    return count + _code_exp_golomb(coder, magnitude - count)


def _code_exp_golomb(coder: _BitSink, rest: int) -> int:
    """0, 1, 2...: a power of two told by ones, then the bits below it, all at even odds."""
    size = (max(rest, 0) + 1).bit_length() - 1
    told = 0
    while coder.decide("even", (), int(told < size)):
        told += 1
        if told > 14:
            raise CorruptPacket("a value of it has no end")
    total = 1
    for bit in range(told - 1, -1, -1):
        total = 2 * total + coder.decide("even", (), ((rest + 1) >> bit) & 1)
    return total - 1


def _code_key(coder: _BitSink, levels: np.ndarray) -> np.ndarray:
    """The numbers themselves."""
    extra = len(levels) - (VALUES - 1)
    out = np.zeros_like(levels)
    for position in range(len(levels)):
        value, beside = _value_and_partner(position, extra)
        known = int(beside >= 0 and out[beside] != 0)
        level = int(levels[position])
        if not coder.decide("key_zero", (value, known), int(level != 0)):
            continue
        if position < len(levels) - POSE_VALUES:
            total = 0
            for bit in range(5, -1, -1):  # levels up to 51 have six bits
                above = min((1 << (5 - bit)) - 1 + (total if bit >= 3 else 0), 6)
                total = 2 * total + coder.decide("key_bits", (above, bit), (level >> bit) & 1)
            out[position] = min(total, COEFFICIENT_LEVELS)
        else:
            negative = coder.decide("even", (), int(level < 0))
            magnitude = 1 + _code_exp_golomb(coder, abs(level) - 1)
            out[position] = -magnitude if negative else magnitude
    return out


# ---------------------------------------------------------------------------------------------
# The arithmetic coder (range coder with carry, 32 bit; Martin 1979, Subbotin)


class CorruptPacket(ValueError):
    """A packet that no sender of this format makes."""


class _Encoder(_BitSink):
    def __init__(self, tables: dict[str, list]) -> None:
        self._tables = tables
        self._low, self._range = 0, 0xFFFFFFFF
        self._bytes = bytearray()

    def decide(self, table: str, index: tuple[int, ...], bit: int) -> int:
        share = _probability(self._tables, table, index)
        bound = (self._range >> PROBABILITY_BITS) * share
        if bit:
            self._low += bound
            self._range -= bound
        else:
            self._range = bound
        while self._range < 1 << 24:
            self._shift()
        return bit

    def _shift(self) -> None:
        if self._low >> 32:
            self._carry()
        self._bytes.append((self._low >> 24) & 0xFF)
        self._low = (self._low << 8) & 0xFFFFFFFF
        self._range <<= 8

    def _carry(self) -> None:
        at = len(self._bytes) - 1
        while self._bytes[at] == 0xFF:
            self._bytes[at] = 0
            at -= 1
        self._bytes[at] += 1
        self._low &= 0xFFFFFFFF

    def finish(self) -> bytes:
        """The shortest bytes that lie in the interval when zeros follow them."""
        for kept in range(5):
            unit = 1 << (32 - 8 * kept)
            value = -(-self._low // unit) * unit
            if value < self._low + self._range:
                self._low = value
                break
        if self._low >> 32:
            self._carry()
        self._bytes += self._low.to_bytes(4, "big")
        return bytes(self._bytes).rstrip(b"\0")


class _Decoder(_BitSink):
    def __init__(self, tables: dict[str, list], data: bytes) -> None:
        self._tables, self._data = tables, data
        self._at, self._range = 4, 0xFFFFFFFF
        self._code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def decide(self, table: str, index: tuple[int, ...], bit: int) -> int:
        share = _probability(self._tables, table, index)
        bound = (self._range >> PROBABILITY_BITS) * share
        if self._code < bound:
            bit, self._range = 0, bound
        else:
            bit = 1
            self._code -= bound
            self._range -= bound
        while self._range < 1 << 24:
            following = self._data[self._at] if self._at < len(self._data) else 0
            self._code = ((self._code << 8) | following) & 0xFFFFFFFF
            self._range <<= 8
            self._at += 1
        return bit


class Counter(_BitSink):
    """Counts decisions [.., 2] by context: what probabilities are learned from."""

    def __init__(self) -> None:
        self.counts = {
            name: np.zeros((*value.shape, 2)) for name, value in flat_contexts()._asdict().items()
        }

    def decide(self, table: str, index: tuple[int, ...], bit: int) -> int:
        if table != "even":
            self.counts[table][(*index, bit)] += 1
        return bit


def _lists(contexts: Contexts) -> dict[str, list]:
    """Nested lists, which Python indexes three times as fast as arrays."""
    return {name: value.tolist() for name, value in contexts._asdict().items()}


def _probability(tables: dict[str, list], table: str, index: tuple[int, ...]) -> int:
    if table == "even":
        return _ONE // 2
    entry = tables[table]
    for at in index:
        entry = entry[at]
    return entry  # type: ignore[return-value]


# ---------------------------------------------------------------------------------------------
# The two ends


@dataclass
class CodeEncoder:
    """Codes to packets, in order. A key packet comes first, then every `key_every` packets."""

    frames_per_second: float = 30.0
    key_every: int = 30
    contexts: Contexts = field(default_factory=load_contexts)
    _previous: np.ndarray | None = None
    _count: int = 0

    def __post_init__(self) -> None:
        self._tables = _lists(self.contexts)
        if not 1 <= round(self.frames_per_second) <= 255:
            raise UserError(
                f"a stream has 1 to 255 codes a second, got {self.frames_per_second}; resample it"
            )
        if self.key_every < 1:
            raise UserError(f"a key packet comes every 1 or more packets, got {self.key_every}")

    def encode(self, code: ExpressionCode, *, key: bool = False) -> bytes:
        """One code (no batch) as a packet; `key` asks for a key packet, for one who joins."""
        levels = quantise(code)
        extra = len(levels) - (VALUES - 1)
        if not 0 <= extra <= MAX_EXTRA:
            raise ValueError(f"a code has 52 to {52 + MAX_EXTRA} coefficients, got {52 + extra}")
        first = self._previous is None or len(self._previous) != len(levels)
        # Two at the start: the second one tells a receiver that the sender has begun again.
        key = key or first or self._count < 2 or self._count % self.key_every == 0
        sequence = self._count % SEQUENCE_SIZE
        coder = _Encoder(self._tables)
        if key:
            header = bytes([KEY_FLAG | sequence, VERSION, round(self.frames_per_second), extra])
            _code_key(coder, levels)
        else:
            header = bytes([sequence])
            _code_delta(coder, levels - self._previous)
        self._previous = levels
        self._count += 1
        return header + coder.finish()


class Received(NamedTuple):
    """A code and how sure it is."""

    code: ExpressionCode
    exact: bool  # as sent; else concealed, or off by what a lost packet carried


@dataclass
class CodeDecoder:
    """Packets to codes: what came late or twice is dropped, what was lost is concealed."""

    contexts: Contexts = field(default_factory=load_contexts)
    frames_per_second: float | None = None  # told by the first key packet
    lost: int = 0  # packets
    _levels: np.ndarray | None = None
    _next: int = 0
    _exact: bool = False
    _late: int = 0

    def __post_init__(self) -> None:
        self._tables = _lists(self.contexts)

    def decode(self, packet: bytes) -> list[Received]:
        """The codes that a packet brings: those lost before it, concealed, then its own.

        None before the first key packet, for a packet that is late, or for one that is damaged.
        """
        if not packet:
            return []
        sequence, key = packet[0] & (SEQUENCE_SIZE - 1), bool(packet[0] & KEY_FLAG)
        missed = (sequence - self._next) % SEQUENCE_SIZE
        if self._levels is not None and missed >= SEQUENCE_SIZE // 2:
            self._late += 1
            if self._late >= LATE_IN_A_ROW:
                self._levels = None  # the sender has begun again: its next key packet is taken
            if not key or self._late == 1:
                return []
            missed = 0
        self._late = 0
        if key:
            levels = self._read_key(packet)
        else:
            levels = None if self._levels is None else self._read_delta(packet)
        if levels is None:
            return []
        missed = missed if self._levels is not None else 0
        between = [] if self._levels is None else self._conceal(levels, missed, key)
        self.lost += missed
        self._exact = key or (self._exact and missed == 0)
        self._levels, self._next = levels, (sequence + 1) % SEQUENCE_SIZE
        return [*between, Received(dequantise(levels), self._exact)]

    def _read_key(self, packet: bytes) -> np.ndarray | None:
        if len(packet) < 4 or packet[1] != VERSION or packet[2] == 0 or packet[3] > MAX_EXTRA:
            return None
        levels = np.zeros(VALUES - 1 + packet[3], np.int64)
        try:
            levels = _code_key(_Decoder(self._tables, packet[4:]), levels)
        except CorruptPacket:
            return None
        self.frames_per_second = float(packet[2])
        return _in_range(levels)

    def _read_delta(self, packet: bytes) -> np.ndarray | None:
        assert self._levels is not None
        try:
            delta = _code_delta(_Decoder(self._tables, packet[1:]), np.zeros_like(self._levels))
        except CorruptPacket:
            return None
        return _in_range(self._levels + delta)

    def _conceal(self, levels: np.ndarray, missed: int, key: bool) -> list[Received]:
        """On the way from the last code to the next: a line, so that nothing jumps."""
        assert self._levels is not None
        if not key or len(levels) != len(self._levels):
            levels = self._levels  # what is known of the next code is its difference only
        steps = [(index + 1) / (missed + 1) for index in range(missed)]
        between = [np.rint((1 - w) * self._levels + w * levels).astype(np.int64) for w in steps]
        return [Received(dequantise(value), False) for value in between]


def _in_range(levels: np.ndarray) -> np.ndarray:
    levels = levels.copy()
    levels[:-POSE_VALUES] = np.clip(levels[:-POSE_VALUES], 0, COEFFICIENT_LEVELS)
    levels[-POSE_VALUES:] = np.clip(levels[-POSE_VALUES:], -MAX_LEVEL, MAX_LEVEL)
    return levels


# ---------------------------------------------------------------------------------------------
# Learning the probabilities


def count_motion(counter: Counter, codes: ExpressionCode, key_every: int = 30) -> None:
    """Add the decisions of a clip's codes [T, ...] to the counts."""
    levels = [quantise(codes.at(index)) for index in range(len(codes.coefficients))]
    for index, value in enumerate(levels):
        if index % key_every == 0:
            _code_key(counter, value)
        if index:
            _code_delta(counter, value - levels[index - 1])


def learned_contexts(counter: Counter, caution: float = 4.0) -> Contexts:
    """Probabilities from counts; where little was counted they lean on the context's mean."""
    tables = []
    for name, counts in counter.counts.items():
        axes = tuple(range(1, counts.ndim - 1)) if name in ("changed", "key_zero") else ()
        mean = counts.sum(axis=axes, keepdims=True) if axes else counts
        mean = (mean + 0.5) / (mean + 0.5).sum(-1, keepdims=True)
        smooth = counts + caution * mean
        share = smooth[..., 0] / smooth.sum(-1)
        tables.append(np.clip(np.rint(share * _ONE), 16, _ONE - 16).astype(np.int64))
    return Contexts(*tables)


def model_json(contexts: Contexts) -> str:
    """The file of probabilities, which other languages read too."""
    tables = {name: value.tolist() for name, value in contexts._asdict().items()}
    meta = {
        "version": VERSION,
        "names": list(ARKIT_NAMES),
        "partners": list(PARTNERS),
        "activity_limits": list(_ACTIVITY_LIMITS),
        "coefficient_levels": COEFFICIENT_LEVELS,
        "head_step_rad": HEAD_STEP_RAD,
        "bust_step_rad": BUST_STEP_RAD,
        "translation_step_m": TRANSLATION_STEP_M,
    }
    return json.dumps({**meta, **tables}, separators=(",", ":")) + "\n"


def bits_per_second(packets: list[bytes], frames_per_second: float) -> float:
    """Payload of packets of one code each."""
    total = 8 * sum(map(len, packets))
    return total / max(len(packets), 1) * frames_per_second if packets else math.nan
