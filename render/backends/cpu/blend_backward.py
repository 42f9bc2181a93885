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
from numba import njit, types
from numba.extending import intrinsic

from avatar3d.numba_tickets import take_ticket
from render.backends.cpu.intrinsics import lowest_bit
from render.backends.cpu.layout import (
    BLOCK_PX,
    BLOCKS,
    FASTMATH,
    LOG2_ALPHA_THRESHOLD,
    MAX_ALPHA,
    MOMENT_COLOR,
    RECORD_COLUMNS,
    SPLAT_A,
    SPLAT_B,
    SPLAT_C,
    SPLAT_POWER,
    SPLAT_X,
    SPLAT_Y,
    TILE_PX,
    TRANSMITTANCE_THRESHOLD,
)
from render.backends.cpu.vector import (
    EXP2_CONSTANTS,
    FLOATS,
    INT32,
    INT64,
    LANES,
    Lanes,
    array_pointer,
    int64,
)

_F = np.float32
# Rows of a block's state: pixel centres in the tile, transmittance (its sign bit: done), what is
# still to come, and the gradient of the three channels.
_X, _Y, _T, _S, _GRADIENT = range(5)
_STATE_ROWS = 8  # and one more, so that a block's place is a shift
_BLOCK_STATE = _STATE_ROWS * LANES
# Sums per splat, in the order of layout.MOMENT_*: six moments and three colours.
_SUMS = RECORD_COLUMNS
# Splats that are fetched together, so that the memory's latency overlaps, and walked before the
# next look at which blocks are done.
_CHUNK = 32
_GATHERED = 1024  # splats of one task of `gather`
# Mean about the tile's corner, A, B, C, POWER, colour.
_PACKED_COLUMNS = 12
_HELD = (
    *EXP2_CONSTANTS, -1.0,
    float(LOG2_ALPHA_THRESHOLD), float(MAX_ALPHA), float(TRANSMITTANCE_THRESHOLD),
)  # fmt: skip
# What `blend_backward` gets as its last argument: see `Lanes.hold`.
HELD = np.array(_HELD, np.float32)


