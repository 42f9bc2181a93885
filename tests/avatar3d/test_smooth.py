"""One smooth step for numbers, arrays and tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avatar3d.smooth import smoothstep

FINITE = st.floats(-10, 10)


@given(FINITE, FINITE, FINITE)
def test_it_is_the_same_for_numbers_arrays_and_tensors(value, low, high):
    if abs(high - low) < 1e-3:
        high = low + 1
    number = smoothstep(value, low, high)
    assert 0 <= number <= 1
    assert smoothstep(np.array([value]), low, high)[0] == number
    tensor = smoothstep(torch.tensor([value], dtype=torch.float64), low, high)
    assert float(tensor) == pytest.approx(number, abs=1e-12)
    # The same way back: symmetric about the middle, and either end may be the greater.
    assert smoothstep(value, high, low) == pytest.approx(1 - number, abs=1e-9)


def test_ends_and_middle():
    assert [smoothstep(at) for at in (-1.0, 0.5, 2.0)] == [0, 0.5, 1]
    slope = [smoothstep(end + 1e-6 * way) - smoothstep(end) for end, way in ((0.0, 1), (1.0, -1))]
    assert max(map(abs, slope)) < 1e-10  # no speed at the ends
