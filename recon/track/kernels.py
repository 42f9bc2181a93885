"""The solver's inner loops, compiled by Numba: small dense algebra, where BLAS calls and their
threads cost more than the arithmetic. One thread, so that a busy machine does not slow it down.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, fastmath={"contract", "reassoc", "nsz"})
def jacobian_rows(
    projection: np.ndarray, by_code: np.ndarray, by_pose: np.ndarray, gaps: np.ndarray
) -> np.ndarray:
    """Derivatives of the projected landmarks, then of the gaps: [F, (L + G) * 2, 6 + E].

    projection [F, L, 2, 3], by_code [F, L, 3, E], by_pose [F, L, 2, 6], gaps [G, 2] landmarks.
    """
    frames, count, _, codes = by_code.shape
    rows = np.empty((frames, (count + len(gaps)) * 2, 6 + codes))
    for f in range(frames):
        for landmark in range(count):
            for axis in range(2):
                p = projection[f, landmark, axis]
                row = rows[f, 2 * landmark + axis]
                row[:6] = by_pose[f, landmark, axis]
                a, b, c = by_code[f, landmark]
                for e in range(codes):
                    row[6 + e] = p[0] * a[e] + p[1] * b[e] + p[2] * c[e]
        for gap in range(len(gaps)):
            for axis in range(2):
                upper = rows[f, 2 * gaps[gap, 0] + axis]
                lower = rows[f, 2 * gaps[gap, 1] + axis]
                rows[f, 2 * (count + gap) + axis] = upper - lower
    return rows


@numba.njit(cache=True, fastmath={"contract", "reassoc", "nsz"})
def weighted_products(
    jacobian: np.ndarray, weights: np.ndarray, residual: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """J' W J [F, N, N] and J' W r [F, N] of J [F, M, N], diagonal W [F, M] and r [F, M].

    Most coefficients move few landmarks: zeros of a row are passed over.
    """
    frames, count, unknowns = jacobian.shape
    hessian = np.zeros((frames, unknowns, unknowns))
    gradient = np.zeros((frames, unknowns))
    for f in range(frames):
        h, g = hessian[f], gradient[f]
        for m in range(count):
            row = jacobian[f, m]
            for i in range(unknowns):
                scaled = weights[f, m] * row[i]
                if scaled != 0.0:
                    g[i] += scaled * residual[f, m]
                    for j in range(i, unknowns):
                        h[i, j] += scaled * row[j]
        for i in range(unknowns):
            for j in range(i):
                h[i, j] = h[j, i]
    return hessian, gradient


@numba.njit(cache=True)
def add_products(
    weights: np.ndarray, codes: np.ndarray, combinations: np.ndarray, amounts: np.ndarray
) -> None:
    """Add `amount codes_i codes_j` to weight k of each combination (i, j, k); [F, E] in place."""
    for f in range(len(codes)):
        for c in range(len(amounts)):
            i, j, k = combinations[c]
            weights[f, k] += amounts[c] * codes[f, i] * codes[f, j]


@numba.njit(cache=True)
def by_products(
    derivative: np.ndarray, codes: np.ndarray, combinations: np.ndarray, amounts: np.ndarray
) -> None:
    """Turn derivatives by the weights of `add_products` [F, L, 3, E] into those by codes, in place."""
    for f in range(len(codes)):
        for landmark in range(derivative.shape[1]):
            for axis in range(3):
                row = derivative[f, landmark, axis]
                by_weight = row.copy()
                for c in range(len(amounts)):
                    i, j, k = combinations[c]
                    row[i] += amounts[c] * codes[f, j] * by_weight[k]
                    row[j] += amounts[c] * codes[f, i] * by_weight[k]


@numba.njit(cache=True, fastmath={"contract"})
def add_turned(
    derivative: np.ndarray, landmarks: np.ndarray, turn: np.ndarray, basis: np.ndarray
) -> None:
    """Add `turn [F, 3, 3] @ basis [M, 3, E]` to the M landmarks of [F, L, 3, E], in place."""
    for f in range(len(turn)):
        for m in range(len(landmarks)):
            a, b, c = basis[m]
            for axis in range(3):
                row, r = derivative[f, landmarks[m], axis], turn[f, axis]
                for e in range(len(a)):
                    row[e] += r[0] * a[e] + r[1] * b[e] + r[2] * c[e]


@numba.njit(cache=True, fastmath={"contract"})
def add_swung(
    derivative: np.ndarray, landmarks: np.ndarray, points: np.ndarray, drive: np.ndarray
) -> None:
    """Add `drive [F, 3, E] x points [F, M, 3]` to the M landmarks of [F, L, 3, E], in place."""
    for f in range(len(drive)):
        u, v, w = drive[f]
        for m in range(len(landmarks)):
            x, y, z = points[f, m]
            row = derivative[f, landmarks[m]]
            for e in range(len(u)):
                row[0, e] += v[e] * z - w[e] * y
                row[1, e] += w[e] * x - u[e] * z
                row[2, e] += u[e] * y - v[e] * x


@numba.njit(cache=True)
def box_minimum(
    hessian: np.ndarray, gradient: np.ndarray, lower: np.ndarray, upper: np.ndarray, rounds: int
) -> np.ndarray:
    """min_d 1/2 d'Hd - g'd with lower <= d <= upper by principal pivoting; H positive definite.

    Unknowns that leave the box are set to its side, those there that the slope pulls inside are
    freed, until nothing changes; that is the exact minimum. Cycling is rare and cut off.
    """
    count = len(gradient)
    move = np.zeros(count)
    free = np.ones(count, np.bool_)
    for i in range(count):
        held = (lower[i] >= 0 and gradient[i] <= 0) or (upper[i] <= 0 and gradient[i] >= 0)
        free[i] = not held
    for _ in range(rounds):
        index = np.nonzero(free)[0]
        target = np.empty(len(index))
        matrix = np.empty((len(index), len(index)))
        for a in range(len(index)):
            i = index[a]
            target[a] = gradient[i]
            for j in range(count):
                if not free[j]:
                    target[a] -= hessian[i, j] * move[j]
            for b in range(a + 1):
                matrix[a, b] = hessian[i, index[b]]
        _solve_positive(matrix, target)
        for a in range(len(index)):
            move[index[a]] = target[a]
        # Slopes belong to this solution, before any of it is cut.
        freed = np.zeros(count, np.bool_)
        for i in range(count):
            if not free[i]:
                slope = gradient[i]
                for j in range(count):
                    slope -= hessian[i, j] * move[j]
                freed[i] = (move[i] <= lower[i] and slope > 0) or (
                    move[i] >= upper[i] and slope < 0
                )
        changed = freed.any()
        for i in range(count):
            if free[i] and (move[i] < lower[i] or move[i] > upper[i]):
                move[i] = min(max(move[i], lower[i]), upper[i])
                free[i] = False
                changed = True
            elif freed[i]:
                free[i] = True
        if not changed:
            break
    return np.minimum(np.maximum(move, lower), upper)


@numba.njit(cache=True)
def _solve_positive(matrix: np.ndarray, target: np.ndarray) -> None:
    """Solve in place by Cholesky's factorisation of the lower triangle."""
    count = len(target)
    for i in range(count):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            if i == j:
                matrix[i, i] = np.sqrt(max(total, 1e-30))
            else:
                matrix[i, j] = total / matrix[j, j]
    for i in range(count):
        total = target[i]
        for k in range(i):
            total -= matrix[i, k] * target[k]
        target[i] = total / matrix[i, i]
    for i in range(count - 1, -1, -1):
        total = target[i]
        for k in range(i + 1, count):
            total -= matrix[k, i] * target[k]
        target[i] = total / matrix[i, i]


@numba.njit(cache=True, nogil=True)
def interpolate(values: np.ndarray, corners: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Vertex values [V, C] at points given by triangle corners [P, 3] and barycentrics [P, 3]."""
    mixed = np.empty((len(corners), values.shape[1]), values.dtype)
    for p in range(len(corners)):
        a, b, c = corners[p]
        for channel in range(values.shape[1]):
            mixed[p, channel] = (
                shares[p, 0] * values[a, channel]
                + shares[p, 1] * values[b, channel]
                + shares[p, 2] * values[c, channel]
            )
    return mixed
