"""Laws of the choice of frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatar3d.errors import UserError
from recon.benchmark import protocol
from recon.benchmark.protocol import CHEEK_LEFT, CHEEK_RIGHT, NOSE_TIP

lengths = st.integers(4, 900)
counts = st.integers(2, 40)


def landmarks_of(nose_x: np.ndarray) -> np.ndarray:
    """[F, 478, 3] with the cheeks at 0 and 100 px and the nose's tip at `nose_x` [F]."""
    landmarks = np.zeros((len(nose_x), 478, 3), np.float32)
    landmarks[:, NOSE_TIP, 0], landmarks[:, CHEEK_LEFT, 0] = nose_x, 100
    landmarks[:, CHEEK_RIGHT, 0] = 0
    return landmarks


@given(lengths, counts)
def test_support_and_test_frames_keep_to_their_halves(frames, count):
    ok, landmarks = np.ones(frames, bool), landmarks_of(np.full(frames, 40.0))
    support = protocol.support_indices(landmarks, ok, count)
    test = protocol.test_indices(ok, count)
    assert max(support) < frames // 2 <= min(test)
    assert support[0] == 0
    assert test[-1] == frames - 1


@given(lengths, counts)
def test_frames_are_evenly_spaced_ascending_and_as_many_as_asked(frames, count):
    chosen = protocol.evenly_spaced(0, frames - 1, count, np.ones(frames, bool))
    assert len(chosen) == min(count, frames)
    gaps = np.diff(chosen)
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


@given(st.lists(st.booleans(), min_size=8, max_size=200), counts)
def test_frames_without_a_face_are_left_out_and_not_replaced(found, count):
    ok = np.array(found)
    everything = protocol.evenly_spaced(0, len(ok) - 1, count, np.ones(len(ok), bool))
    assert protocol.evenly_spaced(0, len(ok) - 1, count, ok) == tuple(
        index for index in everything if ok[index]
    )


@given(st.lists(st.integers(0, 100), min_size=4, max_size=50))
def test_one_shot_is_the_most_frontal_frame_of_the_first_half(nose_x):
    positions = np.array(nose_x, np.float32)
    ok, half = np.ones(len(positions), bool), len(positions) // 2
    (chosen,) = protocol.support_indices(landmarks_of(positions), ok, 1)
    assert chosen < half
    off_middle = np.abs(positions[:half] - 50)
    assert off_middle[chosen] == off_middle.min()


@given(lengths, st.integers(0, 2**32 - 1))
def test_the_choice_is_deterministic(frames, seed):
    def choice():
        generator = np.random.default_rng(seed)
        ok = generator.random(frames) > 0.2
        ok[[0, -1]] = True
        landmarks = landmarks_of(generator.random(frames) * 100)
        shots = [protocol.support_indices(landmarks, ok, count) for count in (1, 8, 32)]
        return shots, protocol.test_indices(ok, 32)

    assert choice() == choice()


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40, unique=True), st.integers(1, 40))
def test_thinning_keeps_order_and_takes_as_many_as_asked(indices, count):
    indices = tuple(sorted(indices))
    thinned = protocol.thinned(indices, count)
    assert len(thinned) == min(count, len(indices))
    assert list(thinned) == sorted(set(thinned))
    assert set(thinned) <= set(indices)


def test_the_frames_of_a_clip_of_448():
    """As the study had them, whose figures are compared with."""
    ok = np.ones(448, bool)
    support = protocol.support_indices(landmarks_of(np.zeros(448)), ok, 8)
    assert support == (0, 32, 64, 96, 127, 159, 191, 223)
    assert protocol.test_indices(ok, 32)[::8] == (224, 282, 339, 397)


@pytest.mark.parametrize(("seen", "half"), [(slice(5, None), "first"), (slice(0, 5), "second")])
def test_a_half_without_a_face_is_said(seen, half):
    ok = np.zeros(10, bool)
    ok[seen] = True
    with pytest.raises(UserError, match=f"the {half} half .* must show a face"):
        protocol.support_indices(landmarks_of(np.zeros(10)), ok, 8)
        protocol.test_indices(ok, 8)