@intrinsic
def _blend_splats_backward(typing_context, state, count, packed, masks, slots, records, held):
    """Walk the blocks in masks[j] with the splat packed[j], for the first `count` (> 0) of them;
    write their sums to records[slots[j]]."""

    def generate(context, builder, signature, arguments):
        lanes = Lanes(builder)
        state_, packed_, masks_, slots_, records_, held_ = (
            array_pointer(context, builder, signature.args[k], arguments[k])
            for k in (0, 2, 3, 4, 5, 6)
        )
        count_ = arguments[1]
        lanes.hold(held_, _HELD)
        zero = lanes.constant(0.0)
        before = builder.block
        each = builder.append_basic_block("each")
        entry = builder.append_basic_block("entry")
        loop = builder.append_basic_block("loop")
        done = builder.append_basic_block("done")
        onward = builder.append_basic_block("onward")
        after_all = builder.append_basic_block("after_all")
        builder.branch(each)

        builder.position_at_end(each)
        j = builder.phi(INT64)
        j.add_incoming(int64(0), before)
        slot = builder.load(builder.gep(slots_, [j]))
        record = builder.mul(slot, int64(RECORD_COLUMNS))
        first_mask = builder.load(builder.gep(masks_, [j]))
        reached = builder.icmp_signed("!=", first_mask, ir.Constant(INT32, 0))
        builder.cbranch(reached, entry, onward)

        builder.position_at_end(entry)
        place = builder.mul(j, int64(_PACKED_COLUMNS))
        mean_x, mean_y, a, b, c, power0, *rgb = (
            lanes.load_splat(packed_, builder.add(place, int64(k))) for k in range(9)
        )
        one = lanes.constant(1.0)
        builder.branch(loop)

        builder.position_at_end(loop)
        mask_ = builder.phi(INT32)
        mask_.add_incoming(first_mask, entry)
        sums = [builder.phi(FLOATS) for _ in range(_SUMS)]
        for phi in sums:
            phi.add_incoming(zero, entry)
        block = builder.zext(builder.cttz(mask_, ir.Constant(ir.IntType(1), 1)), INT64)
        rest = builder.and_(mask_, builder.sub(mask_, ir.Constant(INT32, 1)))
        base = builder.mul(block, int64(_BLOCK_STATE))

        def row(k):
            return builder.add(base, int64(k * LANES))

        dx = builder.fsub(lanes.load(state_, row(_X)), mean_x)
        dy = builder.fsub(lanes.load(state_, row(_Y)), mean_y)
        slope = lanes.multiply_add(b, dy, builder.fmul(a, dx))
        power = lanes.multiply_add(lanes.negate(slope), dx, power0)
        power = lanes.multiply_add(lanes.negate(builder.fmul(c, dy)), dy, power)
        (unclamped,) = lanes.exp2([power])
        hit = builder.fcmp_ordered(">=", power, lanes.constant(LOG2_ALPHA_THRESHOLD))
        # Nothing is drawn, and nothing changes, where alpha is 0.
        alpha = builder.select(hit, lanes.minimum(unclamped, lanes.constant(MAX_ALPHA)), zero)
        through = builder.fsub(one, alpha)
        transmittance = lanes.load(state_, row(_T))
        after = builder.fmul(through, transmittance)
        enough = builder.fcmp_ordered(">", after, lanes.constant(TRANSMITTANCE_THRESHOLD))
        lanes.store(builder.select(enough, after, lanes.constant(-1.0)), state_, row(_T))

        weight = builder.select(enough, builder.fmul(alpha, transmittance), zero)
        gradient = [lanes.load(state_, row(_GRADIENT + k)) for k in range(3)]
        shade = builder.fmul(rgb[2], gradient[2])
        for k in (1, 0):
            shade = lanes.multiply_add(rgb[k], gradient[k], shade)
        own = builder.fmul(weight, shade)
        behind = builder.fsub(lanes.load(state_, row(_S)), own)
        lanes.store(behind, state_, row(_S))
        # w is alpha times the gradient by alpha, which is T * shade - behind / (1 - alpha).
        w = lanes.multiply_add(lanes.negate(behind), builder.fdiv(alpha, through), own)
        free = builder.fcmp_ordered("<=", unclamped, lanes.constant(MAX_ALPHA))
        w = builder.select(builder.and_(enough, free), w, zero)
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
        mask_.add_incoming(rest, builder.block)
        for phi, value in zip(sums, new_sums):
            phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_signed("!=", rest, ir.Constant(INT32, 0)), loop, done)

        builder.position_at_end(done)
        total = lanes.sum_each(new_sums)
        builder.branch(onward)

        builder.position_at_end(onward)
        result = builder.phi(FLOATS)
        result.add_incoming(zero, each)
        result.add_incoming(total, done)
        half = LANES // 2
        lanes.store_any(lanes.part(result, 0, half), records_, record)
        for k in range(half, _SUMS):
            lane = builder.extract_element(result, ir.Constant(INT32, k))
            builder.store(lane, builder.gep(records_, [builder.add(record, int64(k))]))
        next_j = builder.add(j, int64(1))
        j.add_incoming(next_j, onward)
        builder.cbranch(builder.icmp_signed("<", next_j, count_), each, after_all)

        builder.position_at_end(after_all)
        return ir.Constant(INT32, 0)

    signature = types.int32(state, types.int64, packed, masks, slots, records, held)
    return signature, generate


@intrinsic
def _block_done(typing_context, state, block):
    """1 if every pixel of the block is done."""

    def generate(context, builder, signature, arguments):
        lanes = Lanes(builder)
        base = array_pointer(context, builder, signature.args[0], arguments[0])
        row = builder.add(builder.mul(arguments[1], int64(_BLOCK_STATE)), int64(_T * LANES))
        return builder.zext(lanes.all_negative(lanes.load(base, row)), INT32)

    return types.int32(state, types.int64), generate


