"""Numba kernels: `recon.fit.steps.plain_step` in one pass over the numbers."""

from __future__ import annotations

import math
from typing import no_type_check  # the tests' shape checker must leave kernels unwrapped

import numpy as np
from numba import njit

from avatar3d.numba_tickets import take_ticket

_FASTMATH = {"contract", "arcp", "nsz", "reassoc"}
CHUNK = 4096  # numbers a task
_ROWS = 1024  # anchors a task


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy", nogil=True)
@no_type_check
def adam(
    tickets, gradients, confidence, means, squares, values, low, high, keep, keep_squares, rate,
    spread, epsilon, sums,
):  # fmt: skip
    """Adam's step of values [K, M], by gradients and moments [K, M]; confidence [M]. low and high
    [M], or of no length where nothing is limited.

    rate: the step's length over 1 - keep^t; spread: the root of 1 - keep_squares^t. Fills sums
    [chunks] with the squares of gradients times confidence.
    """
    count = len(confidence)
    new, new_squares = np.float32(1) - keep, np.float32(1) - keep_squares
    chunk = take_ticket(tickets)
    while chunk * CHUNK < count:
        first, end = chunk * CHUNK, min(count, (chunk + 1) * CHUNK)
        known, total = confidence[first:end], np.float32(0)
        for k in range(len(values)):
            gradient, value = gradients[k, first:end], values[k, first:end]
            mean, square = means[k, first:end], squares[k, first:end]
            for i in range(end - first):
                scaled = known[i] * gradient[i]
                total += scaled * scaled
                mean[i] = keep * mean[i] + new * scaled
                square[i] = keep_squares * square[i] + new_squares * (scaled * scaled)
                wide = math.sqrt(square[i]) / spread + epsilon
                value[i] -= rate * known[i] * mean[i] / wide
            if len(low) > 0:
                least, most = low[first:end], high[first:end]
                for i in range(end - first):
                    value[i] = min(max(value[i], least[i]), most[i])
        sums[chunk] = total
        chunk = take_ticket(tickets)


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy", nogil=True)
@no_type_check
def hold(
    tickets, gradients, moved, degree, row_starts, columns, weights, prior, smoothness
):  # fmt: skip
    """Adds prior * moved + smoothness * L moved to gradients [N, 3]; L = degree - the sparse matrix
    of row_starts, columns, weights."""
    chunk, count = take_ticket(tickets), len(moved)
    while chunk * _ROWS < count:
        for n in range(chunk * _ROWS, min(count, (chunk + 1) * _ROWS)):
            own = prior + smoothness * degree[n]
            x, y, z = own * moved[n, 0], own * moved[n, 1], own * moved[n, 2]
            for k in range(row_starts[n], row_starts[n + 1]):
                m, weight = columns[k], smoothness * weights[k]
                x -= weight * moved[m, 0]
                y -= weight * moved[m, 1]
                z -= weight * moved[m, 2]
            gradients[n, 0] += x
            gradients[n, 1] += y
            gradients[n, 2] += z
        chunk = take_ticket(tickets)
