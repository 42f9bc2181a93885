"""Phones to mouth curves: hulls, closures, coarticulation, rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatar3d.audio.channels import CHANNEL_INDEX
from recon.audio import visemes
from recon.audio.head_measures import measures_by_channel
from recon.audio.visemes import NAMES, VISEMES, mouth_curves, segments, visemes_of

SPOKEN = [phone for viseme in VISEMES.values() for phone in viseme.phones.split()]


@given(
    phones=st.lists(
        st.tuples(st.sampled_from(SPOKEN), st.floats(0.03, 0.3)), min_size=1, max_size=12
    )
)
def test_a_mouth_stays_within_what_its_phones_want(phones: list[tuple[str, float]]) -> None:
    starts = np.cumsum([0.1, *(length for _, length in phones)])
    spoken = segments([(s, phone) for s, (phone, _) in zip(starts, phones)], float(starts[-1]))
    assert (spoken.ends_s[:-1] <= spoken.starts_s[1:] + 1e-9).all()
    times_s = np.arange(-0.5, starts[-1] + 1.5, 0.02)
    curves, sounding = mouth_curves(spoken, times_s)
    highest = visemes._POSES[spoken.visemes].max(0)
    assert (curves >= -1e-6).all()
    assert (curves <= highest + 1e-6).all()
    assert set(sounding) <= set(spoken.visemes)
    assert np.abs(curves[-1]).max() < 0.02  # the mouth comes to rest
    assert np.abs(np.diff(curves, axis=0)).max() < 0.25  # and never jumps


@pytest.mark.parametrize("closure", ["p", "b", "m"])
@pytest.mark.parametrize("vowel", ["a", "i", "u", "ɔ"])
def test_lips_meet_between_vowels(closure: str, vowel: str) -> None:
    events = [(0.1, vowel), (0.25, closure), (0.33, vowel)]
    curves, sounding = mouth_curves(segments(events, 0.5), np.array([0.2, 0.29, 0.42]))
    opening = curves @ measures_by_channel()[:, 0].numpy()
    assert NAMES[sounding[1]] == "PBM"
    assert opening[1] < 0.35 * min(opening[0], opening[2]) + 0.004


def test_rounding_begins_before_the_rounded_vowel() -> None:
    """Coarticulation: the s of "soon" is rounder than that of "seen"."""
    pucker = {
        vowel: mouth_curves(
            segments([(0.1, "s"), (0.22, vowel), (0.4, "n")], 0.5), np.array([0.2])
        )[0][0, CHANNEL_INDEX["mouthPucker"]]
        for vowel in "ui"
    }
    assert pucker["u"] > pucker["i"] + 0.05


def test_ipa_of_many_spellings_is_understood() -> None:
    assert visemes_of("tʃ") == [NAMES.index("SH")]
    assert visemes_of("iː") == [NAMES.index("I")]
    assert visemes_of("aɪ") == [NAMES.index("A"), NAMES.index("IH")]
    assert visemes_of("(en)") == [visemes.SILENCE]
    assert visemes_of("☃") == []


def test_no_phones_are_silence() -> None:
    curves, sounding = mouth_curves(segments([], 1.0), np.arange(0, 1, 0.1))
    assert np.abs(curves).max() == 0
    assert (sounding == visemes.SILENCE).all()
