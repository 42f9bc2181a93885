"""Text to speech where espeak-ng is installed, and what is said where it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from avatar3d.audio import synthesis
from avatar3d.audio.sound import read_sound
from avatar3d.audio.synthesis import speak_to_file
from avatar3d.errors import UserError

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)


@needs_espeak
def test_words_are_spoken(tmp_path: Path) -> None:
    speak_to_file("Hello, this is a test.", tmp_path / "a.wav")
    speak_to_file("Hello, this is a test. It is a longer one.", tmp_path / "b.wav", "de")
    short, long = (np.concatenate([*read_sound(tmp_path / name)]) for name in ("a.wav", "b.wav"))
    assert 16_000 < len(short) < len(long)
    assert np.abs(short).max() > 0.1


@needs_espeak
@pytest.mark.parametrize("language", ["zzzzz", "", "--help"])
def test_an_unknown_voice_is_a_sentence(tmp_path: Path, language: str) -> None:
    with pytest.raises(UserError, match="--voices"):
        speak_to_file("Hello", tmp_path / "a.wav", language)


@needs_espeak
def test_text_that_looks_like_an_option_is_text(tmp_path: Path) -> None:
    speak_to_file("--version", tmp_path / "a.wav")
    assert sum(len(block) for block in read_sound(tmp_path / "a.wav")) > 8000


def test_without_espeak_the_way_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthesis.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="apt-get install espeak-ng"):
        speak_to_file("Hello", tmp_path / "a.wav")


@pytest.mark.parametrize(("text", "said"), [("  \n", "empty"), ("a" * 200_000, "at most")])
def test_absurd_texts_are_refused(
    tmp_path: Path, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthesis.shutil, "which", lambda name: "/usr/bin/espeak-ng")
    with pytest.raises(UserError, match=said):
        speak_to_file(text, tmp_path / "a.wav")
