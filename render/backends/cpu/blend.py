"""Numba kernel: the forward blend. One task is a tile, one vector a block of 4 x 4 pixels."""

# pyright: reportCallIssue=false, reportArgumentType=false
# (an intrinsic is called without the typing context that its definition takes)

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from avatar3d.numba_tickets import take_ticket
from render.backends.cpu.coverage import covered_blocks, list_block
from render.backends.cpu.layout import (
    BLOCK_PX,
    BLOCKS,
    FASTMATH,
    LOG2_ALPHA_THRESHOLD,
    MAX_ALPHA,
    ROW_A,
    ROW_B,
    ROW_C,
    ROW_COLOR,
    ROW_POLYNOMIAL,
    ROW_POWER,
    ROW_STRIDE,
    ROW_X,
    ROW_Y,
    SPLAT_A,
    SPLAT_B,
    SPLAT_C,
    SPLAT_POWER,
    SPLAT_X,
    SPLAT_Y,
    TILE_CHUNK,
    TILE_PX,
    TILE_ROWS,
    TRANSMITTANCE_THRESHOLD,
)
from render.backends.cpu.vector import (
    EXP2_CONSTANTS,
    FLOATS,
    INT32,
    INT64,
    LANES,
    SIGN_CONSTANTS,
    Lanes,
    array_pointer,
    int64,
)

