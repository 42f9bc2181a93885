"""Mixed people: only flagrant differences are refused, unusual ones are warned of."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from avatar3d.errors import UserError
from recon.capture import HeadCrop, PreparedFrame, check_same_person, people
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


@pytest.fixture(autouse=True)
def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Landmarks and skin alone, whatever is installed here."""
    monkeypatch.setattr(people, "_embedder", lambda: None)


def test_flagrant_mixture_of_two_is_refused() -> None:
    with pytest.raises(UserError, match=r"a\.jpg and c\.jpg seem to show different people"):
        check_same_person([_photo("a.jpg", PALE), _photo("c.jpg", DARK, stretch=1.4)])


def test_a_stranger_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    photos = [_photo("a.jpg", PALE), _photo("c.jpg", DARK, stretch=1.4), _photo("b.jpg", PALE)]
    with caplog.at_level(logging.WARNING):
        kept = check_same_person(photos)
    assert [frame.source for frame in kept] == ["a.jpg", "b.jpg"]
    assert "c.jpg seems to show another person than the other 2 photos" in caplog.text
    two_each = [*photos, _photo("d.jpg", DARK, stretch=1.4)]
    with pytest.raises(UserError, match="seem to show different people"):
        check_same_person(two_each)


def test_one_photo_is_one_person() -> None:
    photo = _photo("a.jpg", PALE)
    assert check_same_person([photo]) == [photo]


def test_the_odd_shape_is_named(caplog: pytest.LogCaptureFixture) -> None:
    photos = [_photo(name, PALE) for name in ("a.jpg", "b.jpg", "c.jpg")]
    assert people.odd_one_out(photos) is None
    odd = _photo("odd.jpg", PALE, stretch=1.1)
    assert people.odd_one_out([photos[0], odd, photos[1]]) is odd
    assert people.odd_one_out([photos[0], odd]) is None, "of two nobody can tell which"
    with caplog.at_level(logging.WARNING):
        assert len(check_same_person([*photos, odd])) == 4
    assert "odd.jpg is least like the other photos" in caplog.text


@pytest.mark.parametrize(
    ("cosine", "kept", "said"),
    [(0.96, 3, ""), (0.93, 3, "c.jpg is least like"), (0.8, 2, "c.jpg seems to show another")],
)
def test_embeddings_decide_where_there_are_some(
    cosine: float, kept: int, said: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    plain, turned = np.array([1.0, 0.0]), np.array([cosine, np.sqrt(1 - cosine**2)])

    def embed(image: np.ndarray, _: np.ndarray) -> np.ndarray:
        return turned if image[0, 0, 0] < 0.5 else plain

    monkeypatch.setattr(people, "_embedder", lambda: embed)
    photos = [_photo("a.jpg", PALE), _photo("b.jpg", PALE), _photo("c.jpg", DARK, stretch=1.4)]
    with caplog.at_level(logging.WARNING):
        assert len(check_same_person(photos)) == kept
    assert (said in caplog.text) if said else not caplog.text


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
