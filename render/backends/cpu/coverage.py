"""Which 4 x 4 blocks of a tile a splat reaches, tested exactly, sixteen splats at once."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from render.backends.cpu.layout import (
    BLOCK_PX,
    LOG2_ALPHA_THRESHOLD,
    ROW_A,
    ROW_B,
    ROW_C,
    ROW_POWER,
    ROW_STRIDE,
    ROW_X,
    ROW_Y,
    TILE_PX,
)
from render.backends.cpu.vector import INT32, INT64, INTS, LANES, Lanes, array_pointer, int64

# Lets rounding err on the side of drawing: a block too many costs time, one too few a gap.
_SLACK = np.float32(1e-4)
# First pixel centre of each column and row of blocks, about the tile's centre.
_FIRST = [start + 0.5 - TILE_PX / 2 for start in range(0, TILE_PX, BLOCK_PX)]


@intrinsic
def covered_blocks(typing_context, rows, first, masks):
    """Fill masks[first : first + 16] with the blocks where alpha reaches the threshold, as bits.

    The quadratic form is smallest over a box on the two edges that face the mean (or at the mean
    itself): clamp one coordinate, minimise over the other. What depends on a column or a row of
    blocks only is computed once for each.
    """

    def generate(context, builder, signature, arguments):
        lanes = Lanes(builder)
        rows_ = array_pointer(context, builder, signature.args[0], arguments[0])
        masks_ = array_pointer(context, builder, signature.args[2], arguments[2])
        first_ = arguments[1]

        def row(index):
            return lanes.load(rows_, builder.add(first_, int64(index * ROW_STRIDE)))

        x, y, a, b, c = (row(index) for index in (ROW_X, ROW_Y, ROW_A, ROW_B, ROW_C))
        limit = builder.fsub(
            row(ROW_POWER), lanes.constant(float(LOG2_ALPHA_THRESHOLD) - float(_SLACK))
        )
        zero, extent = lanes.constant(0.0), lanes.constant(BLOCK_PX - 1.0)
        half_b = builder.fmul(b, lanes.constant(-0.5))

        def clamp(value, low, high):
            return lanes.minimum(lanes.maximum(value, low), high)

        def edges(mean, square, ratio):
            """Per column (or row): its ends, the best other coordinate, two terms of the form."""
            for start in _FIRST:
                low = builder.fsub(lanes.constant(start), mean)
                high = builder.fadd(low, extent)
                near = clamp(zero, low, high)
                best = builder.fmul(near, ratio)
                yield (
                    low,
                    high,
                    best,
                    builder.fmul(b, near),
                    builder.fmul(square, builder.fmul(near, near)),
                )

        columns = list(edges(x, a, builder.fdiv(half_b, c)))
        lines = list(edges(y, c, builder.fdiv(half_b, a)))
        mask = ir.Constant(INTS, [0] * LANES)
        for line, (y0, y1, best_x, by, cyy) in enumerate(lines):
            for column, (x0, x1, best_y, bx, axx) in enumerate(columns):
                v = clamp(best_y, y0, y1)
                upright = lanes.multiply_add(v, lanes.multiply_add(c, v, bx), axx)
                u = clamp(best_x, x0, x1)
                level = lanes.multiply_add(u, lanes.multiply_add(a, u, by), cyy)
                reached = builder.fcmp_ordered("<=", lanes.minimum(upright, level), limit)
                bit = ir.Constant(INTS, [1 << (line * 4 + column)] * LANES)
                mask = builder.select(reached, builder.or_(mask, bit), mask)
        pointer = builder.bitcast(builder.gep(masks_, [first_]), INTS.as_pointer())
        builder.store(mask, pointer, align=4)
        return ir.Constant(INT32, 0)

    return types.int32(rows, types.int64, masks), generate


@intrinsic
def list_block(typing_context, masks, count, block, indices):
    """Write the splats among the first `count` that reach `block` to `indices`, in order; returns
    how many. Both arrays have room for `count` rounded up to 16, and `masks` is zero there."""

    def generate(context, builder, signature, arguments):
        masks_, count_, block_, indices_ = arguments
        masks_ = array_pointer(context, builder, signature.args[0], masks_)
        indices_ = array_pointer(context, builder, signature.args[3], indices_)
        lanes = Lanes(builder)
        bit = lanes.splat_int(builder.shl(ir.Constant(INT32, 1), builder.trunc(block_, INT32)))
        entry = builder.block
        loop = builder.append_basic_block("loop")
        done = builder.append_basic_block("done")
        builder.branch(loop)

        builder.position_at_end(loop)
        first, listed = builder.phi(INT64), builder.phi(INT64)
        names = builder.phi(INTS)
        first.add_incoming(int64(0), entry)
        listed.add_incoming(int64(0), entry)
        names.add_incoming(ir.Constant(INTS, list(range(LANES))), entry)
        mask = builder.load(
            builder.bitcast(builder.gep(masks_, [first]), INTS.as_pointer()), align=4
        )
        zero = ir.Constant(INTS, [0] * LANES)
        reached = builder.icmp_signed("!=", builder.and_(mask, bit), zero)
        pointer = builder.bitcast(builder.gep(indices_, [listed]), INTS.as_pointer())
        builder.store(lanes.compress(names, reached), pointer, align=4)
        found = builder.zext(builder.ctpop(lanes.mask_bits(reached)), INT64)
        next_listed, next_first = builder.add(listed, found), builder.add(first, int64(LANES))
        listed.add_incoming(next_listed, loop)
        first.add_incoming(next_first, loop)
        names.add_incoming(builder.add(names, ir.Constant(INTS, [LANES] * LANES)), loop)
        builder.cbranch(builder.icmp_signed("<", next_first, count_), loop, done)

        builder.position_at_end(done)
        return next_listed

    return types.int64(masks, types.int64, types.int64, indices), generate
