"""Rotations obey the laws of rotations, and gradients exist where formulas divide by nothing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from avatar3d.geometry import (
    matrix_to_quaternion,
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_power,
    quaternion_to_matrix,
    quaternion_to_rotation_vector,
    rotate,
    rotation_vector_to_quaternion,
    triangle_normals,
    vertex_normals,
)
from tests.support.rotations import quaternions, rotation_vectors, vectors

IDENTITY = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)


def close(a: Tensor, b: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


def same_rotation(a: Tensor, b: Tensor, atol: float = 1e-12) -> None:
    """q and -q are one rotation."""
    close(a * torch.sign((a * b).sum(-1, keepdim=True)), b, atol)


@given(quaternions(), quaternions(), quaternions())
def test_quaternions_are_a_group(a: Tensor, b: Tensor, c: Tensor):
    ab_c = quaternion_multiply(quaternion_multiply(a, b), c)
    close(ab_c, quaternion_multiply(a, quaternion_multiply(b, c)))
    close(quaternion_multiply(a, IDENTITY), a)
    close(quaternion_multiply(IDENTITY, a), a)
    close(quaternion_multiply(a, quaternion_conjugate(a)), IDENTITY)


@given(quaternions(), quaternions())
def test_matrices_multiply_as_quaternions_do(a: Tensor, b: Tensor):
    product = quaternion_to_matrix(a) @ quaternion_to_matrix(b)
    close(quaternion_to_matrix(quaternion_multiply(a, b)), product)


@given(quaternions(), vectors())
def test_matrices_are_rotations(quaternion: Tensor, vector: Tensor):
    matrix = quaternion_to_matrix(quaternion)
    close(matrix @ matrix.T, torch.eye(3, dtype=torch.float64))
    assert float(torch.det(matrix)) == pytest.approx(1.0)
    close(rotate(matrix, vector), matrix @ vector)


@given(quaternions())
def test_matrix_round_trip(quaternion: Tensor):
    again = matrix_to_quaternion(quaternion_to_matrix(quaternion))
    assert again[0] >= 0
    # Half a turn loses half the digits of w, whichever formula is used.
    same_rotation(again, quaternion, 1e-7)


@given(rotation_vectors(greatest=math.pi - 1e-6))
def test_rotation_vector_round_trip(vector: Tensor):
    close(quaternion_to_rotation_vector(rotation_vector_to_quaternion(vector)), vector, 1e-7)


@given(rotation_vectors(greatest=2 * math.pi))
def test_the_exponential_map_is_that_of_matrices(vector: Tensor):
    x, y, z = vector.tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    quaternion = rotation_vector_to_quaternion(vector)
    # The series below h = 1e-3 leaves out terms of h^4 / 24.
    close(quaternion_to_matrix(quaternion), torch.linalg.matrix_exp(cross), 1e-12)


@given(quaternions())
def test_the_logarithm_is_the_shortest_way(quaternion: Tensor):
    vector = quaternion_to_rotation_vector(quaternion)
    assert float(vector.norm()) <= math.pi + 1e-9
    same_rotation(rotation_vector_to_quaternion(vector), quaternion, 1e-7)


@given(rotation_vectors(greatest=math.pi - 1e-3), st.floats(0, 1))
def test_a_power_and_the_rest_make_the_whole(vector: Tensor, exponent: float):
    quaternion = rotation_vector_to_quaternion(vector)
    parts = quaternion_multiply(
        quaternion_power(quaternion, exponent), quaternion_power(quaternion, 1 - exponent)
    )
    same_rotation(parts, quaternion, 1e-7)


AXES = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.6, 0, -0.8]], dtype=torch.float64)
ANGLES = (0.0, 1e-9, 1e-5, 0.3, 1.5, math.pi - 1e-5, math.pi)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", ANGLES)
def test_gradients_are_finite(angle: float, dtype: torch.dtype):
    vector = (angle * AXES).to(dtype).requires_grad_()
    quaternion = rotation_vector_to_quaternion(vector)
    matrix = quaternion_to_matrix(quaternion)
    for value in (
        quaternion,
        quaternion_to_rotation_vector(quaternion),
        quaternion_power(quaternion, 0.5),
        matrix_to_quaternion(matrix),
    ):
        (gradient,) = torch.autograd.grad(value.sum(), vector, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 10


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.3, 1.5, 3.0])
def test_gradients_are_those_of_finite_differences(angle: float):
    vector = (angle * AXES + 1e-3).requires_grad_()
    assert gradcheck(rotation_vector_to_quaternion, (vector,))
    assert gradcheck(
        lambda v: matrix_to_quaternion(quaternion_to_matrix(rotation_vector_to_quaternion(v))),
        (vector,),
    )
    assert gradcheck(
        lambda v: quaternion_to_rotation_vector(rotation_vector_to_quaternion(v)), (vector,)
    )


def test_batches_are_rows():
    vectors_ = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    quaternion = rotation_vector_to_quaternion(vectors_)
    assert quaternion.shape == (2, 5, 4)
    matrix = quaternion_to_matrix(quaternion)
    assert matrix.shape == (2, 5, 3, 3)
    close(matrix[1, 3], quaternion_to_matrix(rotation_vector_to_quaternion(vectors_[1, 3])), 1e-6)


@pytest.mark.parametrize("function", ["multiply", "matrix"])
def test_few_rotations_are_computed_as_many_are(function: str):
    """Few take a matrix product, many their components one by one: the same value and gradient."""
    random = torch.Generator().manual_seed(0)
    many = torch.randn(500, 4, dtype=torch.float64, generator=random, requires_grad=True)
    other = torch.randn(500, 4, dtype=torch.float64, generator=random, requires_grad=True)

    def computed(a: Tensor, b: Tensor) -> Tensor:
        return quaternion_multiply(a, b) if function == "multiply" else quaternion_to_matrix(a)

    whole, rows = computed(many, other), [computed(a, b) for a, b in zip(many, other)]
    close(torch.stack(rows), whole)
    weights = torch.randn(whole.shape, dtype=torch.float64, generator=random)
    (expected,) = torch.autograd.grad(whole, many, weights, retain_graph=True)
    (found,) = torch.autograd.grad(torch.stack(rows), many, weights)
    close(found, expected)


@pytest.mark.parametrize("count", [1, 500])
def test_a_product_of_two_precisions_has_the_greater(count: int):
    product = quaternion_multiply(IDENTITY.expand(count, 4), IDENTITY.float().expand(count, 4))
    assert product.dtype == torch.float64


def test_normals_of_a_tetrahedron_point_outward():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    triangles = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    normals = triangle_normals(vertices, triangles)
    areas = normals.norm(dim=-1) / 2
    close(areas, torch.tensor([0.5, 0.5, 0.5, 3**0.5 / 2]), 1e-6)
    outward = vertices[triangles].mean(1) - vertices.mean(0)
    assert ((normals * outward).sum(-1) > 0).all()
    smooth = vertex_normals(vertices, triangles)
    close(smooth.norm(dim=-1), torch.ones(4), 1e-6)
    assert ((smooth * (vertices - vertices.mean(0))).sum(-1) > 0).all()
