"""Numba kernels: `avatar.pose_gaussians` of one code with its gradient; formulas as there.

Every anchor is computed alone; sums over anchors are made chunk by chunk, in order, so the number
of threads cannot change a bit.
"""

from __future__ import annotations

import math
from typing import no_type_check  # the tests' shape checker must leave kernels unwrapped

import numpy as np
from numba import njit

from avatar3d.numba_tickets import take_ticket

_FASTMATH = {"contract", "arcp", "nsz", "reassoc"}
_F = np.float32
_ZERO, _ONE = _F(0), _F(1)
_TINY = _F(1e-12)  # as torch.nn.functional.normalize
CHUNK = 512  # anchors a task


@njit(inline="always")
@no_type_check
def _local_rotation(raw):
    """`normalize`, and the length that it divides by."""
    length = math.sqrt(raw[0] * raw[0] + raw[1] * raw[1] + raw[2] * raw[2] + raw[3] * raw[3])
    length = max(length, _TINY)
    return length, raw[0] / length, raw[1] / length, raw[2] / length, raw[3] / length


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
@no_type_check
def _expressed(values, basis, weights, members, chosen, first, end, room, out):
    """values + sum_k weights[k] basis[k] of the anchors first..end, flat; the basis moves
    members[chosen[0]:chosen[1]] of them, and has three numbers for each member."""
    for i in range(3 * (end - first)):
        out[i] = values[3 * first + i]
    start, count = 3 * chosen[0], 3 * (chosen[1] - chosen[0])
    for i in range(count):
        room[i] = _ZERO
    for k in range(len(weights)):
        weight, direction = weights[k], basis[k, start : start + count]
        for i in range(count):
            room[i] += weight * direction[i]
    for m in range(chosen[1] - chosen[0]):
        at = 3 * (members[chosen[0] + m] - first)
        for axis in range(3):
            out[at + axis] += room[3 * m + axis]


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
@no_type_check
def _expressed_backward(by_values, basis, weights, members, chosen, room, to_basis, to_weights):
    """Gradients of `_expressed` by basis, and added to those by the weights."""
    start, count = 3 * chosen[0], 3 * (chosen[1] - chosen[0])
    for m in range(chosen[1] - chosen[0]):
        at = 3 * members[chosen[0] + m]
        for axis in range(3):
            room[3 * m + axis] = by_values[at + axis]
    for k in range(len(weights)):
        weight, direction = weights[k], basis[k, start : start + count]
        to_direction, total = to_basis[k, start : start + count], _ZERO
        for i in range(count):
            total += room[i] * direction[i]
            to_direction[i] = weight * room[i]
        to_weights[k] += total


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy", nogil=True)
@no_type_check
def pose(
    tickets, positions, rotations, quaternions, stretch, shade, weights, offsets, turns,
    log_scales, logits, colors, basis_offsets, basis_colors, members, member_starts, means,
    quaternions_out, scales, opacities, lit_colors,
):  # fmt: skip
    """Gaussians of every anchor, filled into the last five arguments.

    offsets and colors are flat, [3 N], and their bases [K, 3 M], as long rows make vectors. members
    [M]: the anchors, in order, that the bases move; those of a chunk begin at member_starts[chunk].
    """
    count = len(positions)
    moved, tinted = np.empty(3 * CHUNK, np.float32), np.empty(3 * CHUNK, np.float32)
    room = np.empty(3 * CHUNK, np.float32)
    chunk = take_ticket(tickets)
    while chunk * CHUNK < count:
        first, end = chunk * CHUNK, min(count, (chunk + 1) * CHUNK)
        chosen = member_starts[chunk : chunk + 2]
        _expressed(offsets, basis_offsets, weights, members, chosen, first, end, room, moved)
        _expressed(colors, basis_colors, weights, members, chosen, first, end, room, tinted)
        for n in range(first, end):
            at = 3 * (n - first)
            x, y, z = moved[at], moved[at + 1], moved[at + 2]
            red, green, blue = tinted[at], tinted[at + 1], tinted[at + 2]
            frame = rotations[n]
            for axis in range(3):
                means[n, axis] = positions[n, axis] + (
                    frame[axis, 0] * x + frame[axis, 1] * y + frame[axis, 2] * z
                )
            _, bw, bx, by, bz = _local_rotation(turns[n])
            aw, ax, ay, az = (
                quaternions[n, 0], quaternions[n, 1], quaternions[n, 2], quaternions[n, 3],
            )  # fmt: skip
            quaternions_out[n, 0] = aw * bw - ax * bx - ay * by - az * bz
            quaternions_out[n, 1] = aw * bx + ax * bw + ay * bz - az * by
            quaternions_out[n, 2] = aw * by - ax * bz + ay * bw + az * bx
            quaternions_out[n, 3] = aw * bz + ax * by - ay * bx + az * bw
            scales[n, 0] = math.exp(log_scales[n, 0]) * stretch[n, 0]
            scales[n, 1] = math.exp(log_scales[n, 1]) * stretch[n, 1]
            scales[n, 2] = math.exp(log_scales[n, 2])
            opacities[n] = _ONE / (_ONE + math.exp(-logits[n]))
            lit_colors[n, 0] = max(red * shade[n, 0], _ZERO)
            lit_colors[n, 1] = max(green * shade[n, 1], _ZERO)
            lit_colors[n, 2] = max(blue * shade[n, 2], _ZERO)
        chunk = take_ticket(tickets)


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy", nogil=True)
@no_type_check
def pose_backward(
    tickets, rotations, quaternions, shade, weights, turns, basis_offsets, basis_colors, members,
    member_starts, scales, opacities, lit_colors, by_means, by_quaternions, by_scales, by_opacities,
    by_colors, to_offsets, to_turns, to_log_scales, to_logits, to_colors, to_basis_offsets,
    to_basis_colors, to_weights,
):  # fmt: skip
    """Gradients by all that `pose` reads but the frames' orientation, laid out as it reads them.
    Those by the weights are summed within each chunk: to_weights [chunks, K]."""
    count = len(rotations)
    room = np.empty(3 * CHUNK, np.float32)
    chunk = take_ticket(tickets)
    while chunk * CHUNK < count:
        first, end = chunk * CHUNK, min(count, (chunk + 1) * CHUNK)
        for n in range(first, end):
            frame = rotations[n]
            for axis in range(3):
                to_offsets[3 * n + axis] = (
                    frame[0, axis] * by_means[n, 0]
                    + frame[1, axis] * by_means[n, 1]
                    + frame[2, axis] * by_means[n, 2]
                )
                shown = lit_colors[n, axis] > _ZERO
                to_colors[3 * n + axis] = by_colors[n, axis] * shade[n, axis] if shown else _ZERO
                to_log_scales[n, axis] = by_scales[n, axis] * scales[n, axis]
            to_logits[n] = by_opacities[n] * opacities[n] * (_ONE - opacities[n])
            aw, ax, ay, az = (
                quaternions[n, 0], -quaternions[n, 1], -quaternions[n, 2], -quaternions[n, 3],
            )  # fmt: skip
            gw, gx, gy, gz = (
                by_quaternions[n, 0], by_quaternions[n, 1], by_quaternions[n, 2],
                by_quaternions[n, 3],
            )  # fmt: skip
            # Multiplying by a on the left is linear in b; its transpose multiplies by a's conjugate.
            dw = aw * gw - ax * gx - ay * gy - az * gz
            dx = aw * gx + ax * gw + ay * gz - az * gy
            dy = aw * gy - ax * gz + ay * gw + az * gx
            dz = aw * gz + ax * gy - ay * gx + az * gw
            length, bw, bx, by, bz = _local_rotation(turns[n])
            along = dw * bw + dx * bx + dy * by + dz * bz
            to_turns[n, 0] = (dw - along * bw) / length
            to_turns[n, 1] = (dx - along * bx) / length
            to_turns[n, 2] = (dy - along * by) / length
            to_turns[n, 3] = (dz - along * bz) / length
        for by_values, basis, to_basis in (
            (to_offsets, basis_offsets, to_basis_offsets),
            (to_colors, basis_colors, to_basis_colors),
        ):
            _expressed_backward(
                by_values, basis, weights, members, member_starts[chunk : chunk + 2], room, to_basis,
                to_weights[chunk],
            )  # fmt: skip
        chunk = take_ticket(tickets)
