"""Smoothness is the gradient of an energy over neighbours of one part."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recon.fit.neighbours import nearest, neighbours
from recon.fit.regularity import Smoothness
from tests.recon.fit.synthetic import scene


@pytest.fixture(scope="module")
def smoothness() -> Smoothness:
    return Smoothness(scene().template)


@pytest.fixture(scope="module")
def pairs(smoothness: Smoothness) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Who is whose neighbour, and by how much, read off the gradient of unit vectors."""
    count = scene().template.count
    laplacian = smoothness.gradient(torch.eye(count))
    weights = -laplacian + torch.diag(laplacian.diagonal())
    row, column = weights.nonzero(as_tuple=True)
    return row, column, weights[row, column]


def test_it_is_the_gradient_of_half_the_squared_differences(smoothness, pairs):
    row, column, weights = pairs
    values = torch.randn(scene().template.count, 3, generator=torch.Generator().manual_seed(0))
    values.requires_grad_()
    # Every pair is listed from both sides, hence a quarter.
    energy = 0.25 * (weights[:, None] * (values[row] - values[column]).square()).sum()
    (expected,) = torch.autograd.grad(energy, values)
    torch.testing.assert_close(smoothness.gradient(values.detach()), expected, atol=1e-5, rtol=1e-5)
    batch = values.detach().expand(2, -1, -1)
    torch.testing.assert_close(smoothness.gradient(batch)[1], expected, atol=1e-5, rtol=1e-5)


def test_weights_are_symmetric_and_positive(pairs):
    row, column, weights = pairs
    assert (weights > 0).all()
    there = dict(zip(zip(row.tolist(), column.tolist()), weights.tolist()))
    for (a, b), weight in there.items():
        assert there[b, a] == pytest.approx(weight)


def test_parts_do_not_mix(pairs):
    template = scene().template
    row, column, _ = pairs
    assert torch.equal(template.layer[row], template.layer[column])
    apart = [("face", "eyelids"), ("left_eyeball",), ("right_eyeball",), ("upper_teeth",),
             ("lower_teeth",), ("tongue",)]  # fmt: skip
    for names in apart:
        inside = template.is_part(*names)
        assert torch.equal(inside[row], inside[column]), names


def test_what_is_the_same_everywhere_is_smooth(smoothness):
    values = torch.full((scene().template.count, 2), 3.0)
    torch.testing.assert_close(
        smoothness.gradient(values), torch.zeros_like(values), atol=1e-5, rtol=0
    )


def test_neighbours_are_those_of_a_full_search():
    points = np.random.default_rng(0).normal(size=(50, 3))
    queries = points[:7] + 0.1
    full = np.linalg.norm(queries[:, None] - points, axis=2)
    for count in (1, 4):
        distance, index = nearest(points, queries, count)
        assert distance.shape == index.shape == (7, count)
        np.testing.assert_array_equal(index, full.argsort(1)[:, :count])
        np.testing.assert_allclose(distance, np.sort(full, axis=1)[:, :count])
    assert neighbours(points, 5).shape == (50, 5)
    assert not (neighbours(points, 5) == np.arange(50)[:, None]).any()
