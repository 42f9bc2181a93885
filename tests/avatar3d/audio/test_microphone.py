"""The microphone through a stand-in for the sound system: heard, absent, unplugged."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import numpy as np
import pytest

from avatar3d.audio import microphone as module
from avatar3d.audio.microphone import Microphone
from avatar3d.errors import UserError


class _PortAudioError(Exception):
    pass


class _Stream:
    """Delivers three blocks when it starts, and nothing ever after."""

    closed = False

    def __init__(self, callback: Callable[..., None], **settings: object) -> None:
        self.callback, self.settings = callback, settings

    def start(self) -> None:
        for value in (0.1, float("nan"), 0.3):
            self.callback(np.full((320, 1), value, np.float32), 320, None, None)

    def close(self) -> None:
        _Stream.closed = True


def _system(monkeypatch: pytest.MonkeyPatch, stream: object) -> None:
    fake = types.ModuleType("sounddevice")
    vars(fake).update(InputStream=stream, PortAudioError=_PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(module, "_UNPLUGGED_AFTER_S", 0.2)


def test_what_was_heard_comes_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    _system(monkeypatch, _Stream)
    with Microphone() as microphone:
        first = next(iter(microphone))
    np.testing.assert_allclose(first, np.repeat([0.1, 0.0, 0.3], 320), atol=1e-7)
    assert _Stream.closed


def test_an_unplugged_microphone_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    _system(monkeypatch, _Stream)
    with pytest.raises(UserError, match="may have been unplugged"), Microphone() as microphone:
        for _ in microphone:
            pass


def test_nobody_fetching_keeps_only_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    _system(monkeypatch, _Stream)
    with Microphone() as microphone:
        for index in range(400):
            microphone._heard(np.full((320, 1), index, np.float32), 320, None, None)
        heard = next(iter(microphone))
    assert len(heard) == 250 * 320
    assert heard[-1] == 399


def test_no_microphone_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(**settings: object) -> None:
        raise _PortAudioError("Error querying device -1")

    _system(monkeypatch, absent)
    with pytest.raises(UserError, match=r"no microphone could be opened.*--audio"), Microphone():
        pass


def test_a_missing_library_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def require(name: str, extra: str) -> None:
        raise OSError("PortAudio library not found")

    monkeypatch.setattr(module, "require", require)
    with pytest.raises(UserError, match="libportaudio2"), Microphone():
        pass
