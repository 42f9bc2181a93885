"""Hypothesis strategies for rotations and poses, float64 where laws are to hold to the last digits."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st
from torch import Tensor

from avatar3d.geometry import rotation_vector_to_quaternion


@st.composite
def rotation_vectors(draw, greatest: float = math.pi, dtype: torch.dtype = torch.float64) -> Tensor:
    """Axis times angle [3], the angle often next to nothing and next to `greatest`."""
    azimuth = draw(st.floats(0, 2 * math.pi))
    height = draw(st.floats(-1, 1))
    edge = st.sampled_from([0.0, 1e-12, 1e-7, 1e-4, greatest - 1e-4, greatest - 1e-7, greatest])
    angle = draw(st.floats(0, greatest) | edge)
    ring = math.sqrt(1 - height**2)
    axis = [ring * math.cos(azimuth), height, ring * math.sin(azimuth)]
    return angle * torch.tensor(axis, dtype=dtype)


def quaternions(dtype: torch.dtype = torch.float64) -> st.SearchStrategy[Tensor]:
    """Unit quaternions [4] of both signs."""
    return st.builds(
        lambda vector, sign: sign * rotation_vector_to_quaternion(vector),
        rotation_vectors(dtype=dtype),
        st.sampled_from([1.0, -1.0]),
    )


def vectors(greatest: float = 2.0) -> st.SearchStrategy[Tensor]:
    return st.lists(st.floats(-greatest, greatest), min_size=3, max_size=3).map(
        lambda values: torch.tensor(values, dtype=torch.float64)
    )
