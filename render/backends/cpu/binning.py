"""Numba kernels: which splats each tile of 16 x 16 pixels has to draw, nearest first."""

# pyright: reportCallIssue=false
# (an intrinsic is called without the typing context that its definition takes)

from __future__ import annotations

import numpy as np
from numba import njit

from avatar3d.numba_tickets import take_ticket
from render.backends.cpu.layout import INVISIBLE

_RADIX_BITS = 11
_RADIX = 1 << _RADIX_BITS


@njit(cache=True, nogil=True)
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


@njit(cache=True)
def _count_boxes(order, first, end, tile_boxes, steps):
    """Boxes of order[first:end] over each tile, as steps: an entry's sum over all entries above and
    left of it counts the boxes. Four additions a splat, whatever its size."""
    for k in range(first, end):
        i = order[k]
        x0, x1, y0, y1 = tile_boxes[i, 0], tile_boxes[i, 1], tile_boxes[i, 2], tile_boxes[i, 3]
        steps[np.uint32(y0), np.uint32(x0)] += 1
        steps[np.uint32(y0), np.uint32(x1)] -= 1
        steps[np.uint32(y1), np.uint32(x0)] -= 1
        steps[np.uint32(y1), np.uint32(x1)] += 1


@njit(cache=True)
def _starts(steps, tiles_x, tiles_y, cursors):
    """Where each tile's splats begin, and in `cursors` [parts, tiles] each part's share."""
    parts = steps.shape[0]
    for t in range(parts):
        for y in range(tiles_y):
            row = 0
            for x in range(tiles_x):
                row += steps[t, y, x]
                above = cursors[t, (y - 1) * tiles_x + x] if y > 0 else 0
                cursors[t, y * tiles_x + x] = above + row
    starts = np.empty(tiles_x * tiles_y + 1, np.int64)
    total = 0
    for tile in range(tiles_x * tiles_y):
        starts[tile] = total
        for t in range(parts):
            here = cursors[t, tile]
            cursors[t, tile] = total
            total += here
    starts[tiles_x * tiles_y] = total
    return starts


@njit(cache=True)
def _list_part(order, first, end, tile_boxes, tiles_x, cursors, splat_ids):
    for k in range(first, end):
        i = order[k]
        x0, x1 = np.uint32(tile_boxes[i, 0]), np.uint32(tile_boxes[i, 1])
        for y in range(np.uint32(tile_boxes[i, 2]), np.uint32(tile_boxes[i, 3])):
            for tile in range(y * tiles_x + x0, y * tiles_x + x1):
                slot = cursors[np.uint32(tile)]
                splat_ids[np.uint64(slot)] = i
                cursors[np.uint32(tile)] = slot + 1


@njit(cache=True, nogil=True)
def first_slots(tile_boxes):
    """[N + 1]: the entry of splat i in the k-th tile of its box (row by row) owns slot
    first_slots[i] + k, so that what tiles compute per entry lies together per splat."""
    slots = np.empty(len(tile_boxes) + 1, np.int64)
    slot = 0
    for i in range(len(tile_boxes)):
        slots[i] = slot
        columns = tile_boxes[i, 1] - tile_boxes[i, 0]
        slot += columns * (tile_boxes[i, 3] - tile_boxes[i, 2])
    slots[len(tile_boxes)] = slot
    return slots


@njit(cache=True, nogil=True)
def plan_tiles(order, tile_boxes, tiles_x, tiles_y, parts):
    """Where each tile's splats begin in the list of all, [tiles + 1], and where those of each part
    of the order do, [parts, tiles]. So quick that starting threads for it would take longer."""
    count = len(order)
    steps = np.zeros((parts, tiles_y + 1, tiles_x + 1), np.int32)
    for part in range(parts):
        first, end = count * part // parts, count * (part + 1) // parts
        _count_boxes(order, first, end, tile_boxes, steps[part])
    cursors = np.zeros((parts, tiles_x * tiles_y), np.int64)
    return _starts(steps, tiles_x, tiles_y, cursors), cursors


@njit(cache=True, nogil=True)
def list_tiles(tickets, order, tile_boxes, tiles_x, cursors, splat_ids):
    """Fill splat_ids [entries] with the splats of each tile in the order given, part by part."""
    count, parts = len(order), len(cursors)
    part = take_ticket(tickets)
    while part < parts:
        first, end = count * part // parts, count * (part + 1) // parts
        _list_part(order, first, end, tile_boxes, tiles_x, cursors[part], splat_ids)
        part = take_ticket(tickets)
