"""Cameras: the OpenCV convention, and what moving them around the head means."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from avatar3d.camera import Camera


def project(camera: Camera, point: Tensor) -> Tensor:
    """Px [2] of a world point [3]."""
    seen = camera.viewmat[:3, :3] @ point + camera.viewmat[:3, 3]
    return (camera.K @ seen)[:2] / seen[2]


@given(st.floats(-3, 3), st.floats(-1.4, 1.4), st.floats(0.2, 5))
def test_frontal_cameras_look_at_the_head_from_their_distance(
    yaw: float, pitch: float, distance: float
):
    camera = Camera.frontal(1500, 512, distance, yaw, pitch)
    rotation = camera.viewmat[:3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-5, rtol=0)
    assert float(torch.det(rotation)) == pytest.approx(1, abs=1e-5)
    assert float(camera.position().norm()) == pytest.approx(distance, rel=1e-5)
    torch.testing.assert_close(
        project(camera, torch.zeros(3)), torch.full((2,), 256.0), atol=0.01, rtol=0
    )
    # Up in the world is up in the picture.
    assert project(camera, torch.tensor([0.0, 0.01, 0.0]))[1] < 256


def test_the_subjects_left_is_the_pictures_right():
    camera = Camera.frontal(1500, 512, 1.0)
    x, y = project(camera, torch.tensor([0.1, 0.2, 0.0])).tolist()
    assert (x, y) == pytest.approx((256 + 150, 256 - 300))


def test_yaw_goes_to_the_subjects_left_and_pitch_up():
    assert Camera.frontal(1500, 512, 1.0, yaw=0.5).position()[0] == pytest.approx(math.sin(0.5))
    assert Camera.frontal(1500, 512, 1.0, pitch=0.5).position()[1] == pytest.approx(math.sin(0.5))


@given(st.integers(16, 2000), st.integers(16, 2000))
def test_resizing_scales_pixels_and_comes_back(width: int, height: int):
    camera = Camera.frontal(1500, 512, 1.0, yaw=0.3)
    point = torch.tensor([0.03, -0.05, 0.02])
    small = camera.resized(width, height)
    assert (small.width, small.height) == (width, height)
    scale = torch.tensor([width / 512, height / 512])
    torch.testing.assert_close(project(small, point), project(camera, point) * scale)
    torch.testing.assert_close(small.resized(512, 512).K, camera.K)


def test_float64_stays_float64():
    zero = torch.zeros(3, dtype=torch.float64)
    camera = Camera.look_at(zero + 1.0, zero, 1500.0, 640, 480)
    assert camera.viewmat.dtype == camera.K.dtype == torch.float64
    torch.testing.assert_close(camera.position(), zero + 1.0)
    torch.testing.assert_close(
        project(camera, zero), torch.tensor([320.0, 240.0], dtype=torch.float64)
    )
