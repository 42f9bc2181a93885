"""The arrays that the kernels share: what each column holds, and the sizes of tiles and blocks."""

from __future__ import annotations

import numpy as np

from render.backends import base

TILE_PX = 16  # a task: its splats are listed once
BLOCK_PX = 4  # a vector: 4 x 4 pixels
BLOCKS = 16  # of one tile

# A splat: alpha at a pixel is 2^(POWER - A dx^2 - B dx dy - C dy^2), d = pixel - mean in px.
SPLAT_X, SPLAT_Y, SPLAT_A, SPLAT_B, SPLAT_C, SPLAT_POWER = range(6)
SPLAT_COLUMNS = 8

# A tile draws its splats in chunks, laid out as rows of one value each, so that vectors run over the
# splats; few enough that the rows stay in the first-level cache. About the tile's centre: the mean,
# px; the splat's A, B, C and POWER; log2(alpha)'s coefficients of 1, x, y, x^2, xy, y^2; colour.
TILE_CHUNK = 256
ROW_STRIDE = TILE_CHUNK + 16  # the vector behind the last splat holds one that reaches nothing
(ROW_X, ROW_Y, ROW_A, ROW_B, ROW_C, ROW_POWER) = range(6)
ROW_POLYNOMIAL = 6  # and five more
ROW_COLOR = 12  # and two more
TILE_ROWS = 15

# What the backward blend leaves per splat; w = d loss / d log(alpha), summed over pixels.
(MOMENT_1, MOMENT_X, MOMENT_Y, MOMENT_XX, MOMENT_XY, MOMENT_YY) = range(6)  # sums of w, w dx, ...
MOMENT_COLOR = 6  # and two more
RECORD_COLUMNS = MOMENT_COLOR + 3

INVISIBLE = np.uint32(0xFFFFFFFF)  # depth key of what is not drawn

_F = np.float32
NEAR = _F(base.NEAR_PLANE_M)
ALPHA_THRESHOLD = _F(base.ALPHA_THRESHOLD)
MAX_ALPHA = _F(base.MAX_ALPHA)
LOG2_ALPHA_THRESHOLD = _F(np.log2(base.ALPHA_THRESHOLD))
TRANSMITTANCE_THRESHOLD = _F(base.TRANSMITTANCE_THRESHOLD)
DILATION = _F(base.DILATION_PX2)
FRUSTUM_MARGIN = _F(base.FRUSTUM_MARGIN)
MIN_COMPENSATION_SQUARED = _F(base.MIN_COMPENSATION_SQUARED)
MAX_EXTENT = _F(base.MAX_EXTENT_PX)
MIN_SQUARED_LENGTH = _F(base.MIN_QUATERNION_LENGTH**2)
MAX_SQUARED_LENGTH = _F(base.MAX_QUATERNION_LENGTH**2)

# NaN and infinity keep their meaning, so that bad input can be dropped.
FASTMATH = {"contract", "arcp", "nsz", "reassoc"}
