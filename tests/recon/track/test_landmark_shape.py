"""Landmarks from moments against the head's own skinning, and derivatives against differences."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d.codes import ExpressionCode
from avatar3d.heads import load_head
from recon.track.landmark_shape import build_landmark_shape
from recon.track.rotation import left_jacobian, rotation_matrix, rotation_vector

HEAD = load_head("default")
SHAPE = build_landmark_shape(HEAD, 0.0)


def _random(seed: int, frames: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=HEAD.identity_count), rng.uniform(size=(frames, HEAD.expression_count))


def test_positions_are_those_of_the_head_model() -> None:
    identity, codes = _random(0)
    code = ExpressionCode.neutral(2)._replace(coefficients=torch.from_numpy(codes).float())
    truth = HEAD.landmarks(torch.from_numpy(identity).float(), code).numpy()
    # Neck and bust count as skull here, which a straight neck does not tell apart.
    np.testing.assert_allclose(SHAPE.of_person(identity).points(codes), truth, atol=1e-6)


def test_derivatives_by_code_and_identity() -> None:
    identity, codes = _random(1)
    person = SHAPE.of_person(identity)
    step = 1e-6
    for name in (0, 3, 17, 20):
        moved = codes.copy()
        moved[:, name] += step
        moved_back = codes.copy()
        moved_back[:, name] -= step
        slope = (person.points(moved) - person.points(moved_back)) / (2 * step)
        np.testing.assert_allclose(person.derivative_by_code(codes)[..., name], slope, atol=1e-8)
    by_identity = SHAPE.derivative_by_identity(codes)
    for mode in (0, HEAD.identity_count - 1):
        moved = identity.copy()
        moved[mode] += 1.0
        slope = SHAPE.of_person(moved).points(codes) - person.points(codes)
        np.testing.assert_allclose(by_identity[..., mode], slope, atol=1e-12)


vectors = st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3).map(np.array)


@settings(max_examples=50, deadline=None)
@given(vectors)
def test_rotation_vector_is_the_inverse_of_the_exponential(vector: np.ndarray) -> None:
    np.testing.assert_allclose(rotation_vector(rotation_matrix(vector)), vector, atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(vectors, vectors)
def test_left_jacobian(vector: np.ndarray, direction: np.ndarray) -> None:
    small = 1e-6 * direction
    moved = rotation_matrix(left_jacobian(vector) @ small) @ rotation_matrix(vector)
    np.testing.assert_allclose(moved, rotation_matrix(vector + small), atol=1e-10)