_F = np.float32
_TWO = _F(2)
_HALF_TILE = _F(TILE_PX / 2)
_NO_POWER = _F(-1e30)  # of the splat that reaches nothing
_TILE = BLOCKS * LANES  # pixels
_X, _Y, _A, _B, _C, _POWER = (
    row * ROW_STRIDE for row in (ROW_X, ROW_Y, ROW_A, ROW_B, ROW_C, ROW_POWER)
)
_P0, _P1, _P2, _P3, _P4, _P5 = ((ROW_POLYNOMIAL + k) * ROW_STRIDE for k in range(6))
_RED, _GREEN, _BLUE = ((ROW_COLOR + k) * ROW_STRIDE for k in range(3))
# Pixels of a block relative to its corner.
_LANE_X = [k % BLOCK_PX + 0.5 for k in range(LANES)]
_LANE_Y = [k // BLOCK_PX + 0.5 for k in range(LANES)]
_HELD = (
    *EXP2_CONSTANTS, *SIGN_CONSTANTS,
    float(LOG2_ALPHA_THRESHOLD), float(MAX_ALPHA), float(TRANSMITTANCE_THRESHOLD),
)  # fmt: skip
TURN = 4  # splats that one turn of the inner loop draws
# What `blend` gets as its last argument: see `Lanes.hold`.
HELD = np.array(_HELD, np.float32)


@intrinsic
def _blend_block(typing_context, state, block, rows, indices, count, corner_x, corner_y, held):
    """Draw the splats indices[:count] of `rows` into state[block], rows T, R, G, B of 16 pixels
    each. The count is at least 1; up to a whole number of turns, indices of TILE_CHUNK follow.

    The sign bit of T marks a pixel as done; |T| is its transmittance. Returns 1 once all are done.
    """

    def generate(context, builder, signature, arguments):
        state_, block_, rows_, indices_, count_, corner_x_, corner_y_, held_ = arguments
        lanes = Lanes(builder)
        state_ = array_pointer(context, builder, signature.args[0], state_)
        rows_ = array_pointer(context, builder, signature.args[2], rows_)
        indices_ = array_pointer(context, builder, signature.args[3], indices_)
        lanes.hold(array_pointer(context, builder, signature.args[7], held_), _HELD)
        places = [
            builder.add(builder.mul(block_, int64(4 * LANES)), int64(k * LANES)) for k in range(4)
        ]
        x = builder.fadd(lanes.splat(corner_x_), lanes.constant(_LANE_X))
        y = builder.fadd(lanes.splat(corner_y_), lanes.constant(_LANE_Y))
        xx, xy, yy = builder.fmul(x, x), builder.fmul(x, y), builder.fmul(y, y)
        initial = [lanes.load(state_, place) for place in places]

        entry = builder.block
        body = builder.append_basic_block("body")
        onward = builder.append_basic_block("onward")
        done = builder.append_basic_block("done")
        builder.branch(body)

        builder.position_at_end(body)
        k = builder.phi(INT64)
        values = [builder.phi(FLOATS) for _ in range(4)]
        # Step by step for all splats of a turn, so that their long chains of arithmetic overlap.
        splats = [
            builder.zext(builder.load(builder.gep(indices_, [builder.add(k, int64(turn))])), INT64)
            for turn in range(TURN)
        ]

        def coefficients(row):
            return [lanes.load_splat(rows_, builder.add(splat, int64(row))) for splat in splats]

        powers = coefficients(_P0)
        for row, term in ((_P1, x), (_P3, xx), (_P2, y), (_P4, xy), (_P5, yy)):
            powers = [
                lanes.multiply_add(coefficient, term, power)
                for coefficient, power in zip(coefficients(row), powers)
            ]
        hits = [
            builder.fcmp_ordered(">=", power, lanes.constant(LOG2_ALPHA_THRESHOLD))
            for power in powers
        ]
        # Nothing is drawn, and nothing changes, where alpha is 0.
        alphas = [
            builder.select(
                hit, lanes.minimum(alpha, lanes.constant(MAX_ALPHA)), lanes.constant(0.0)
            )
            for hit, alpha in zip(hits, lanes.exp2(powers))
        ]
        transmittance, *colors = values
        weights = []
        for alpha in alphas:
            after = lanes.multiply_add(lanes.negate(alpha), transmittance, transmittance)
            enough = builder.fcmp_ordered(">", after, lanes.constant(TRANSMITTANCE_THRESHOLD))
            weights.append(
                builder.select(enough, builder.fmul(alpha, transmittance), lanes.constant(0.0))
            )
            finished = lanes.with_sign_bit(transmittance)
            transmittance = builder.select(enough, after, finished)
        for channel, row in enumerate((_RED, _GREEN, _BLUE)):
            for weight, coefficient in zip(weights, coefficients(row)):
                colors[channel] = lanes.multiply_add(weight, coefficient, colors[channel])
        updated = [transmittance, *colors]
        next_k = builder.add(k, int64(TURN))
        builder.cbranch(lanes.all_negative(transmittance), done, onward)

        builder.position_at_end(onward)
        builder.cbranch(builder.icmp_signed("<", next_k, count_), body, done)
        k.add_incoming(int64(0), entry)
        k.add_incoming(next_k, onward)
        for phi, before, value in zip(values, initial, updated):
            phi.add_incoming(before, entry)
            phi.add_incoming(value, onward)

        builder.position_at_end(done)
        for place, value in zip(places, updated):
            lanes.store(value, state_, place)
        return builder.zext(lanes.all_negative(updated[0]), INT32)

    signature = types.int32(
        state, types.int64, rows, indices, types.int64, types.float32, types.float32, held
    )
    return signature, generate


@intrinsic
def _store_block(typing_context, state, block, background, image, alpha, pixel, width):
    """Write a block's colours over the background, and its alpha, from `pixel` of pictures that are
    `width` wide. An image of uint8 gets 0..1 as 0..255, rounded and clipped, and no alpha."""

    def generate(context, builder, signature, arguments):
        lanes = Lanes(builder)
        state_, background_, image_, alpha_ = (
            array_pointer(context, builder, signature.args[k], arguments[k]) for k in (0, 2, 3, 4)
        )
        block_, pixel_, width_ = arguments[1], arguments[5], arguments[6]
        first = builder.mul(block_, int64(4 * LANES))
        transmittance = lanes.absolute(lanes.load(state_, first))
        colors = []
        for channel in range(3):
            color = lanes.load(state_, builder.add(first, int64((1 + channel) * LANES)))
            behind = lanes.load_splat(background_, int64(channel))
            colors.append(lanes.multiply_add(transmittance, behind, color))
        bytes_ = signature.args[3].dtype == types.uint8
        if bytes_:
            colors = [lanes.to_8_bit(color) for color in colors]
        covered = builder.fsub(lanes.constant(1.0), transmittance)
        for line in range(BLOCK_PX):
            start = builder.add(pixel_, builder.mul(width_, int64(line)))
            lanes.store_any(
                lanes.interleaved(colors, line * BLOCK_PX, BLOCK_PX),
                image_,
                builder.mul(start, int64(3)),
            )
            if not bytes_:
                lanes.store_any(lanes.part(covered, line * BLOCK_PX, BLOCK_PX), alpha_, start)
        return ir.Constant(INT32, 0)

    signature = types.int32(state, types.int64, background, image, alpha, types.int64, types.int64)
    return signature, generate


@njit(cache=True, fastmath=FASTMATH, error_model="numpy")
def _lay_out(splats, colors, ids, left, top, rows):
    """Splats and what the blend needs of them as rows; log2(alpha) expanded about the tile's
    centre, so that five multiply-adds per pixel draw it."""
    count = len(ids)
    centre_x, centre_y = _F(left) + _HALF_TILE, _F(top) + _HALF_TILE
    for j in range(count):
        i = ids[j]
        rows[_X + j] = splats[i, SPLAT_X] - centre_x
        rows[_Y + j] = splats[i, SPLAT_Y] - centre_y
        rows[_A + j] = splats[i, SPLAT_A]
        rows[_B + j] = splats[i, SPLAT_B]
        rows[_C + j] = splats[i, SPLAT_C]
        rows[_POWER + j] = splats[i, SPLAT_POWER]
        rows[_RED + j] = colors[i, 0]
        rows[_GREEN + j] = colors[i, 1]
        rows[_BLUE + j] = colors[i, 2]
    end = (count + LANES - 1) // LANES * LANES
    for j in range(count, end):  # reach nothing
        rows[_X + j] = rows[_Y + j] = rows[_B + j] = _F(0)
        rows[_A + j] = rows[_C + j] = _F(1)
        rows[_POWER + j] = _NO_POWER
    for j in range(count):
        x, y = rows[_X + j], rows[_Y + j]
        a, b, c = rows[_A + j], rows[_B + j], rows[_C + j]
        slope = a * x + b * y
        rows[_P0 + j] = rows[_POWER + j] - slope * x - c * y * y
        rows[_P1 + j] = slope + a * x
        rows[_P2 + j] = _TWO * c * y + b * x
        rows[_P3 + j] = -a
        rows[_P4 + j] = -b
        rows[_P5 + j] = -c


@njit(cache=True)
def _begin(left, top, width, height, state):
    """State of an empty tile: nothing drawn, pixels outside of the picture done. Returns which
    blocks are alive."""
    state[:] = _F(0)
    if left + TILE_PX <= width and top + TILE_PX <= height:
        for block in range(BLOCKS):
            for k in range(LANES):
                state[4 * LANES * block + k] = _F(1)
        return (1 << BLOCKS) - 1
    alive = 0
    for block in range(BLOCKS):
        x0, y0 = left + BLOCK_PX * (block % 4), top + BLOCK_PX * (block // 4)
        if x0 < width and y0 < height:
            alive |= 1 << block
        for k in range(LANES):
            inside = x0 + k % BLOCK_PX < width and y0 + k // BLOCK_PX < height
            state[4 * LANES * block + k] = _F(1) if inside else _F(-1)
    return alive


@njit(cache=True)
def _blend_tile(
    splats, colors, ids, left, top, width, height, state, rows, masks, indices, held, entry_masks
):
    """Draw one tile's splats in order into `state`; keeps which blocks each of them reached, 0 from
    where all are done, in `entry_masks`, if that has room."""
    alive = _begin(left, top, width, height, state)
    first = 0
    while first < len(ids) and alive != 0:
        count = min(TILE_CHUNK, len(ids) - first)
        _lay_out(splats, colors, ids[first : first + count], left, top, rows)
        for j in range(0, count, LANES):
            covered_blocks(rows, j, masks)
        for block in range(BLOCKS):
            if (alive >> block) & 1 == 0:
                continue
            listed = list_block(masks, count, block, indices)
            if listed == 0:
                continue
            for k in range(listed, listed + TURN - 1):
                indices[k] = TILE_CHUNK
            corner_x = _F(BLOCK_PX * (block % 4)) - _HALF_TILE
            corner_y = _F(BLOCK_PX * (block // 4)) - _HALF_TILE
            if _blend_block(state, block, rows, indices, listed, corner_x, corner_y, held) != 0:
                alive &= ~(1 << block)
        if len(entry_masks) > 0:
            for j in range(count):
                entry_masks[first + j] = masks[j]
        first += count
    for j in range(first, len(entry_masks)):
        entry_masks[j] = 0


@njit(cache=True)
def _store_tile(state, background, left, top, image, alpha, tile_image, tile_alpha):
    """A finished tile into the picture; `tile_image` and `tile_alpha` are scratch for one tile."""
    height, width = image.shape[:2]
    if left + TILE_PX <= width and top + TILE_PX <= height:
        for block in range(BLOCKS):
            pixel = (top + BLOCK_PX * (block // 4)) * width + left + BLOCK_PX * (block % 4)
            _store_block(state, block, background, image, alpha, pixel, width)
        return
    for block in range(BLOCKS):
        pixel = BLOCK_PX * (block // 4) * TILE_PX + BLOCK_PX * (block % 4)
        _store_block(state, block, background, tile_image, tile_alpha, pixel, TILE_PX)
    for y in range(min(TILE_PX, height - top)):
        for x in range(min(TILE_PX, width - left)):
            for channel in range(3):
                image[top + y, left + x, channel] = tile_image[y, x, channel]
            if alpha.shape[0] > 0:
                alpha[top + y, left + x] = tile_alpha[y, x]


@njit(cache=True, nogil=True)
def blend(
    tickets, splats, colors, starts, splat_ids, background, image, alpha, entry_masks, held
):  # fmt: skip
    """Draw image [H, W, 3] and alpha [H, W]; an image of uint8 is drawn in 0..255 without alpha.

    Tiles go to threads as these come free; which thread draws a tile does not change it.
    entry_masks [entries]: filled with the blocks that each splat of each tile reached, or empty.
    """
    height, width = image.shape[:2]
    tiles_x = (width + TILE_PX - 1) // TILE_PX
    state = np.empty(4 * _TILE, np.float32)
    rows = np.empty(TILE_ROWS * ROW_STRIDE, np.float32)
    for row in range(TILE_ROWS):
        rows[row * ROW_STRIDE + TILE_CHUNK] = _F(0)
    rows[_P0 + TILE_CHUNK] = _NO_POWER
    masks, indices = np.empty(ROW_STRIDE, np.int32), np.empty(ROW_STRIDE, np.int32)
    tile_image = np.empty((TILE_PX, TILE_PX, 3), image.dtype)
    tile_alpha = np.empty((TILE_PX, TILE_PX), np.float32)
    tile = take_ticket(tickets)
    while tile < len(starts) - 1:
        left, top = tile % tiles_x * TILE_PX, tile // tiles_x * TILE_PX
        first, end = starts[tile], starts[tile + 1]
        kept = entry_masks[first:end] if len(entry_masks) > 0 else entry_masks
        _blend_tile(
            splats, colors, splat_ids[first:end], left, top, width, height,
            state, rows, masks, indices, held, kept,
        )  # fmt: skip
        _store_tile(state, background, left, top, image, alpha, tile_image, tile_alpha)
        tile = take_ticket(tickets)
