"""Streaming equals offline, to the end of the sound, and nobody looks further ahead than said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d.audio.driver import VoiceDriver, voice_codes
from avatar3d.audio.features import HOP, RATE_HZ, WINDOW
from avatar3d.audio.network import LOOKAHEAD
from avatar3d.audio.stream import FIRST_S, FRAME_S, VoiceFrames, VoiceStream, voice_frames
from avatar3d.audio.style import Style
from avatar3d.codes import ExpressionCode
from tests.avatar3d.audio.voices import babble, pieces, random_voice

VOICE = random_voice()


def _streamed(sound: np.ndarray, parts: list[np.ndarray]) -> VoiceFrames:
    stream = VoiceStream(VOICE, engine="torch")
    return VoiceFrames.joined([*(stream.push(part) for part in parts), stream.finish()])


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_pieces_of_any_size_give_the_same_frames(seed: int) -> None:
    """Features, normaliser and network together; the demand is 1e-4."""
    sound = babble(1.5, seed)
    whole, parts = _streamed(sound, [sound]), _streamed(sound, pieces(sound, seed))
    assert parts.raw.shape == whole.raw.shape
    assert (parts.raw - whole.raw).abs().max() < 1e-5
    assert (parts.coefficients - whole.coefficients).abs().max() < 1e-5


@pytest.mark.parametrize("frames_per_second", [12.5, 25.0, 30.0, 60.0])
def test_codes_of_a_driver_do_not_depend_on_the_cutting(frames_per_second: float) -> None:
    sound = babble(1.7, 5)

    def codes(parts: list[np.ndarray]) -> ExpressionCode:
        driver = VoiceDriver(VOICE, frames_per_second=frames_per_second, seed=4, engine="torch")
        return ExpressionCode.stack([*voice_codes(driver, parts)])

    whole = codes([sound])
    assert len(whole.coefficients) == np.ceil(1.7 * frames_per_second - 1e-6)
    for seed in range(3):
        for got, wanted in zip(codes(pieces(sound, seed)), whole):
            assert (got - wanted).abs().max() < 1e-5


def test_no_frame_hears_more_than_the_look_ahead() -> None:
    sound = babble(2.0, 7)
    changed_at = 16_000
    other = sound.copy()
    other[changed_at:] = babble(2.0, 8)[changed_at:]
    first, second = _streamed(sound, [sound]), _streamed(other, [other])
    stream = VoiceStream(VOICE, engine="torch")
    times_s = stream.start_s + FRAME_S * np.arange(len(first.energy))
    untouched = torch.from_numpy(times_s + LOOKAHEAD * FRAME_S <= changed_at / RATE_HZ)
    assert untouched.sum() > 40
    assert torch.equal(first.raw[untouched], second.raw[untouched])
    # And it does use what it is allowed to hear.
    touched = ~untouched
    assert not torch.allclose(first.raw[touched][:3], second.raw[touched][:3])


def test_frames_come_as_soon_as_their_look_ahead_is_heard() -> None:
    stream = VoiceStream(VOICE, engine="torch")
    got, sound = 0, babble(1.0)
    for count, start in enumerate(range(0, len(sound), 320), start=1):
        got += len(stream.push(sound[start : start + 320]).energy)
        newest_s = stream.start_s + FRAME_S * (got - 1)
        delay_s = count * 320 / RATE_HZ - newest_s
        if got:
            assert LOOKAHEAD * FRAME_S - 1e-9 <= delay_s <= 0.14
    assert pytest.approx((HOP + WINDOW) / RATE_HZ - 0.1) == FIRST_S


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 640, 5000])
def test_short_sounds_have_their_frames(samples: int) -> None:
    driver = VoiceDriver(VOICE, frames_per_second=25, engine="torch")
    codes = [*voice_codes(driver, [babble(1.0)[:samples]])]
    assert len(codes) == int(np.ceil(samples / RATE_HZ * 25))
    for code in codes:
        assert torch.isfinite(code.coefficients).all()


def test_still_means_that_only_the_mouth_moves() -> None:
    sound = babble(2.0)
    still = VoiceDriver(VOICE, seed=None, engine="torch")
    moving = VoiceDriver(VOICE, seed=0, engine="torch")
    quiet = ExpressionCode.stack([*voice_codes(still, [sound])])
    lively = ExpressionCode.stack([*voice_codes(moving, [sound])])
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert torch.equal(quiet.head_rotation, identity.expand(len(quiet.head_rotation), 4))
    assert quiet.coefficients[:, :14].abs().max() == 0  # eyes
    assert (lively.head_rotation - identity).abs().max() > 1e-3
    mouth = slice(14, 41)
    assert torch.allclose(quiet.coefficients[:, mouth], lively.coefficients[:, mouth])


def test_strength_zero_is_a_mouth_at_rest() -> None:
    frames = VoiceFrames.joined(voice_frames(VOICE, [babble(1.0)], Style(strength=0), "torch"))
    assert frames.coefficients.abs().max() == 0
