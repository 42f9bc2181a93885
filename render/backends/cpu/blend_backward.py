"""Numba kernels: the backward blend, front to back like the forward one.

With S the colour still to come (out . gradient minus what was drawn so far), the gradient by a
splat's alpha is T * (color . gradient) - S / (1 - alpha): no last index and no second list needed.
Each (splat, tile) pair owns a record, and `gather` sums a splat's records in a fixed order, so the
gradients do not depend on the threads.
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (an intrinsic is called without the typing context that its definition takes)

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

from render.backends.cpu.coverage import covered_blocks
from render.backends.cpu.intrinsics import lowest_bit, take_ticket
from render.backends.cpu.layout import (
    BLOCK_PX,
    BLOCKS,
    FASTMATH,
    LOG2_ALPHA_THRESHOLD,
    MAX_ALPHA,
    MOMENT_COLOR,
    SPLAT_A,
    SPLAT_B,
    SPLAT_C,
    SPLAT_POWER,
    SPLAT_X,
    SPLAT_Y,
    TILE_PX,
    TRANSMITTANCE_THRESHOLD,
)
from render.backends.cpu.vector import FLOATS, INT32, INT64, LANES, Lanes, array_pointer, int64

_F = np.float32
# Rows of a block's state: pixel centres in the tile, transmittance (its sign bit: done), what is
# still to come, and the gradient of the three channels.
_X, _Y, _T, _S, _GRADIENT = range(5)
_STATE_ROWS = 7
# Sums per splat, in the order of layout.MOMENT_*: six moments and three colours.
_SUMS = 9
# Splats between two looks at which blocks are done.
_CHECK_EVERY = 16


@intrinsic
def _blend_splat_backward(typing_context, state, mask, splat, color, left, top, record):
    """Walk the blocks in `mask` (not 0) with one splat; write its sums to record[:16]."""

    def generate(context, builder, signature, arguments):
        lanes = Lanes(builder)
        state_, splat_, color_, record_ = (
            array_pointer(context, builder, signature.args[k], arguments[k]) for k in (0, 2, 3, 6)
        )
        first_mask, left_, top_ = arguments[1], arguments[4], arguments[5]

        def column(base, k):
            return builder.load(builder.gep(base, [int64(k)]))

        mean_x = lanes.splat(builder.fsub(column(splat_, SPLAT_X), left_))
        mean_y = lanes.splat(builder.fsub(column(splat_, SPLAT_Y), top_))
        a, b, c, power0 = (
            lanes.splat(column(splat_, k)) for k in (SPLAT_A, SPLAT_B, SPLAT_C, SPLAT_POWER)
        )
        rgb = [lanes.splat(column(color_, k)) for k in range(3)]
        zero, one = lanes.constant(0.0), lanes.constant(1.0)

        entry = builder.block
        loop = builder.append_basic_block("loop")
        done = builder.append_basic_block("done")
        builder.branch(loop)

        builder.position_at_end(loop)
        mask_ = builder.phi(INT32)
        mask_.add_incoming(first_mask, entry)
        sums = [builder.phi(FLOATS) for _ in range(_SUMS)]
        for phi in sums:
            phi.add_incoming(zero, entry)
        block = builder.zext(builder.cttz(mask_, ir.Constant(ir.IntType(1), 1)), INT64)
        base = builder.mul(block, int64(_STATE_ROWS * LANES))

        def row(k):
            return builder.add(base, int64(k * LANES))

        dx = builder.fsub(lanes.load(state_, row(_X)), mean_x)
        dy = builder.fsub(lanes.load(state_, row(_Y)), mean_y)
        slope = lanes.multiply_add(b, dy, builder.fmul(a, dx))
        power = lanes.multiply_add(lanes.negate(slope), dx, power0)
        power = lanes.multiply_add(lanes.negate(builder.fmul(c, dy)), dy, power)
        unclamped = lanes.exp2(power)
        alpha = lanes.minimum(unclamped, lanes.constant(MAX_ALPHA))
        through = builder.fsub(one, alpha)
        transmittance = lanes.load(state_, row(_T))
        after = builder.fmul(through, transmittance)
        hit = builder.fcmp_ordered(">=", power, lanes.constant(LOG2_ALPHA_THRESHOLD))
        enough = builder.fcmp_ordered(">", after, lanes.constant(TRANSMITTANCE_THRESHOLD))
        drawn = builder.and_(hit, enough)
        finished = builder.select(hit, lanes.with_sign_bit(transmittance), transmittance)
        lanes.store(builder.select(drawn, after, finished), state_, row(_T))

        weight = builder.select(drawn, builder.fmul(alpha, transmittance), zero)
        gradient = [lanes.load(state_, row(_GRADIENT + k)) for k in range(3)]
        shade = builder.fmul(rgb[2], gradient[2])
        for k in (1, 0):
            shade = lanes.multiply_add(rgb[k], gradient[k], shade)
        behind = lanes.multiply_add(lanes.negate(weight), shade, lanes.load(state_, row(_S)))
        lanes.store(behind, state_, row(_S))
        by_alpha = lanes.multiply_add(
            lanes.negate(behind), lanes.reciprocal(through), builder.fmul(shade, transmittance)
        )
        free = builder.fcmp_ordered("<=", unclamped, lanes.constant(MAX_ALPHA))
        w = builder.select(builder.and_(drawn, free), builder.fmul(by_alpha, alpha), zero)
        wx, wy = builder.fmul(w, dx), builder.fmul(w, dy)
        new_sums = [
            builder.fadd(sums[0], w),
            builder.fadd(sums[1], wx),
            builder.fadd(sums[2], wy),
            lanes.multiply_add(wx, dx, sums[3]),
            lanes.multiply_add(wx, dy, sums[4]),
            lanes.multiply_add(wy, dy, sums[5]),
        ]
        new_sums += [lanes.multiply_add(weight, gradient[k], sums[6 + k]) for k in range(3)]
        rest = builder.and_(mask_, builder.sub(mask_, ir.Constant(INT32, 1)))
        mask_.add_incoming(rest, builder.block)
        for phi, value in zip(sums, new_sums):
            phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_signed("!=", rest, ir.Constant(INT32, 0)), loop, done)

        builder.position_at_end(done)
        lanes.store(lanes.sum_each(new_sums), record_, int64(0))
        return ir.Constant(INT32, 0)

    signature = types.int32(state, types.int32, splat, color, types.float32, types.float32, record)
    return signature, generate


@intrinsic
def _block_done(typing_context, state, block):
    """1 if every pixel of the block is done."""

    def generate(context, builder, signature, arguments):
        lanes = Lanes(builder)
        base = array_pointer(context, builder, signature.args[0], arguments[0])
        row = builder.add(builder.mul(arguments[1], int64(_STATE_ROWS * LANES)), int64(_T * LANES))
        return builder.zext(lanes.all_negative(lanes.load(base, row)), INT32)

    return types.int32(state, types.int64), generate


@njit(fastmath=FASTMATH, error_model="numpy")
def _blend_tile_backward(
    splats, colors, ids, tile_boxes, first_slots, tile_x, tile_y,
    image, alpha, d_image, d_alpha, records,
):  # fmt: skip
    height, width = alpha.shape
    left, top = tile_x * TILE_PX, tile_y * TILE_PX
    state = np.zeros((BLOCKS, _STATE_ROWS, LANES), np.float32)
    alive = 0
    for block in range(BLOCKS):
        for k in range(LANES):
            tile_px_x = BLOCK_PX * (block % 4) + k % BLOCK_PX
            tile_px_y = BLOCK_PX * (block // 4) + k // BLOCK_PX
            state[block, _X, k] = _F(tile_px_x) + _F(0.5)
            state[block, _Y, k] = _F(tile_px_y) + _F(0.5)
            x, y = left + tile_px_x, top + tile_px_y
            if x < width and y < height:
                alive |= 1 << block
                state[block, _T, k] = _F(1)
                to_come = (alpha[y, x] - _F(1)) * d_alpha[y, x]
                for channel in range(3):
                    gradient = d_image[y, x, channel]
                    state[block, _GRADIENT + channel, k] = gradient
                    to_come += image[y, x, channel] * gradient
                state[block, _S, k] = to_come
            else:
                state[block, _T, k] = _F(-1)
    for position in range(ids.shape[0]):
        i = ids[position]
        splat = splats[i]
        columns = tile_boxes[i, 1] - tile_boxes[i, 0]
        slot = first_slots[i] + (tile_y - tile_boxes[i, 2]) * columns + tile_x - tile_boxes[i, 0]
        mask = np.int32(0)
        if alive != 0:
            mask = np.int32(alive) & covered_blocks(
                splat[SPLAT_X] - _F(left), splat[SPLAT_Y] - _F(top),
                splat[SPLAT_A], splat[SPLAT_B], splat[SPLAT_C], splat[SPLAT_POWER],
            )  # fmt: skip
        if mask == 0:
            records[slot] = _F(0)
        else:
            _blend_splat_backward(state, mask, splat, colors[i], _F(left), _F(top), records[slot])
        if position % _CHECK_EVERY == _CHECK_EVERY - 1:
            waiting = np.int32(alive)
            while waiting != 0:
                block = lowest_bit(waiting)
                waiting &= waiting - np.int32(1)
                if _block_done(state, block) != 0:
                    alive &= ~(1 << block)


@njit(parallel=True, cache=True, fastmath=FASTMATH, error_model="numpy")
def blend_backward(
    splats, colors, starts, splat_ids, tile_boxes, first_slots,
    image, alpha, d_image, d_alpha, records, threads,
):  # fmt: skip
    """Fill records [entries, 16], one per (splat, tile); `image` contains the background."""
    tiles_x = (alpha.shape[1] + TILE_PX - 1) // TILE_PX
    tickets = np.zeros(1, np.int64)
    for _ in prange(threads):
        tile = take_ticket(tickets)
        while tile < starts.shape[0] - 1:
            if starts[tile] < starts[tile + 1]:
                _blend_tile_backward(
                    splats, colors, splat_ids[starts[tile] : starts[tile + 1]], tile_boxes,
                    first_slots, tile % tiles_x, tile // tiles_x,
                    image, alpha, d_image, d_alpha, records,
                )  # fmt: skip
            tile = take_ticket(tickets)


@njit(parallel=True, cache=True, fastmath=FASTMATH, error_model="numpy")
def gather(records, first_slots, moments, d_colors):
    """Sum each splat's records: add to moments [N, 6], write d_colors [N, 3]."""
    for i in prange(moments.shape[0]):
        for k in range(3):
            d_colors[i, k] = _F(0)
        for slot in range(first_slots[i], first_slots[i + 1]):
            for k in range(MOMENT_COLOR):
                moments[i, k] += records[slot, k]
            for k in range(3):
                d_colors[i, k] += records[slot, MOMENT_COLOR + k]
