"""espeak-ng through its C library: speech with the time of every phone.

It can crash inside a synthesis, so it runs in processes of its own (see `corpus.py`).
"""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from avatar3d.errors import UserError

_SYNCHRONOUS, _PHONEME_EVENTS_IPA = 2, 1 | 2
_UTF8, _END_PAUSE = 1, 0x1000
_RATE, _VOLUME, _PITCH, _PITCH_RANGE, _WORD_GAP = 1, 2, 3, 4, 7  # espeak_PARAMETER
_LIST_END, _PHONEME = 0, 7  # espeak_EVENT_TYPE


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Spoken(NamedTuple):
    samples: Float[np.ndarray, " N"]  # in -1..1
    rate_hz: int
    phones: list[tuple[float, str]]  # start in seconds, IPA


class Manner(NamedTuple):
    """How a voice speaks; espeak-ng's own scales."""

    words_per_minute: int = 170
    pitch: int = 50
    pitch_range: int = 50
    word_gap: int = 0


class Espeak:
    """One synthesizer; the library keeps a global state, so a process has one."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise UserError(
                "speech for training is made by espeak-ng, which is not installed; install it with: "
                "apt-get install espeak-ng"
            )
        self._library = ctypes.CDLL(name)
        self._library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint,
            ctypes.c_uint, ctypes.POINTER(ctypes.c_uint), ctypes.c_void_p,
        ]  # fmt: skip
        self._blocks: list[np.ndarray] = []
        self._phones: list[tuple[int, str]] = []
        self._callback = _Callback(self._collect)  # kept: C holds no reference to it
        self.rate_hz: int = self._library.espeak_Initialize(
            _SYNCHRONOUS, 0, None, _PHONEME_EVENTS_IPA
        )
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: str, manner: Manner = Manner()) -> Spoken | None:  # noqa: B008
        """`voice` is a language with an optional variant, such as `en-us+f2`; None if unknown."""
        self._blocks.clear()
        self._phones.clear()
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            return None
        settings = zip((_RATE, _PITCH, _PITCH_RANGE, _WORD_GAP), manner)
        for parameter, value in ((_VOLUME, 100), *settings):
            self._library.espeak_SetParameter(parameter, value, 0)
        content = text.encode()
        self._library.espeak_Synth(
            content, len(content) + 1, 0, 0, 0, _UTF8 | _END_PAUSE, None, None
        )
        self._library.espeak_Synchronize()
        if not self._blocks:
            return None
        samples = np.concatenate(self._blocks).astype(np.float32) / 32768
        phones = [(sample / self.rate_hz, phone) for sample, phone in self._phones]
        return Spoken(samples, self.rate_hz, phones)

    def _collect(self, wave: object, count: int, events: object) -> int:
        if wave and count > 0:
            self._blocks.append(np.ctypeslib.as_array(wave, (count,)).copy())  # type: ignore[call-overload]
        index = 0
        while events[index].type != _LIST_END:  # type: ignore[index]
            event = events[index]  # type: ignore[index]
            if event.type == _PHONEME:
                at = ctypes.addressof(event) + _Event.id.offset
                ipa = ctypes.string_at(at, 8).split(b"\0")[0].decode("utf-8", "ignore")
                self._phones.append((event.sample, ipa))
            index += 1
        return 0
