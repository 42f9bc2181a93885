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

# What the backward blend leaves per splat; w = d loss / d log(alpha), summed over pixels.
(MOMENT_1, MOMENT_X, MOMENT_Y, MOMENT_XX, MOMENT_XY, MOMENT_YY) = range(6)  # sums of w, w dx, ...
MOMENT_COLOR = 6  # and two more
RECORD_COLUMNS = 16  # one vector

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
