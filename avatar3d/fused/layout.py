"""The arrays that the kernels read: one person's mesh, and the look at the anchors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# A vertex's surface: position, summed normal, summed tangent; 64 bytes, so that a row touches as
# few cache lines as can be.
SURFACE_COLUMNS = 16
# Anchors are computed in blocks: every value of a block is one row of BLOCK numbers, so that the
# arithmetic runs in vectors over the anchors. Small enough for the first-level cache.
BLOCK = 128
# Rows of a block's fixed values: what does not change with the code.
(
    FIXED_BARYCENTRIC, FIXED_QUATERNION, FIXED_SCALE, FIXED_TANGENT, FIXED_AREA, FIXED_LIT,
) = 0, 3, 7, 10, 11, 12  # fmt: skip
FIXED_ROWS = 13
# Rows that an expression basis adds to: offset and colour.
BASIS_ROWS = 6
# Rows of a block's scratch. Results stand where they can be copied out in one piece.
(
    ROW_OFFSET, ROW_COLOR, ROW_POSITION, ROW_NORMAL, ROW_TANGENT, ROW_QUATERNION, ROW_SCALE,
) = 0, 3, 6, 9, 12, 15, 19  # fmt: skip
SCRATCH_ROWS = 22


class Pose(NamedTuple):
    """An expression code, float32."""

    coefficients: np.ndarray  # [any]
    head_rotation: np.ndarray  # [4] wxyz
    head_translation: np.ndarray  # [3] metres
    neck_rotation: np.ndarray  # [4] wxyz


class Mesh(NamedTuple):
    """One person's vertices and what moves them; float32, indices uint32.

    Unsigned, because Numba would test a signed index for counting from the end.
    """

    joints: np.ndarray  # [J, 3] metres
    joint_drive: np.ndarray  # [E, J, 3] radians at coefficient 1
    combinations: np.ndarray  # [C, 3]: two coefficients and the shape that they act on
    combination_amounts: np.ndarray  # [C]
    neutral: np.ndarray  # [V, 3] metres
    shape_starts: np.ndarray  # [V + 1]: where a vertex's rows of the next two begin
    shape_index: np.ndarray  # [S] which coefficient moves it
    shape_offsets: np.ndarray  # [S, 3] metres at coefficient 1
    skin_weights: np.ndarray  # [V, J]
    ring_starts: np.ndarray  # [V + 1]: where a vertex's rows of the next two begin
    ring: np.ndarray  # [R, 2] the other corners of a triangle around it, in its order
    ring_weights: np.ndarray  # [R, 2] of the edges to them in the triangle's tangent


class Look(NamedTuple):
    """What stands at the anchors; float32, indices uint32. B blocks; the last is filled with zeros."""

    corners: np.ndarray  # [N, 3] vertices of the anchor's triangle
    fixed: np.ndarray  # [B, FIXED_ROWS * BLOCK]
    base: np.ndarray  # [B, BASIS_ROWS * BLOCK]
    basis_mean: np.ndarray  # [E]
    basis_projection: np.ndarray  # [E, K]; K = 0 without a basis
    basis_limits: np.ndarray  # [2, K]
    basis: np.ndarray  # [K, B, BASIS_ROWS * BLOCK]
    light: np.ndarray  # [9, 3]


class Posed(NamedTuple):
    """What the kernels fill: `Gaussians` but for the opacities, which no code changes."""

    means: np.ndarray  # [N, 3] metres, world
    quaternions: np.ndarray  # [N, 4] wxyz
    scales: np.ndarray  # [N, 3] metres
    colors: np.ndarray  # [N, 3]
