"""Corrections stay where a shape acts, short, and on their side of the lips."""

from __future__ import annotations

import numpy as np

from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES
from avatar3d.heads import load_head
from recon.track.landmark_shape import build_landmark_shape
from recon.track.learn_expressions import (
    LONGEST_M,
    UNTOUCHED,
    correction_spread,
    mirrored_names,
    saturated,
    smoothed,
)


def test_corrections_keep_to_their_shapes() -> None:
    shape = build_landmark_shape(load_head("default"), 0.0)
    spread = correction_spread(shape, ARKIT_NAMES)
    upper, smile = spread[ARKIT_INDEX["mouthUpperUpLeft"]], spread[ARKIT_INDEX["mouthSmileLeft"]]
    assert upper[13] > 1e-3 > 1e-6 > upper[14]  # inner upper lip, inner lower lip
    assert smile[291] > 1e-3 > 1e-6 > smile[[33, 70, 263]].max()
    assert not spread[:, [33, 133, 159, 145]].any()  # lids slide on the eyeball
    assert not spread[[name.startswith(UNTOUCHED) for name in ARKIT_NAMES]].any()
    even = np.ones((52, 478, 3))
    assert np.allclose(smoothed(shape, ARKIT_NAMES, even), even)


def test_sides_are_swapped_and_back() -> None:
    sides = mirrored_names(ARKIT_NAMES)
    assert (sides[sides] == np.arange(52)).all()
    assert ARKIT_NAMES[sides[ARKIT_INDEX["mouthLeft"]]] == "mouthRight"
    assert sides[ARKIT_INDEX["jawOpen"]] == ARKIT_INDEX["jawOpen"]


def test_long_corrections_are_shortened() -> None:
    random = np.random.default_rng(0)
    moves = random.normal(size=(3, 478, 3)) * 0.01
    short = saturated(moves)
    assert np.linalg.norm(short, axis=-1).max() <= LONGEST_M
    assert np.allclose(np.cross(short, moves), 0.0, atol=1e-12)
    assert np.allclose(saturated(moves * 1e-4), moves * 1e-4, rtol=1e-3)
    assert not saturated(np.zeros((1, 478, 3))).any()
