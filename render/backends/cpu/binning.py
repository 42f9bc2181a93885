"""Numba kernels: which splats each tile of 16 x 16 pixels has to draw, nearest first."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from render.backends.cpu.layout import INVISIBLE

_RADIX_BITS = 11
_RADIX = 1 << _RADIX_BITS


@njit(cache=True)
def depth_order(depth_keys):
    """Indices of the visible splats by depth, ties in input order (a stable radix sort).

    Keys count from the nearest splat, so a head's few centimetres of depth take two passes.
    """
    nearest, farthest, count = INVISIBLE, np.uint32(0), 0
    for key in depth_keys:
        if key != INVISIBLE:
            nearest, farthest = min(nearest, key), max(farthest, key)
            count += 1
    keys, other_keys = np.empty(count, np.uint32), np.empty(count, np.uint32)
    order, other_order = np.empty(count, np.uint32), np.empty(count, np.uint32)
    slot = 0
    for i in range(depth_keys.shape[0]):
        if depth_keys[i] != INVISIBLE:
            keys[slot] = depth_keys[i] - nearest
            order[slot] = i
            slot += 1
    spread = np.int64(farthest) - np.int64(nearest)
    digit_mask = np.uint32(_RADIX - 1)
    starts = np.zeros(_RADIX, np.int64)
    shift = 0
    while count > 0 and (spread >> shift) > 0:
        bits = np.uint32(shift)
        starts[:] = 0
        for i in range(count):
            starts[(keys[i] >> bits) & digit_mask] += 1
        total = 0
        for digit in range(_RADIX):
            here = starts[digit]
            starts[digit] = total
            total += here
        for i in range(count):
            digit = (keys[i] >> bits) & digit_mask
            slot = starts[digit]
            starts[digit] = slot + 1
            other_keys[slot] = keys[i]
            other_order[slot] = order[i]
        keys, other_keys = other_keys, keys
        order, other_order = other_order, order
        shift += _RADIX_BITS
    return order


@njit(cache=True, parallel=True)
def bin_tiles(order, tile_boxes, tiles_x, tiles_y, threads):
    """Lists of splats per tile in the order given.

    Returns starts [tiles + 1] into splat_ids [entries], and first_slots [N + 1]: the entry of
    splat i in the k-th tile of its box (row by row) owns slot first_slots[i] + k, so that what
    tiles compute per entry lies together per splat.
    """
    tiles, count = tiles_x * tiles_y, order.shape[0]
    cursors = np.zeros((threads, tiles), np.int64)
    for t in prange(threads):
        for k in range(count * t // threads, count * (t + 1) // threads):
            i = order[k]
            for y in range(tile_boxes[i, 2], tile_boxes[i, 3]):
                for x in range(tile_boxes[i, 0], tile_boxes[i, 1]):
                    cursors[t, y * tiles_x + x] += 1
    starts = np.empty(tiles + 1, np.int64)
    total = 0
    for tile in range(tiles):
        starts[tile] = total
        for t in range(threads):
            here = cursors[t, tile]
            cursors[t, tile] = total
            total += here
    starts[tiles] = total
    splat_ids = np.empty(total, np.uint32)
    for t in prange(threads):
        for k in range(count * t // threads, count * (t + 1) // threads):
            i = order[k]
            for y in range(tile_boxes[i, 2], tile_boxes[i, 3]):
                for x in range(tile_boxes[i, 0], tile_boxes[i, 1]):
                    slot = cursors[t, y * tiles_x + x]
                    splat_ids[slot] = i
                    cursors[t, y * tiles_x + x] = slot + 1
    first_slots = np.empty(tile_boxes.shape[0] + 1, np.int64)
    slot = 0
    for i in range(tile_boxes.shape[0]):
        first_slots[i] = slot
        columns = tile_boxes[i, 1] - tile_boxes[i, 0]
        slot += columns * (tile_boxes[i, 3] - tile_boxes[i, 2])
    first_slots[tile_boxes.shape[0]] = slot
    return starts, splat_ids, first_slots
