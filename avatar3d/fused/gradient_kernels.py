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


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy", nogil=True)
@no_type_check
def pose(
    tickets, positions, rotations, quaternions, stretch, shade, weights, offsets, turns,
    log_scales, logits, colors, basis_offsets, basis_colors, means, quaternions_out, scales,
    opacities, lit_colors,
):  # fmt: skip
    """Gaussians of every anchor, filled into the last five arguments."""
    count, rank = len(positions), len(weights)
    chunk = take_ticket(tickets)
    while chunk * CHUNK < count:
        for n in range(chunk * CHUNK, min(count, (chunk + 1) * CHUNK)):
            x, y, z = offsets[n, 0], offsets[n, 1], offsets[n, 2]
            red, green, blue = colors[n, 0], colors[n, 1], colors[n, 2]
            for k in range(rank):
                weight = weights[k]
                x += weight * basis_offsets[k, n, 0]
                y += weight * basis_offsets[k, n, 1]
                z += weight * basis_offsets[k, n, 2]
                red += weight * basis_colors[k, n, 0]
                green += weight * basis_colors[k, n, 1]
                blue += weight * basis_colors[k, n, 2]
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
    tickets, rotations, quaternions, shade, weights, turns, basis_offsets, basis_colors, scales,
    opacities, lit_colors, by_means, by_quaternions, by_scales, by_opacities, by_colors, to_offsets,
    to_turns, to_log_scales, to_logits, to_colors, to_basis_offsets, to_basis_colors, to_weights,
):  # fmt: skip
    """Gradients by all that `pose` reads but the frames' orientation. Those by the weights are
    summed within each chunk: to_weights [chunks, K]."""
    count, rank = len(rotations), len(weights)
    chunk = take_ticket(tickets)
    while chunk * CHUNK < count:
        sums = to_weights[chunk]
        for n in range(chunk * CHUNK, min(count, (chunk + 1) * CHUNK)):
            frame = rotations[n]
            for axis in range(3):
                to_offsets[n, axis] = (
                    frame[0, axis] * by_means[n, 0]
                    + frame[1, axis] * by_means[n, 1]
                    + frame[2, axis] * by_means[n, 2]
                )
                shown = lit_colors[n, axis] > _ZERO
                to_colors[n, axis] = by_colors[n, axis] * shade[n, axis] if shown else _ZERO
                to_log_scales[n, axis] = by_scales[n, axis] * scales[n, axis]
            for k in range(rank):
                weight, total = weights[k], _ZERO
                for axis in range(3):
                    moved, tinted = to_offsets[n, axis], to_colors[n, axis]
                    total += moved * basis_offsets[k, n, axis] + tinted * basis_colors[k, n, axis]
                    to_basis_offsets[k, n, axis] = weight * moved
                    to_basis_colors[k, n, axis] = weight * tinted
                sums[k] += total
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
        chunk = take_ticket(tickets)
