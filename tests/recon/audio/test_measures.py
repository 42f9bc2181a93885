"""Mouth measures do not see how a head is turned, placed or sized; heads and detectors agree."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d.codes import ARKIT_INDEX
from avatar3d.heads import load_head
from recon.audio.head_measures import measures_by_channel, measures_of_coefficients
from recon.audio.measures import MEASURES, mouth_measures, skull_frame
from recon.track.landmark_shape import landmark_shape

HEAD = load_head("default")


def _talking(frames: int = 12) -> np.ndarray:
    """Landmarks in the detector's axes."""
    codes = np.zeros((frames, HEAD.expression_count))
    codes[:, ARKIT_INDEX["jawOpen"]] = 0.4 * np.sin(np.arange(frames)) ** 2
    codes[:, ARKIT_INDEX["mouthPucker"]] = 0.5 * np.cos(np.arange(frames)) ** 2
    return landmark_shape(HEAD).points(codes) * np.array([1.0, -1.0, -1.0])


@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_pose_and_size_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = _talking()
    moved = np.empty_like(points)
    for frame, shape in enumerate(points):
        q, _ = np.linalg.qr(np.eye(3) + 0.3 * rng.standard_normal((3, 3)))
        q *= np.sign(np.linalg.det(q))
        if np.trace(q) < 0:  # upside down is not what is claimed
            q = np.eye(3)
        moved[frame] = rng.uniform(50, 300) * shape @ q.T + rng.normal(0, 100, 3)
    wanted = mouth_measures(skull_frame(points))
    np.testing.assert_allclose(mouth_measures(skull_frame(moved)), wanted, atol=2e-3)


def test_an_open_jaw_is_measured_as_one() -> None:
    coefficients = np.zeros((2, 52))
    coefficients[1, ARKIT_INDEX["jawOpen"]] = 0.5
    change = np.diff(measures_of_coefficients(HEAD, coefficients), axis=0)[0]
    assert change[MEASURES.index("opening")] > 0.1
    assert change[MEASURES.index("jaw")] > 0.05
    assert abs(change[MEASURES.index("width")]) < 0.05
    puckered = np.zeros((2, 52))
    puckered[1, ARKIT_INDEX["mouthPucker"]] = 0.5
    change = np.diff(measures_of_coefficients(HEAD, puckered), axis=0)[0]
    assert change[MEASURES.index("width")] < -0.05


def test_the_linear_map_of_channels_is_the_derivative() -> None:
    by_channel = measures_by_channel().numpy()
    assert by_channel.shape == (19, 7)
    coefficients = np.zeros((2, 52))
    coefficients[:, ARKIT_INDEX["jawOpen"]] = 0.28, 0.32
    change = np.diff(measures_of_coefficients(HEAD, coefficients), axis=0)[0] / 0.04
    np.testing.assert_allclose(change, by_channel[0], atol=0.02)
