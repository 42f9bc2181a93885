"""Features: the slow definition, and the same in pieces of any size."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d.audio.features import (
    FEATURES,
    FFT,
    HOP,
    RATE_HZ,
    WINDOW,
    FeatureStream,
    Normaliser,
    features,
    log_mel,
    mel_filters,
)
from tests.avatar3d.audio.voices import babble, pieces


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_a_stream_in_pieces_of_any_size_is_the_whole(seed: int) -> None:
    sound = babble(2.0, seed)
    stream = FeatureStream()
    parts = np.concatenate([stream.push(piece) for piece in pieces(sound, seed)])
    whole = features(sound)
    assert parts.shape == whole.shape
    np.testing.assert_allclose(parts, whole, atol=2e-5)  # float32 sums of another batch size


def test_log_mel_is_its_definition() -> None:
    sound = babble(0.1, 3)
    got = log_mel(sound)
    assert len(got) == (len(sound) - WINDOW) // HOP + 1
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))
    for frame in (0, 3, len(got) - 1):
        piece = sound[frame * HOP : frame * HOP + WINDOW] * window
        angle = 2 * np.pi * np.outer(np.arange(FFT // 2 + 1), np.arange(WINDOW)) / FFT
        energy = (piece @ np.cos(angle).T) ** 2 + (piece @ np.sin(angle).T) ** 2
        np.testing.assert_allclose(got[frame], np.log(mel_filters() @ energy + 1e-6), atol=1e-3)


def test_filters_are_triangles_that_hand_over_to_their_neighbours() -> None:
    filters = mel_filters()
    inside = slice(3, 240)  # between the middles of the first and the last filter
    assert filters.min() == 0
    assert filters.max() <= 1
    np.testing.assert_allclose(filters[:, inside].sum(0)[5:], 1.0, atol=1e-5)


def test_a_tone_is_heard_in_its_band() -> None:
    times = np.arange(RATE_HZ // 2) / RATE_HZ
    peaks = [
        int(log_mel(np.sin(2 * np.pi * hz * times).astype(np.float32))[10].argmax())
        for hz in (200, 500, 1000, 2000, 4000, 7000)
    ]
    assert peaks == sorted(set(peaks))


def test_another_microphone_is_forgotten_after_some_speech() -> None:
    """A colour of the sound is a constant on log energies: the mean takes it out."""
    bands = log_mel(babble(20.0, 1))
    colour = np.linspace(-1.5, 1.5, bands.shape[1]).astype(np.float32)
    plain, coloured = Normaliser()(bands[None])[0], Normaliser()((bands + colour)[None])[0]
    early = np.abs(plain - coloured)[:50].mean()
    late = np.abs(plain - coloured)[-200:].mean()
    assert late < 0.1 * early


def test_voices_side_by_side_do_not_hear_each_other() -> None:
    bands = np.stack([log_mel(babble(1.0, 1)), log_mel(babble(1.0, 2))])
    together = Normaliser(2)(bands)
    for voice in range(2):
        alone = Normaliser()(bands[voice : voice + 1])[0]
        np.testing.assert_allclose(together[voice], alone, atol=1e-6)


def test_silence_and_full_scale_stay_bounded() -> None:
    for sound in (np.zeros(RATE_HZ, np.float32), np.ones(RATE_HZ, np.float32)):
        values = features(sound)
        assert values.shape[1] == FEATURES
        assert np.isfinite(values).all()
        assert np.abs(values).max() < 10
    assert len(features(np.zeros(WINDOW - 1, np.float32))) == 0
