"""Rotations and joints inside Numba kernels: the formulas of `geometry` and `skinning`, one code at a
time.

Imported only by kernels: numba is an optional package. Their cached code holds these formulas: after
a change here touch `fused/kernels.py`, `fused/anchor_kernels.py` and `folded_kernels.py` too, or Numba
keeps the old ones.
"""

from __future__ import annotations

import math
from typing import no_type_check  # the tests' shape checker must leave kernels unwrapped

from numba import njit


@njit(inline="always")
@no_type_check
def quaternion_to_matrix(w, x, y, z, matrix):
    """Fills `matrix` [3, 3 or more], as `geometry.quaternion_to_matrix`."""
    matrix[0, 0], matrix[0, 1] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z)
    matrix[0, 2], matrix[1, 0] = 2 * (x * z + w * y), 2 * (x * y + w * z)
    matrix[1, 1], matrix[1, 2] = 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    matrix[2, 0], matrix[2, 1] = 2 * (x * z - w * y), 2 * (y * z + w * x)
    matrix[2, 2] = 1 - 2 * (x * x + y * y)


@njit(inline="always")
@no_type_check
def rotation_vector_to_quaternion(x, y, z):
    """As `geometry.rotation_vector_to_quaternion`."""
    half_angle_squared = (x * x + y * y + z * z) / 4
    if half_angle_squared < 1e-6:
        sinc, cosine = 1 - half_angle_squared / 6, 1 - half_angle_squared / 2
    else:
        half_angle = math.sqrt(half_angle_squared)
        sinc, cosine = math.sin(half_angle) / half_angle, math.cos(half_angle)
    return cosine, x * sinc / 2, y * sinc / 2, z * sinc / 2


@njit(inline="always")
@no_type_check
def half_inverse(w, x, y, z):
    """Half of the inverse rotation: conjugate(quaternion_power(q, 0.5))."""
    if w < 0:
        w, x, y, z = -w, -x, -y, -z
    sine = math.sqrt(x * x + y * y + z * z)
    factor = 1.0 if sine < 1e-6 else math.atan2(sine, w) / sine  # half the angle over the sine
    return rotation_vector_to_quaternion(-factor * x, -factor * y, -factor * z)


@njit(cache=True, error_model="numpy")
@no_type_check
def rotate_about(parent, rotation, pivot, moved):
    """`skinning._rotate_about`: `moved` [3, 4] = `parent` [3, 4] after a rotation about `pivot`."""
    for row in range(3):
        for column in range(3):
            total = 0.0
            for k in range(3):
                total += parent[row, k] * rotation[k, column]
            moved[row, column] = total
    for row in range(3):
        total = parent[row, 3]
        for k in range(3):
            total += (parent[row, k] - moved[row, k]) * pivot[k]
        moved[row, 3] = total


@njit(inline="always")
@no_type_check
def combine(coefficients, combinations, amounts, weights):
    """`skinning.shape_weights`: adds what two coefficients do together to `weights`, copies of them."""
    for c in range(len(combinations)):
        i, j, k = combinations[c, 0], combinations[c, 1], combinations[c, 2]
        if max(i, j) < len(coefficients):
            weights[k] += amounts[c] * coefficients[i] * coefficients[j]