@intrinsic
def _load_block(
    typing_context, state, block, pixel, width, image, alpha, d_image, d_alpha, d_pixel, d_width
):
    """A whole block's gradients, and what is to come: image . d_image - (1 - alpha) d_alpha. The
    block's place in d_alpha has names of its own, for one that is smaller than the picture."""

    def generate(context, builder, signature, arguments):
        lanes = Lanes(builder)
        state_, image_, alpha_, d_image_, d_alpha_ = (
            array_pointer(context, builder, signature.args[k], arguments[k])
            for k in (0, 4, 5, 6, 7)
        )
        base = builder.mul(arguments[1], int64(_BLOCK_STATE))
        pixel_, width_ = arguments[2], arguments[3]
        starts = [builder.add(pixel_, builder.mul(width_, int64(line))) for line in range(BLOCK_PX)]
        triple = [builder.mul(start, int64(3)) for start in starts]
        through = builder.fsub(lanes.load_lines(alpha_, starts), lanes.constant(1.0))
        d_pixel_, d_width_ = arguments[8], arguments[9]
        d_starts = [
            builder.add(d_pixel_, builder.mul(d_width_, int64(line))) for line in range(BLOCK_PX)
        ]
        to_come = builder.fmul(through, lanes.load_lines(d_alpha_, d_starts))
        gradients = lanes.load_lines_of_three(d_image_, triple)
        for channel, color in enumerate(lanes.load_lines_of_three(image_, triple)):
            to_come = lanes.multiply_add(color, gradients[channel], to_come)
            row = builder.add(base, int64((_GRADIENT + channel) * LANES))
            lanes.store(gradients[channel], state_, row)
        lanes.store(to_come, state_, builder.add(base, int64(_S * LANES)))
        return ir.Constant(INT32, 0)

    signature = types.int32(
        state, types.int64, types.int64, types.int64, image, alpha, d_image, d_alpha,
        types.int64, types.int64,
    )  # fmt: skip
    return signature, generate


