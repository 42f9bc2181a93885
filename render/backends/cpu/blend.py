"""Numba kernel: the forward blend. One task is a tile, one vector a block of 4 x 4 pixels."""

# pyright: reportCallIssue=false, reportArgumentType=false
# (an intrinsic is called without the typing context that its definition takes)

from __future__ import annotations

import numpy as np
from numba import njit, prange, types
from numba.extending import intrinsic

from render.backends.cpu.coverage import covered_blocks
from render.backends.cpu.intrinsics import take_ticket
from render.backends.cpu.layout import (
    BLOCK_PX,
    BLOCKS,
    FASTMATH,
    LOG2_ALPHA_THRESHOLD,
    MAX_ALPHA,
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
_TWO = _F(2)
_HALF_TILE = _F(TILE_PX / 2)
# Splats whose coefficients are laid out at a time: they stay in the first-level cache.
_CHUNK = 256
# A packed splat: 1, x, y, x^2, xy, y^2 coefficients of log2(alpha) about the tile's centre, colour.
_PACKED_COLUMNS = 12
_PACKED_COLOR = 6
# Pixels of a block relative to its corner.
_LANE_X = [k % BLOCK_PX + 0.5 for k in range(LANES)]
_LANE_Y = [k // BLOCK_PX + 0.5 for k in range(LANES)]


@intrinsic
def _blend_block(typing_context, state, block, packed, indices, count, corner_x, corner_y):
    """Draw packed[indices[:count]] into state[block], rows T, R, G, B of 16 pixels each.

    The sign bit of T marks a pixel as done; |T| is its transmittance. Returns 1 once all are done.
    """

    def generate(context, builder, signature, arguments):
        state_, block_, packed_, indices_, count_, corner_x_, corner_y_ = arguments
        lanes = Lanes(builder)
        state_ = array_pointer(context, builder, signature.args[0], state_)
        packed_ = array_pointer(context, builder, signature.args[2], packed_)
        indices_ = array_pointer(context, builder, signature.args[3], indices_)
        rows = [
            builder.add(builder.mul(block_, int64(4 * LANES)), int64(k * LANES)) for k in range(4)
        ]
        x = builder.fadd(lanes.splat(corner_x_), lanes.constant(_LANE_X))
        y = builder.fadd(lanes.splat(corner_y_), lanes.constant(_LANE_Y))
        xx, xy, yy = builder.fmul(x, x), builder.fmul(x, y), builder.fmul(y, y)
        initial = [lanes.load(state_, row) for row in rows]

        entry = builder.block
        head = builder.append_basic_block("head")
        body = builder.append_basic_block("body")
        check = builder.append_basic_block("check")
        done = builder.append_basic_block("done")
        builder.branch(head)

        builder.position_at_end(head)
        k = builder.phi(INT64)
        k.add_incoming(int64(0), entry)
        values = [builder.phi(FLOATS) for _ in range(4)]
        for phi, value in zip(values, initial):
            phi.add_incoming(value, entry)
        builder.cbranch(builder.icmp_signed("<", k, count_), body, done)

        builder.position_at_end(body)
        transmittance, *colors = values
        splat = builder.sext(builder.load(builder.gep(indices_, [k])), INT64)
        base = builder.mul(splat, int64(_PACKED_COLUMNS))

        def coefficient(column):
            return lanes.load_splat(packed_, builder.add(base, int64(column)))

        power = lanes.multiply_add(coefficient(1), x, coefficient(0))
        power = lanes.multiply_add(coefficient(3), xx, power)
        power = lanes.multiply_add(coefficient(2), y, power)
        power = lanes.multiply_add(coefficient(4), xy, power)
        power = lanes.multiply_add(coefficient(5), yy, power)
        alpha = lanes.minimum(lanes.exp2(power), lanes.constant(MAX_ALPHA))
        hit = builder.fcmp_ordered(">=", power, lanes.constant(LOG2_ALPHA_THRESHOLD))
        after = lanes.multiply_add(lanes.negate(alpha), transmittance, transmittance)
        enough = builder.fcmp_ordered(">", after, lanes.constant(TRANSMITTANCE_THRESHOLD))
        drawn = builder.and_(hit, enough)
        weight = builder.select(drawn, builder.fmul(alpha, transmittance), lanes.constant(0.0))
        updated = [
            builder.select(
                drawn,
                after,
                builder.select(hit, lanes.with_sign_bit(transmittance), transmittance),
            )
        ]
        for channel, color in enumerate(colors):
            updated.append(lanes.multiply_add(weight, coefficient(_PACKED_COLOR + channel), color))
        next_k = builder.add(k, int64(1))
        every_fourth = builder.icmp_signed("==", builder.and_(next_k, int64(3)), int64(0))
        builder.cbranch(every_fourth, check, head)

        builder.position_at_end(check)
        builder.cbranch(lanes.all_negative(updated[0]), done, head)

        for block_from in (body, check):
            k.add_incoming(next_k, block_from)
            for phi, value in zip(values, updated):
                phi.add_incoming(value, block_from)

        builder.position_at_end(done)
        final = [builder.phi(FLOATS) for _ in range(4)]
        for phi, before, value in zip(final, values, updated):
            phi.add_incoming(before, head)
            phi.add_incoming(value, check)
        for row, value in zip(rows, final):
            lanes.store(value, state_, row)
        return builder.zext(lanes.all_negative(final[0]), INT32)

    signature = types.int32(
        state, types.int64, packed, indices, types.int64, types.float32, types.float32
    )
    return signature, generate


@njit(fastmath=FASTMATH, error_model="numpy")
def _pack(splat, color, left, top, packed):
    """Expand log2(alpha) about the tile's centre: five multiply-adds per pixel draw it."""
    a, b, c = splat[SPLAT_A], splat[SPLAT_B], splat[SPLAT_C]
    x = left + _HALF_TILE - splat[SPLAT_X]
    y = top + _HALF_TILE - splat[SPLAT_Y]
    t = a * x + b * y
    packed[0] = splat[SPLAT_POWER] - t * x - c * y * y
    packed[1] = -(_TWO * a * x + b * y)
    packed[2] = -(_TWO * c * y + b * x)
    packed[3] = -a
    packed[4] = -b
    packed[5] = -c
    packed[6] = color[0]
    packed[7] = color[1]
    packed[8] = color[2]


@njit(fastmath=FASTMATH, error_model="numpy")
def _blend_tile(splats, colors, ids, left, top, background, image, alpha):
    """Draw one tile's splats in order into image [H, W, 3] and alpha [H, W]."""
    height, width = alpha.shape
    state = np.zeros((BLOCKS, 4, LANES), np.float32)
    packed = np.empty((_CHUNK, _PACKED_COLUMNS), np.float32)
    masks = np.empty(_CHUNK, np.int32)
    indices = np.empty(_CHUNK + 1, np.int32)
    alive = 0
    for block in range(BLOCKS):
        x0, y0 = left + BLOCK_PX * (block % 4), top + BLOCK_PX * (block // 4)
        if x0 < width and y0 < height:
            alive |= 1 << block
        for k in range(LANES):
            inside = x0 + k % BLOCK_PX < width and y0 + k // BLOCK_PX < height
            state[block, 0, k] = _F(1) if inside else _F(-1)
    first = 0
    while first < ids.shape[0] and alive != 0:
        count = min(_CHUNK, ids.shape[0] - first)
        for j in range(count):
            i = ids[first + j]
            splat = splats[i]
            _pack(splat, colors[i], _F(left), _F(top), packed[j])
            masks[j] = covered_blocks(
                splat[SPLAT_X] - _F(left), splat[SPLAT_Y] - _F(top),
                splat[SPLAT_A], splat[SPLAT_B], splat[SPLAT_C], splat[SPLAT_POWER],
            )  # fmt: skip
        for block in range(BLOCKS):
            if (alive >> block) & 1 == 0:
                continue
            listed = 0
            for j in range(count):  # without a branch: write always, advance if covered
                indices[listed] = j
                listed += (masks[j] >> block) & 1
            if listed == 0:
                continue
            corner_x = _F(BLOCK_PX * (block % 4)) - _HALF_TILE
            corner_y = _F(BLOCK_PX * (block // 4)) - _HALF_TILE
            if _blend_block(state, block, packed, indices, listed, corner_x, corner_y) != 0:
                alive &= ~(1 << block)
        first += count
    for block in range(BLOCKS):
        x0, y0 = left + BLOCK_PX * (block % 4), top + BLOCK_PX * (block // 4)
        for k in range(LANES):
            x, y = x0 + k % BLOCK_PX, y0 + k // BLOCK_PX
            if x < width and y < height:
                transmittance = abs(state[block, 0, k])
                for channel in range(3):
                    image[y, x, channel] = (
                        state[block, 1 + channel, k] + transmittance * background[channel]
                    )
                alpha[y, x] = _F(1) - transmittance


@njit(parallel=True, cache=True, fastmath=FASTMATH, error_model="numpy")
def blend(splats, colors, starts, splat_ids, background, image, alpha, threads):
    """Tiles go to threads as these come free; which thread draws a tile does not change it."""
    height, width = alpha.shape
    tiles_x = (width + TILE_PX - 1) // TILE_PX
    tickets = np.zeros(1, np.int64)
    for _ in prange(threads):
        tile = take_ticket(tickets)
        while tile < starts.shape[0] - 1:
            left, top = tile % tiles_x * TILE_PX, tile // tiles_x * TILE_PX
            if starts[tile] == starts[tile + 1]:
                for y in range(top, min(height, top + TILE_PX)):
                    for x in range(left, min(width, left + TILE_PX)):
                        for channel in range(3):
                            image[y, x, channel] = background[channel]
                        alpha[y, x] = _F(0)
            else:
                ids = splat_ids[starts[tile] : starts[tile + 1]]
                _blend_tile(splats, colors, ids, left, top, background, image, alpha)
            tile = take_ticket(tickets)
