"""Mixed people: only flagrant differences are refused, unusual ones are warned of."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from avatar3d.errors import UserError
from recon.capture import HeadCrop, PreparedFrame, check_same_person
from recon.capture.people import shape_distance, skin_distance

PALE, DARK = (0.9, 0.75, 0.68), (0.3, 0.18, 0.12)


def _photo(name: str, skin: tuple[float, ...], stretch: float = 1.0) -> PreparedFrame:
    """A plain picture of one colour with a fixed cloud of landmarks, stretched in height."""
    size = 64
    landmarks = np.random.default_rng(0).uniform(16, 48, (478, 3)).astype(np.float32)
    landmarks[:, 1] = 32 + (landmarks[:, 1] - 32) * stretch
    image = np.tile(np.array(skin, np.float32), (size, size, 1))
    ones = np.ones((size, size), np.float32)
    return PreparedFrame(
        image, ones, image, ones > 0, landmarks, HeadCrop(0, 0, 1, size), source=name
    )


def test_flagrant_mixture_is_refused() -> None:
    with pytest.raises(UserError, match=r"a\.jpg and c\.jpg seem to show different people"):
        check_same_person(
            [_photo("a.jpg", PALE), _photo("b.jpg", PALE), _photo("c.jpg", DARK, stretch=1.4)]
        )


@pytest.mark.parametrize(("skin", "stretch"), [(DARK, 1.0), (PALE, 1.4)])
def test_one_difference_alone_is_only_said(
    skin: tuple[float, ...], stretch: float, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        check_same_person([_photo("a.jpg", PALE), _photo("b.jpg", skin, stretch)])
    assert "a.jpg and b.jpg differ" in caplog.text


def test_shape_ignores_pose_and_size() -> None:
    points = _photo("a", PALE).landmarks
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    assert shape_distance(points, 2.5 * points @ turn.T + 7) < 1e-3
    assert shape_distance(points, points * (1, 1, -1)) > 0.1  # a mirror image is another shape


def test_black_and_white_says_nothing_of_skin() -> None:
    assert skin_distance(_photo("a", PALE), _photo("b", (0.2, 0.2, 0.2))) == 0
    assert skin_distance(_photo("a", PALE), _photo("b", DARK)) > 27
