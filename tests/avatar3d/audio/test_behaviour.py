"""Blinks, gaze, brows and sway: seeded, cut anywhere, and as frequent as people's."""

from __future__ import annotations

import numpy as np
import torch

from avatar3d.audio.behaviour import Behaviour, Extras
from avatar3d.audio.stream import FRAME_S
from avatar3d.codes import ARKIT_INDEX

_MINUTES = 4


def _talk(seed: int = 0) -> torch.Tensor:
    """Sentences of 3 s and pauses of 1 s."""
    return (torch.arange(int(_MINUTES * 60 / FRAME_S)) % 200 < 150).float()


def _whole(seed: int) -> Extras:
    return Behaviour(seed).push(_talk())


TALK = _whole(1)


def test_the_same_seed_is_the_same_performance_however_it_is_cut() -> None:
    energy = _talk()[:1000]
    behaviour = Behaviour(1)
    parts = [behaviour.push(piece) for piece in energy.split([1, 0, 399, 600])]
    for got, wanted in zip(zip(*parts), TALK):
        assert torch.equal(torch.cat(got), wanted[:1000])
    assert not torch.equal(Behaviour(2).push(energy).turn, TALK.turn[:1000])


def test_blinks_are_as_frequent_and_as_long_as_peoples() -> None:
    shut = TALK.coefficients[:, ARKIT_INDEX["eyeBlinkLeft"]].numpy() > 0.5
    starts = np.flatnonzero(np.diff(shut.astype(int)) == 1)
    assert 14 <= len(starts) / _MINUTES <= 32
    lengths = [np.argmin(shut[start + 1 :]) * FRAME_S for start in starts[:-1]]
    assert 0.06 <= np.median(lengths) <= 0.25
    assert TALK.coefficients[:, ARKIT_INDEX["eyeBlinkLeft"]].max() > 0.9  # they close fully
    assert TALK.coefficients[0].abs().max() == 0  # nobody begins in a blink


def test_both_eyes_look_the_same_way() -> None:
    def at(name: str) -> torch.Tensor:
        return TALK.coefficients[:, ARKIT_INDEX[name]]

    assert torch.equal(at("eyeLookOutLeft"), at("eyeLookInRight"))
    assert torch.equal(at("eyeLookUpLeft"), at("eyeLookUpRight"))
    assert (at("eyeLookOutLeft") * at("eyeLookInLeft")).max() == 0
    assert 0.02 < at("eyeLookOutLeft").max() < 0.3


def test_the_head_sways_gently_and_more_in_speech() -> None:
    degrees = torch.rad2deg(TALK.turn)
    assert (degrees.std(0) > 0.3).all()
    assert (degrees.std(0) < 3).all()
    assert degrees.abs().max() < 12
    speed = torch.linalg.norm(TALK.turn.diff(dim=0), dim=1) / FRAME_S
    assert speed.max() < 1.0  # radians a second: no jerk
    talking = Behaviour(3).push(torch.ones(6000)).turn.std()
    silent = Behaviour(3).push(torch.zeros(6000)).turn.std()
    assert talking > 1.5 * silent


def test_brows_rise_only_while_somebody_speaks() -> None:
    assert (
        Behaviour(0).push(torch.zeros(3000)).coefficients[:, ARKIT_INDEX["browInnerUp"]].max() == 0
    )
    assert TALK.coefficients[:, ARKIT_INDEX["browInnerUp"]].max() > 0.2