@njit(cache=True)
def _place_pixels(state):
    """Pixel centres, the same in every tile; and behind the last block one whose pixels are done,
    to fill up a turn."""
    for k in range(LANES):
        state[BLOCKS * _BLOCK_STATE + _T * LANES + k] = _F(-1)
    for block in range(BLOCKS):
        for k in range(LANES):
            x, y = BLOCK_PX * (block % 4) + k % BLOCK_PX, BLOCK_PX * (block // 4) + k // BLOCK_PX
            state[block * _BLOCK_STATE + _X * LANES + k] = _F(x) + _F(0.5)
            state[block * _BLOCK_STATE + _Y * LANES + k] = _F(y) + _F(0.5)


@njit(cache=True)
def _begin_backward(left, top, image, alpha, d_image, d_alpha, part, part_alpha, state):
    """Fill the tile's state; `part` [2, 16, 16, 3] and `part_alpha` [2, 16, 16] are scratch for
    what a tile at the picture's edge has of it, and part_alpha[1] is zero where d_alpha, [0, 0], is
    not given. Returns which blocks are alive."""
    height, width = alpha.shape
    whole = left + TILE_PX <= width and top + TILE_PX <= height
    given = len(d_alpha) > 0
    if not whole:
        part[:] = _F(0)
        part_alpha[:] = _F(0)
        for y in range(min(TILE_PX, height - top)):
            for x in range(min(TILE_PX, width - left)):
                for channel in range(3):
                    part[0, y, x, channel] = image[top + y, left + x, channel]
                    part[1, y, x, channel] = d_image[top + y, left + x, channel]
                part_alpha[0, y, x] = alpha[top + y, left + x]
                if given:
                    part_alpha[1, y, x] = d_alpha[top + y, left + x]
    alive = 0
    for block in range(BLOCKS):
        x0, y0 = BLOCK_PX * (block % 4), BLOCK_PX * (block // 4)
        if whole:
            pixel = (top + y0) * width + left + x0
            if given:
                _load_block(
                    state, block, pixel, width, image, alpha, d_image, d_alpha, pixel, width
                )
            else:
                _load_block(
                    state, block, pixel, width, image, alpha, d_image, part_alpha[1], 0, TILE_PX
                )
        else:
            pixel = y0 * TILE_PX + x0
            _load_block(
                state, block, pixel, TILE_PX,
                part[0], part_alpha[0], part[1], part_alpha[1], pixel, TILE_PX,
            )  # fmt: skip
        if left + x0 < width and top + y0 < height:
            alive |= 1 << block
        for k in range(LANES):
            inside = whole or (
                left + x0 + k % BLOCK_PX < width and top + y0 + k // BLOCK_PX < height
            )
            state[block * _BLOCK_STATE + _T * LANES + k] = _F(1) if inside else _F(-1)
    return alive


@njit(cache=True, nogil=True)
def blend_backward(
    tickets, splats, colors, starts, splat_ids, entry_masks, tile_boxes, first_slots,
    image, alpha, d_image, d_alpha, records, held,
):  # fmt: skip
    """Fill records, one per (splat, tile); `image` contains the background; an empty d_alpha is 0."""
    tiles_x = (alpha.shape[1] + TILE_PX - 1) // TILE_PX
    space = np.zeros((BLOCKS + 1) * _BLOCK_STATE + LANES, np.float32)
    state = space[(-space.ctypes.data // 4) % LANES :]
    packed = np.empty((_CHUNK, _PACKED_COLUMNS), np.float32)
    masks, slots = np.empty(_CHUNK, np.int32), np.empty(_CHUNK, np.int64)
    part = np.empty((2, TILE_PX, TILE_PX, 3), np.float32)
    part_alpha = np.zeros((2, TILE_PX, TILE_PX), np.float32)
    _place_pixels(state)
    tile = take_ticket(tickets)
    while tile < len(starts) - 1:
        first, end = starts[tile], starts[tile + 1]
        tile_x, tile_y = tile % tiles_x, tile // tiles_x
        left, top = tile_x * TILE_PX, tile_y * TILE_PX
        alive = 0
        if first < end:
            alive = _begin_backward(
                left, top, image, alpha, d_image, d_alpha, part, part_alpha, state
            )
        for begin in range(first, end, _CHUNK):
            count = min(_CHUNK, end - begin)
            for j in range(count):
                i = splat_ids[begin + j]
                masks[j] = np.int32(alive) & np.int32(entry_masks[begin + j])
                columns = tile_boxes[i, 1] - tile_boxes[i, 0]
                place = (tile_y - tile_boxes[i, 2]) * columns + tile_x - tile_boxes[i, 0]
                slots[j] = first_slots[i] + place
                packed[j, 0] = splats[i, SPLAT_X] - _F(left)
                packed[j, 1] = splats[i, SPLAT_Y] - _F(top)
                packed[j, 2] = splats[i, SPLAT_A]
                packed[j, 3] = splats[i, SPLAT_B]
                packed[j, 4] = splats[i, SPLAT_C]
                packed[j, 5] = splats[i, SPLAT_POWER]
                packed[j, 6] = colors[i, 0]
                packed[j, 7] = colors[i, 1]
                packed[j, 8] = colors[i, 2]
            _blend_splats_backward(state, count, packed, masks, slots, records, held)
            waiting = np.int32(alive)
            while waiting != 0:
                block = lowest_bit(waiting)
                waiting &= waiting - np.int32(1)
                if _block_done(state, block) != 0:
                    alive &= ~(1 << block)
        tile = take_ticket(tickets)


@njit(cache=True, nogil=True, fastmath=FASTMATH, error_model="numpy")
def gather(tickets, records, first_slots, moments, d_colors):
    """Sum each splat's records: add to moments [N, 6], write d_colors [N, 3]."""
    count = len(moments)
    chunk = take_ticket(tickets)
    while chunk * _GATHERED < count:
        for i in range(chunk * _GATHERED, min(count, (chunk + 1) * _GATHERED)):
            for k in range(3):
                d_colors[i, k] = _F(0)
            for slot in range(first_slots[i], first_slots[i + 1]):
                for k in range(MOMENT_COLOR):
                    moments[i, k] += records[slot, k]
                for k in range(3):
                    d_colors[i, k] += records[slot, MOMENT_COLOR + k]
        chunk = take_ticket(tickets)
