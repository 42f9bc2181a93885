"""Copy and 2D warp: laws that hold for any picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d.errors import UserError
from recon.benchmark.copy import nearest_frame
from recon.benchmark.method import METHODS, get_method
from recon.benchmark.protocol import Protocol
from recon.benchmark.warp_2d import warp
from tests.recon.benchmark.synthetic import face_landmarks, make_clip

CLIP = make_clip(frames=24, protocol=Protocol(shots=(1, 5), test_frames=4))
LANDMARKS = face_landmarks()[:, :2] / 2  # at 256
SUPPORT = [CLIP.frame(index) for index in CLIP.support[5]]


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 2**32 - 1))
def test_warping_landmarks_onto_themselves_changes_nothing(seed):
    generator = np.random.default_rng(seed)
    picture = generator.random((256, 256, 3), dtype=np.float32)
    landmarks = LANDMARKS + generator.normal(0, 3, LANDMARKS.shape)
    # cv2.remap looks up to 1/32 px.
    np.testing.assert_allclose(warp(picture, landmarks, landmarks), picture, atol=1 / 32)


@settings(deadline=None, max_examples=5)
@given(st.floats(-25, 25), st.floats(-25, 25), st.floats(0.85, 1.15))
def test_a_face_that_moves_as_a_whole_takes_its_pixels_along(right_px, down_px, zoom):
    y, x = np.mgrid[:256, :256] + 0.5
    slopes = np.stack([x / 256, y / 256, (x + y) / 512], -1).astype(np.float32)
    target = (LANDMARKS - 128) * zoom + 128 + [right_px, down_px]
    warped = warp(slopes, LANDMARKS, target)
    at = target.astype(int)
    looked_up = ((at + 0.5) - 128 - [right_px, down_px]) / zoom + 128
    expected = np.stack([looked_up[:, 0], looked_up[:, 1], looked_up.sum(1) / 2], 1) / 256
    inner = [k for k in range(468) if np.linalg.norm((LANDMARKS[k] - 128) / [45, 60]) < 0.8]
    np.testing.assert_allclose(warped[at[inner, 1], at[inner, 0]], expected[inner], atol=2e-3)


def test_landmarks_outside_the_picture_are_left_out():
    picture = np.random.default_rng(0).random((256, 256, 3), dtype=np.float32)
    warped = warp(picture, LANDMARKS, LANDMARKS + [150, 0])
    assert warped.shape == picture.shape
    assert np.isfinite(warped).all()


@given(st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_copy_picks_the_nearest(k, seed):
    jitter = np.random.default_rng(seed).normal(0, 0.2, (478, 3))
    assert nearest_frame(SUPPORT, SUPPORT[k].landmarks + jitter).index == SUPPORT[k].index


@pytest.mark.parametrize("name", ["copy", "warp2d"])
def test_a_baseline_repeats_a_support_frame(name):
    index = CLIP.support[5][2]
    render = get_method(name).fit(SUPPORT, CLIP).render(index, CLIP)
    assert render.dtype == np.float32
    np.testing.assert_allclose(render, CLIP.frame(index).on_white(), atol=1 / 32)


@pytest.mark.parametrize("name", [name for name in METHODS if "adversarial" not in name])
def test_methods_are_found_by_the_name_they_report(name):
    assert name in METHODS
    assert get_method(name).name == name


def test_an_unknown_method_is_said():
    with pytest.raises(UserError, match=r"called 'magic'; choose from ours, .*warp2d"):
        get_method("magic")
