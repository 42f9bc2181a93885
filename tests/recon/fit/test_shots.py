"""Whole frames and close-ups: what is drawn by a shot's camera is what its picture shows."""

from __future__ import annotations

import numpy as np
import torch

from avatar3d.camera import Camera
from recon.fit.observation import Observation
from recon.fit.shots import Shots
from recon.fit.target import BACKGROUNDS


def _observation(size_px: int, detail: Observation | None = None) -> Observation:
    """Red grows with the column, green with the row, both 0..1 over the picture."""
    ramp = (np.arange(size_px, dtype=np.float32) + 0.5) / size_px
    colors = np.zeros((size_px, size_px, 3), np.float32)
    colors[..., 0], colors[..., 1] = ramp, ramp[:, None]
    matte = np.ones((size_px, size_px), np.float32)
    return Observation(colors, matte, matte > 0, detail)


def _shots(close_ups: float, observation: Observation) -> Shots:
    camera = Camera.frontal(700.0, 512, 1.0)
    return Shots([observation], camera, close_ups, seed=0)


def _seen(shot) -> np.ndarray:
    height, width, channels = shot.picture.shape
    return shot.picture.pixels.reshape(height, width, channels)


def test_a_close_up_shows_what_its_camera_looks_at():
    shots = _shots(1.0, _observation(64, _observation(128)))
    whole = Camera.frontal(700.0, 512, 1.0).resized(128, 128)
    corners = set()
    for _ in range(20):
        shot = shots.take(0, 0)
        offset = whole.K[:2, 2] - shot.camera.K[:2, 2]  # of the window in the detail: x, y
        corners.add(tuple(offset.tolist()))
        picture = _seen(shot)
        assert picture.shape == (64, 64, 3)
        assert shot.camera.width == shot.camera.height == 64
        assert torch.equal(shot.camera.K[:2, :2], whole.K[:2, :2])
        first = (offset + 0.5) / 128
        np.testing.assert_allclose(picture[0, 0, :2], first, atol=1e-6)
        np.testing.assert_allclose(picture[-1, -1, :2], first + 63 / 128, atol=1e-6)
    assert len(corners) > 5


def test_the_whole_frame_is_taken_where_there_is_no_larger_detail():
    for detail in (None, _observation(64)):
        shot = _shots(1.0, _observation(64, detail)).take(0, 1)
        assert torch.equal(shot.camera.K, Camera.frontal(700.0, 512, 1.0).resized(64, 64).K)
        assert shot.background.tolist() == list(BACKGROUNDS[1])


def test_no_close_up_of_what_the_camera_did_not_see():
    detail = _observation(128)
    seen = np.zeros((128, 128), bool)
    seen[:40, :40] = True
    shots = _shots(1.0, _observation(64, Observation(detail.colors, detail.matte, seen)))
    for _ in range(10):
        assert shots.take(0, 0).weight.sum() > 0.99
    nothing = Observation(detail.colors, detail.matte, seen & False)
    shot = _shots(1.0, _observation(64, nothing)).take(0, 0)
    assert float(shot.camera.K[0, 0]) == 700.0 / 8


def test_close_ups_are_the_share_that_was_asked_for():
    shots = _shots(0.25, _observation(64, _observation(128)))
    near = sum(float(shots.take(0, 0).camera.K[0, 0]) > 700.0 / 8 for _ in range(400))
    assert 70 < near < 130
