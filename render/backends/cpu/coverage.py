"""Which 4 x 4 blocks of a tile a splat reaches, tested exactly and all sixteen at once."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from render.backends.cpu.layout import BLOCK_PX, BLOCKS, LOG2_ALPHA_THRESHOLD
from render.backends.cpu.vector import FLOAT, Lanes

# Lets rounding err on the side of drawing: a block too many costs time, one too few a gap.
_SLACK = np.float32(1e-4)


@intrinsic
def covered_blocks(typing_context, x, y, a, b, c, power):
    """Bit mask (int32) of the blocks where alpha reaches the threshold.

    x, y: the mean relative to the tile's corner, px. The quadratic form is smallest over a box on
    the two edges that face the mean (or at the mean itself): clamp one coordinate, minimise over
    the other.
    """

    def generate(context, builder, signature, arguments):
        lanes = Lanes(builder)
        x, y, a, b, c, power = arguments
        left = lanes.constant([BLOCK_PX * (k % 4) + 0.5 for k in range(BLOCKS)])
        top = lanes.constant([BLOCK_PX * (k // 4) + 0.5 for k in range(BLOCKS)])
        extent = lanes.constant(BLOCK_PX - 1.0)
        zero = lanes.constant(0.0)
        x0, y0 = builder.fsub(left, lanes.splat(x)), builder.fsub(top, lanes.splat(y))
        x1, y1 = builder.fadd(x0, extent), builder.fadd(y0, extent)

        def clamp(value, low, high):
            return lanes.minimum(lanes.maximum(value, low), high)

        near_x, near_y = clamp(zero, x0, x1), clamp(zero, y0, y1)
        half_b = builder.fmul(b, ir.Constant(FLOAT, -0.5))
        best_y = builder.fmul(near_x, lanes.splat(builder.fdiv(half_b, c)))
        best_x = builder.fmul(near_y, lanes.splat(builder.fdiv(half_b, a)))
        a_, b_, c_ = lanes.splat(a), lanes.splat(b), lanes.splat(c)

        def form(u, v):
            inner = lanes.multiply_add(a_, u, builder.fmul(b_, v))
            return lanes.multiply_add(u, inner, builder.fmul(c_, builder.fmul(v, v)))

        smallest = lanes.minimum(
            form(near_x, clamp(best_y, y0, y1)), form(clamp(best_x, x0, x1), near_y)
        )
        limit = builder.fsub(power, ir.Constant(FLOAT, float(LOG2_ALPHA_THRESHOLD - _SLACK)))
        return lanes.mask_bits(builder.fcmp_ordered("<=", smallest, lanes.splat(limit)))

    return types.int32(*[types.float32] * 6), generate
