"""Avatar + codes + cameras -> pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.gaussians import Gaussians
from render.frames import frames, to_uint8
from render.rasterize import rasterize, rasterize_8_bit
from tests.render.scenes import random_gaussians, tilted_camera


class Balloon:
    """An avatar that grows with the first coefficient."""

    def gaussians(self, code):
        gaussians = random_gaussians(50)
        return gaussians._replace(scales=gaussians.scales * (0.2 + code.coefficients[0]))


def codes(count):
    batch = ExpressionCode.neutral(count)
    batch.coefficients[:, 0] = torch.linspace(0, 1, count)
    return batch


def test_one_picture_per_code():
    camera = Camera.frontal(focal_length_px=60, size_px=32, distance_m=1)
    pictures = list(frames(Balloon(), codes(4), camera))
    assert [picture.shape for picture in pictures] == [(32, 32, 3)] * 4
    assert all(picture.dtype == np.uint8 for picture in pictures)
    darkness = [255.0 - picture.mean() for picture in pictures]
    assert darkness == sorted(darkness)  # it grows before the white background
    one_by_one = list(frames(Balloon(), [codes(4).at(k) for k in range(4)], [camera] * 3))
    assert len(one_by_one) == 3
    np.testing.assert_array_equal(one_by_one[2], pictures[2])


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (33, 17), (64, 48)])
def test_bytes_are_those_of_the_picture_in_floats(backend, size):
    """Colours below 0 and far above 1 among them: both are clipped."""
    gaussians = random_gaussians(150, seed=4)
    gaussians = gaussians._replace(colors=6 * gaussians.colors - 2)
    camera = tilted_camera(*size)
    for background in (None, torch.tensor([0.2, 1.5, -0.3])):
        for mode in ("classic", "antialiased"):
            options = {"background": background, "mode": mode, "backend": backend}
            picture = rasterize_8_bit(gaussians, camera, **options)
            assert picture.dtype == np.uint8
            expected = to_uint8(rasterize(gaussians, camera, **options).colors)
            np.testing.assert_array_equal(picture, expected)


def test_bytes_are_the_same_at_any_number_of_threads():
    gaussians, camera = random_gaussians(900, seed=5, scale_m=0.01), tilted_camera(130, 90)
    threads = torch.get_num_threads()
    pictures = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            pictures.append(rasterize_8_bit(gaussians, camera))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_bytes_of_colours_from_harmonics_and_what_has_none():
    gaussians, camera = random_gaussians(60), tilted_camera(40, 30)
    coefficients = torch.randn(60, 4, 3, generator=torch.Generator().manual_seed(1))
    curved = gaussians._replace(colors=coefficients)
    np.testing.assert_array_equal(
        rasterize_8_bit(curved, camera, sh_degree=1),
        to_uint8(rasterize(curved, camera, sh_degree=1).colors),
    )
    with pytest.raises(ValueError, match="3 channels, got 5"):
        rasterize_8_bit(random_gaussians(9, channels=5), camera)
    with pytest.raises(ValueError, match="one picture at a time"):
        rasterize_8_bit(Gaussians(*(value[None] for value in gaussians)), camera)


def test_size_and_background_are_kept():
    camera = Camera.frontal(focal_length_px=60, size_px=32, distance_m=1)
    (picture,) = frames(
        Balloon(), codes(1), camera, size=(48, 40), background=torch.tensor([0.0, 1.0, 0.0])
    )
    assert picture.shape == (40, 48, 3)
    np.testing.assert_array_equal(picture[0, 0], [0, 255, 0])


@given(st.integers(0, 255))
def test_quantising_keeps_eight_bit_values(value):
    assert to_uint8(np.array([value / 255], np.float32))[0] == value
    assert to_uint8(np.array([value], np.uint8))[0] == value


def test_quantising_clips_and_refuses():
    values = torch.tensor([-1.0, 0.0, 0.5, 1.0, 7.0, math.inf, -math.inf, math.nan])
    assert to_uint8(values).tolist() == [0, 0, 128, 255, 255, 255, 0, 0]
    with pytest.raises(ValueError, match="uint8 or float"):
        to_uint8(np.array([1, 2]))
