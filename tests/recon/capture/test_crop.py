"""Crops: the pixel convention, the rule of the head square, validity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatar3d.errors import UserError
from recon.capture import HeadCrop, head_crop, stable_head_crop
from recon.capture.warp import warp_affine

crops = st.builds(
    HeadCrop,
    x0=st.floats(-200, 200),
    y0=st.floats(-200, 200),
    scale=st.floats(0.05, 20),
    size=st.just(64),
)


@given(crops, st.floats(-500, 500), st.floats(-500, 500))
def test_there_and_back(crop: HeadCrop, x: float, y: float) -> None:
    point = np.array([[x, y, 5.0]], np.float32)
    np.testing.assert_allclose(crop.to_source(crop.to_crop(point)), point, atol=2e-3)
    by_matrix = crop.matrix @ np.array([x, y, 1.0])
    np.testing.assert_allclose(crop.to_crop(point)[0, :2], by_matrix, rtol=1e-4, atol=2e-2)


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_a_bright_spot_lands_where_its_coordinates_do(scale: float) -> None:
    picture = np.zeros((64, 64), np.float32)
    picture[30:34, 20:24] = 1.0  # centre at (22, 32): corners count from the pixel's edge
    crop = HeadCrop(x0=6.0, y0=10.0, scale=scale, size=int(40 * scale))
    warped = np.clip(crop.warp(picture), 0, None)
    y, x = np.mgrid[0 : crop.size, 0 : crop.size] + 0.5
    found = np.array([(x * warped).sum(), (y * warped).sum()]) / warped.sum()
    np.testing.assert_allclose(found, crop.to_crop(np.array([22.0, 32.0])), atol=0.06)


def test_shrinking_averages() -> None:
    stripes = np.zeros((256, 256), np.float32)
    stripes[:, ::2] = 1.0
    small = warp_affine(stripes, np.array([[0.125, 0, 0], [0, 0.125, 0]]), 32, 32)
    np.testing.assert_allclose(small[:, 1:-1], 0.5, atol=0.01)


def test_same_size_is_the_same_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    same = warp_affine(picture, np.eye(3)[:2], 30, 20)
    np.testing.assert_array_equal(same, picture)


def _face(height: float = 100.0, x: float = 200.0, y: float = 300.0) -> np.ndarray:
    """An oval of landmarks with the forehead and the chin in their places."""
    angle = np.linspace(0, 2 * np.pi, 478)
    points = np.stack([x + 0.4 * height * np.sin(angle), y - 0.5 * height * np.cos(angle)], axis=1)
    points[10], points[152] = (x, y - height / 2), (x, y + height / 2)
    return np.column_stack([points, np.zeros(478)]).astype(np.float32)


def test_room_around_the_face() -> None:
    crop = head_crop(_face(), size=356)
    assert crop.scale == pytest.approx(2.0, rel=1e-3)  # 1.78 face heights in 356 px
    assert crop.y0 == pytest.approx(200, abs=0.2)  # half a height above the forehead
    assert crop.x0 + 356 / crop.scale / 2 == pytest.approx(200, abs=0.2)


def test_one_wrong_frame_does_not_shrink_a_clip() -> None:
    steady = np.stack([_face()] * 100)
    wrong = steady.copy()
    wrong[50, :, 0] += 900
    wrong[70] = np.nan
    assert stable_head_crop(wrong).scale == pytest.approx(stable_head_crop(steady).scale, rel=1e-3)
    with pytest.raises(UserError, match="no frame shows a face"):
        stable_head_crop(np.full((3, 478, 3), np.nan))


def test_valid_marks_the_picture() -> None:
    crop = HeadCrop(x0=-10, y0=0, scale=2.0, size=40)
    valid = crop.valid(width=8, height=100)
    assert valid.shape == (40, 40)
    assert valid.any(axis=0).tolist() == [20 <= x < 36 for x in range(40)]
    assert valid.any(axis=1).all()


def test_widened_keeps_the_centre() -> None:
    crop = HeadCrop(x0=10, y0=20, scale=2.0, size=64)
    wide = crop.widened(2.0)
    centre = crop.to_source(np.array([32.0, 32.0]))
    np.testing.assert_allclose(wide.to_source(np.array([32.0, 32.0])), centre)
    assert wide.scale == 1.0
