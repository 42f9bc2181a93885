"""Numba kernels: Gaussians to splats on the picture, and the gradients back.

The formulas are those of `render.backends.reference.project`; the loops over a block of Gaussians
have no branches, so that they become vector loops, and the backward pass computes the forward
values anew instead of storing them.
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (an intrinsic is called without the typing context that its definition takes)

from __future__ import annotations

import math

import numpy as np
from numba import njit

from avatar3d.numba_tickets import take_ticket
from render.backends.cpu.intrinsics import bits_float, ceil, float_bits, floor
from render.backends.cpu.layout import (
    ALPHA_THRESHOLD,
    DILATION,
    FASTMATH,
    FRUSTUM_MARGIN,
    INVISIBLE,
    LOG2_ALPHA_THRESHOLD,
    MAX_EXTENT,
    MAX_SQUARED_LENGTH,
    MIN_COMPENSATION_SQUARED,
    MIN_SQUARED_LENGTH,
    MOMENT_1,
    MOMENT_COLOR,
    MOMENT_X,
    MOMENT_XX,
    MOMENT_XY,
    MOMENT_Y,
    MOMENT_YY,
    NEAR,
    SPLAT_A,
    SPLAT_B,
    SPLAT_C,
    SPLAT_POWER,
    SPLAT_X,
    SPLAT_Y,
    TILE_PX,
)

_F = np.float32
_ZERO, _HALF, _ONE, _TWO = _F(0), _F(0.5), _F(1), _F(2)
_LOG2_E = _F(np.log2(np.e))
_TWO_LN_2 = _F(2 * np.log(2))
_INFINITY, _NAN = _F(np.inf), _F(np.nan)
_NONE = _F(-1)  # the last pixel of a box that has none
_INVISIBLE_BITS = np.int32(-1)  # INVISIBLE as a signed number
# log2(m) = s (c0 + c1 s^2 + ...) with s = (m - 1) / (m + 1): twice the series of the area tangent.
_LOG2_SERIES = tuple(_F(2 / np.log(2) / (2 * k + 1)) for k in range(5))
_LOG2_SPLIT = np.int32(0x3F3504F3)  # the bits of sqrt(1/2)
# Gaussians are computed in blocks: every value of a block is one row, so that the arithmetic runs
# in vectors over the Gaussians; always over all of a block, since what remains behind the last whole
# vector would be rounded otherwise. Small enough for the first-level cache; constants, so that the
# compiler sees that rows do not overlap.
_BLOCK = 128
_ROWS = 21
_MEAN = _MX, _MY, _MZ = tuple(row * _BLOCK for row in range(3))
_QUATERNION = _QW, _QX, _QY, _QZ = tuple(row * _BLOCK for row in range(3, 7))
_SCALE = _S0, _S1, _S2 = tuple(row * _BLOCK for row in range(7, 10))
_OPACITY = 10 * _BLOCK
_SPLAT_ROWS = tuple(row * _BLOCK for row in range(11, 17))
_MOMENT, _SEEN = _SPLAT_ROWS, 17 * _BLOCK  # of the backward pass
_X0, _X1, _Y0, _Y1 = (row * _BLOCK for row in range(17, 21))
# Gaussians per task, and per partial sum of the camera's gradient; fixed, so that the number of
# threads does not change the sum. The loops over a chunk are functions of their own because Numba
# takes much longer to compile a large body inside a parallel function.
CHUNK = 512


@njit(inline="always")
def _slope_limits(focal, centre, size):
    """Where x / z is clamped for the Jacobian, low and high."""
    margin = FRUSTUM_MARGIN * size
    return (-centre - margin) / focal, (size - centre + margin) / focal


@njit(inline="always")
def _unit_quaternion(w, x, y, z):
    """w, x, y, z and the inverse of its length; without a direction: no rotation, and 0."""
    squared = w * w + x * x + y * y + z * z
    none = squared < MIN_SQUARED_LENGTH
    inverse = _ONE / math.sqrt(squared)
    inverse = inverse if squared <= MAX_SQUARED_LENGTH else _NAN  # not drawn
    return (
        _ONE if none else w * inverse, _ZERO if none else x * inverse,
        _ZERO if none else y * inverse, _ZERO if none else z * inverse,
        _ZERO if none else inverse,
    )  # fmt: skip


@njit(inline="always")
def _rotation(w, x, y, z):
    """Rows of the rotation of a unit quaternion."""
    return (
        _ONE - _TWO * (y * y + z * z), _TWO * (x * y - w * z), _TWO * (x * z + w * y),
        _TWO * (x * y + w * z), _ONE - _TWO * (x * x + z * z), _TWO * (y * z - w * x),
        _TWO * (x * z - w * y), _TWO * (y * z + w * x), _ONE - _TWO * (x * x + y * y),
    )  # fmt: skip


@njit(inline="always")
def _determinant(u0, u1, u2, v0, v1, v2):
    """|u x v|^2: the 2D covariance's determinant before dilation, free of cancellation."""
    c0, c1, c2 = u1 * v2 - u2 * v1, u2 * v0 - u0 * v2, u0 * v1 - u1 * v0
    return c0 * c0 + c1 * c1 + c2 * c2


@njit(inline="always")
def _log2(x):
    """log2 of a normal positive number, within 1e-7 of max(1, its size); a loop with it stays a
    vector loop."""
    exponent = (float_bits(x) - _LOG2_SPLIT) >> np.int32(23)
    mantissa = bits_float(float_bits(x) - (exponent << np.int32(23)))  # sqrt(1/2) to sqrt(2)
    s = (mantissa - _ONE) / (mantissa + _ONE)
    squared = s * s
    series = _LOG2_SERIES[4]
    series = series * squared + _LOG2_SERIES[3]
    series = series * squared + _LOG2_SERIES[2]
    series = series * squared + _LOG2_SERIES[1]
    series = series * squared + _LOG2_SERIES[0]
    return _F(exponent) + s * series


@njit(cache=True, fastmath=FASTMATH, error_model="numpy")
def _copy_in(first, count, means, quaternions, scales, opacities, rows):
    for k in range(count):
        i = first + k
        for c in range(3):
            rows[_MEAN[c] + k] = means[i, c]
            rows[_SCALE[c] + k] = scales[i, c]
        for c in range(4):
            rows[_QUATERNION[c] + k] = quaternions[i, c]
        rows[_OPACITY + k] = opacities[i]


@njit(cache=True, fastmath=FASTMATH, error_model="numpy")
def _project_rows(viewmat, K, width, height, antialiased, rows, keys):
    """The splats of a block, their boxes and keys (INVISIBLE where nothing is to be drawn)."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    wide, high = _F(width), _F(height)
    low_x, high_x = _slope_limits(fx, cx, wide)
    low_y, high_y = _slope_limits(fy, cy, high)
    r00, r01, r02, t0 = viewmat[0, 0], viewmat[0, 1], viewmat[0, 2], viewmat[0, 3]
    r10, r11, r12, t1 = viewmat[1, 0], viewmat[1, 1], viewmat[1, 2], viewmat[1, 3]
    r20, r21, r22, t2 = viewmat[2, 0], viewmat[2, 1], viewmat[2, 2], viewmat[2, 3]
    for i in range(_BLOCK):
        mx, my, mz = rows[_MX + i], rows[_MY + i], rows[_MZ + i]
        x = r00 * mx + r01 * my + r02 * mz + t0
        y = r10 * mx + r11 * my + r12 * mz + t1
        z = r20 * mx + r21 * my + r22 * mz + t2
        opacity = rows[_OPACITY + i]
        # What is not finite shows in here, in the splat's extent, or in the colours.
        visible = (z >= NEAR) & (opacity >= ALPHA_THRESHOLD) & (opacity < _INFINITY)
        qw, qx, qy, qz, _ = _unit_quaternion(
            rows[_QW + i], rows[_QX + i], rows[_QY + i], rows[_QZ + i]
        )
        m00, m01, m02, m10, m11, m12, m20, m21, m22 = _rotation(qw, qx, qy, qz)
        inverse_z = _ONE / z
        slope_x = min(high_x, max(low_x, x * inverse_z))
        slope_y = min(high_y, max(low_y, y * inverse_z))
        # Rows of Jacobian times camera rotation.
        j0, j2 = fx * inverse_z, -fx * slope_x * inverse_z
        k1, k2 = fy * inverse_z, -fy * slope_y * inverse_z
        a0, a1, a2 = j0 * r00 + j2 * r20, j0 * r01 + j2 * r21, j0 * r02 + j2 * r22
        b0, b1, b2 = k1 * r10 + k2 * r20, k1 * r11 + k2 * r21, k1 * r12 + k2 * r22
        s0, s1, s2 = rows[_S0 + i], rows[_S1 + i], rows[_S2 + i]
        u0 = (a0 * m00 + a1 * m10 + a2 * m20) * s0
        u1 = (a0 * m01 + a1 * m11 + a2 * m21) * s1
        u2 = (a0 * m02 + a1 * m12 + a2 * m22) * s2
        v0 = (b0 * m00 + b1 * m10 + b2 * m20) * s0
        v1 = (b0 * m01 + b1 * m11 + b2 * m21) * s1
        v2 = (b0 * m02 + b1 * m12 + b2 * m22) * s2
        xx, xy, yy = (
            u0 * u0 + u1 * u1 + u2 * u2, u0 * v0 + u1 * v1 + u2 * v2, v0 * v0 + v1 * v1 + v2 * v2,
        )  # fmt: skip
        determinant = _determinant(u0, u1, u2, v0, v1, v2)
        dilated = determinant + DILATION * (xx + yy) + DILATION * DILATION
        xx += DILATION
        yy += DILATION
        if antialiased:
            opacity *= math.sqrt(max(determinant / dilated, MIN_COMPENSATION_SQUARED))
        log2_opacity = _log2(opacity)
        reach = _TWO_LN_2 * (log2_opacity - LOG2_ALPHA_THRESHOLD)  # squared Mahalanobis distance
        px, py = fx * x * inverse_z + cx, fy * y * inverse_z + cy
        visible &= (reach >= _ZERO) & (abs(px) < MAX_EXTENT) & (abs(py) < MAX_EXTENT)
        half_width, half_height = math.sqrt(reach * xx), math.sqrt(reach * yy)
        visible &= (half_width < MAX_EXTENT) & (half_height < MAX_EXTENT)
        # Pixels whose centres lie in the box where alpha reaches the threshold.
        x0 = max(ceil(px - half_width - _HALF), _ZERO)
        x1 = min(floor(px + half_width - _HALF), wide - _ONE)
        y0 = max(ceil(py - half_height - _HALF), _ZERO)
        y1 = min(floor(py + half_height - _HALF), high - _ONE)
        visible &= (x0 <= x1) & (y0 <= y1)
        scale = _LOG2_E / dilated
        rows[_X0 + i] = x0 if visible else _ZERO
        rows[_X1 + i] = x1 if visible else _NONE
        rows[_Y0 + i] = y0 if visible else _ZERO
        rows[_Y1 + i] = y1 if visible else _NONE
        keys[i] = float_bits(z) if visible else _INVISIBLE_BITS
        rows[_SPLAT_ROWS[SPLAT_X] + i] = px
        rows[_SPLAT_ROWS[SPLAT_Y] + i] = py
        rows[_SPLAT_ROWS[SPLAT_A] + i] = _HALF * scale * yy
        rows[_SPLAT_ROWS[SPLAT_B] + i] = -scale * xy
        rows[_SPLAT_ROWS[SPLAT_C] + i] = _HALF * scale * xx
        rows[_SPLAT_ROWS[SPLAT_POWER] + i] = log2_opacity


@njit(cache=True)
def _copy_out(first, count, colors, rows, keys, splats, tile_boxes, depth_keys):
    for k in range(count):
        i = first + k
        for column in range(6):
            splats[i, column] = rows[_SPLAT_ROWS[column] + k]
        finite = True
        for channel in range(colors.shape[1]):
            finite &= abs(colors[i, channel]) < _INFINITY
        drawn = finite & (keys[k] != _INVISIBLE_BITS)
        depth_keys[i] = np.uint32(keys[k]) if drawn else INVISIBLE
        tile_boxes[i, 0] = np.int32(rows[_X0 + k]) // TILE_PX
        tile_boxes[i, 1] = np.int32(rows[_X1 + k] + TILE_PX) // TILE_PX if drawn else 0
        tile_boxes[i, 2] = np.int32(rows[_Y0 + k]) // TILE_PX
        tile_boxes[i, 3] = np.int32(rows[_Y1 + k] + TILE_PX) // TILE_PX if drawn else 0


@njit(cache=True)
def _project_chunk(
    first, end, means, quaternions, scales, opacities, colors, viewmat, K, width, height, antialiased,
    splats, tile_boxes, depth_keys,
):  # fmt: skip
    rows, keys = np.zeros(_ROWS * _BLOCK, np.float32), np.empty(_BLOCK, np.int32)
    for start in range(first, end, _BLOCK):
        count = min(_BLOCK, end - start)
        _copy_in(start, count, means, quaternions, scales, opacities, rows)
        _project_rows(viewmat, K, width, height, antialiased, rows, keys)
        _copy_out(start, count, colors, rows, keys, splats, tile_boxes, depth_keys)


@njit(cache=True, nogil=True)
def project(
    tickets, means, quaternions, scales, opacities, colors, viewmat, K, width, height, antialiased,
    splats, tile_boxes, depth_keys,
):  # fmt: skip
    """Fill splats [N, 8], tile_boxes [N, 4] (x0, x1, y0, y1; ends excluded), depth_keys [N]."""
    count = means.shape[0]
    chunk = take_ticket(tickets)
    while chunk * CHUNK < count:
        _project_chunk(
            chunk * CHUNK, min(count, (chunk + 1) * CHUNK),
            means, quaternions, scales, opacities, colors, viewmat, K, width, height, antialiased,
            splats, tile_boxes, depth_keys,
        )  # fmt: skip
        chunk = take_ticket(tickets)


@njit(cache=True, fastmath=FASTMATH, error_model="numpy")
def _project_rows_backward(viewmat, K, width, height, antialiased, rows, sums):
    """Gradients of a block of Gaussians from their moments; the camera's are added to `sums`."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    low_x, high_x = _slope_limits(fx, cx, _F(width))
    low_y, high_y = _slope_limits(fy, cy, _F(height))
    r00, r01, r02, t0 = viewmat[0, 0], viewmat[0, 1], viewmat[0, 2], viewmat[0, 3]
    r10, r11, r12, t1 = viewmat[1, 0], viewmat[1, 1], viewmat[1, 2], viewmat[1, 3]
    r20, r21, r22, t2 = viewmat[2, 0], viewmat[2, 1], viewmat[2, 2], viewmat[2, 3]
    # d loss / d rows of the rotation, translation, focal lengths and centre.
    g00 = g01 = g02 = g10 = g11 = g12 = g20 = g21 = g22 = _ZERO
    gt0 = gt1 = gt2 = gfx = gfy = gcx = gcy = _ZERO
    for i in range(_BLOCK):
        seen = rows[_SEEN + i] != _ZERO
        # Anything harmless where there is no splat: all moments are 0 there, and so the gradients.
        mx, my, mz = rows[_MX + i], rows[_MY + i], rows[_MZ + i]
        mx, my, mz = mx if seen else _ZERO, my if seen else _ZERO, mz if seen else _ZERO
        x = r00 * mx + r01 * my + r02 * mz + t0
        y = r10 * mx + r11 * my + r12 * mz + t1
        z = r20 * mx + r21 * my + r22 * mz + t2
        z = z if seen else _ONE
        qw, qx, qy, qz, inverse_norm = _unit_quaternion(
            rows[_QW + i] if seen else _ONE, rows[_QX + i] if seen else _ZERO,
            rows[_QY + i] if seen else _ZERO, rows[_QZ + i] if seen else _ZERO,
        )  # fmt: skip
        m00, m01, m02, m10, m11, m12, m20, m21, m22 = _rotation(qw, qx, qy, qz)
        inverse_z = _ONE / z
        raw_x, raw_y = x * inverse_z, y * inverse_z
        slope_x, slope_y = min(high_x, max(low_x, raw_x)), min(high_y, max(low_y, raw_y))
        free_x = _ONE if slope_x == raw_x else _ZERO  # a clamped slope has no gradient
        free_y = _ONE if slope_y == raw_y else _ZERO
        j0, j2 = fx * inverse_z, -fx * slope_x * inverse_z
        k1, k2 = fy * inverse_z, -fy * slope_y * inverse_z
        a0, a1, a2 = j0 * r00 + j2 * r20, j0 * r01 + j2 * r21, j0 * r02 + j2 * r22
        b0, b1, b2 = k1 * r10 + k2 * r20, k1 * r11 + k2 * r21, k1 * r12 + k2 * r22
        s0, s1, s2 = rows[_S0 + i], rows[_S1 + i], rows[_S2 + i]
        s0, s1, s2 = s0 if seen else _ZERO, s1 if seen else _ZERO, s2 if seen else _ZERO
        # Unscaled (h, l) and scaled (u, v) rows of the projected axes.
        h0 = a0 * m00 + a1 * m10 + a2 * m20
        h1 = a0 * m01 + a1 * m11 + a2 * m21
        h2 = a0 * m02 + a1 * m12 + a2 * m22
        l0 = b0 * m00 + b1 * m10 + b2 * m20
        l1 = b0 * m01 + b1 * m11 + b2 * m21
        l2 = b0 * m02 + b1 * m12 + b2 * m22
        u0, u1, u2, v0, v1, v2 = h0 * s0, h1 * s1, h2 * s2, l0 * s0, l1 * s1, l2 * s2
        xx0, xy, yy0 = (
            u0 * u0 + u1 * u1 + u2 * u2, u0 * v0 + u1 * v1 + u2 * v2,
            v0 * v0 + v1 * v1 + v2 * v2,
        )  # fmt: skip
        determinant = _determinant(u0, u1, u2, v0, v1, v2)
        dilated = determinant + DILATION * (xx0 + yy0) + DILATION * DILATION
        xx, yy = xx0 + DILATION, yy0 + DILATION
        inverse_dilated = _ONE / dilated
        # Conic [[p, q], [q, r]].
        p, q, r = yy * inverse_dilated, -xy * inverse_dilated, xx * inverse_dilated
        w, wx, wy = (
            rows[_MOMENT[MOMENT_1] + i],
            rows[_MOMENT[MOMENT_X] + i],
            rows[_MOMENT[MOMENT_Y] + i],
        )
        # log(alpha) falls by (p dx^2 + r dy^2) / 2 + q dx dy with d = pixel - mean.
        d_px, d_py = p * wx + q * wy, q * wx + r * wy
        d_p = -_HALF * rows[_MOMENT[MOMENT_XX] + i]
        d_half_q = -_HALF * rows[_MOMENT[MOMENT_XY] + i]
        d_r = -_HALF * rows[_MOMENT[MOMENT_YY] + i]
        # d covariance = -conic (d conic) conic.
        e00, e01 = p * d_p + q * d_half_q, p * d_half_q + q * d_r
        e10, e11 = q * d_p + r * d_half_q, q * d_half_q + r * d_r
        d_xx = -(e00 * p + e01 * q)
        d_xy = -(e00 * q + e01 * r) - (e10 * p + e11 * q)
        d_yy = -(e10 * q + e11 * r)
        rows[_OPACITY + i] = w / (rows[_OPACITY + i] if seen else _ONE)
        if antialiased:
            # log(opacity) gained log(determinant / dilated) / 2.
            gained = determinant > MIN_COMPENSATION_SQUARED * dilated
            w = w if gained else _ZERO
            half_w = _HALF * w
            inverse_determinant = _ONE / (determinant if gained else _ONE)
            d_xx += half_w * (yy0 * inverse_determinant - p)
            d_xy -= w * xy * (inverse_determinant - inverse_dilated)
            d_yy += half_w * (xx0 * inverse_determinant - r)
        du0, du1, du2 = (
            _TWO * d_xx * u0 + d_xy * v0, _TWO * d_xx * u1 + d_xy * v1,
            _TWO * d_xx * u2 + d_xy * v2,
        )  # fmt: skip
        dv0, dv1, dv2 = (
            _TWO * d_yy * v0 + d_xy * u0, _TWO * d_yy * v1 + d_xy * u1,
            _TWO * d_yy * v2 + d_xy * u2,
        )  # fmt: skip
        rows[_S0 + i] = du0 * h0 + dv0 * l0
        rows[_S1 + i] = du1 * h1 + dv1 * l1
        rows[_S2 + i] = du2 * h2 + dv2 * l2
        du0 *= s0
        du1 *= s1
        du2 *= s2
        dv0 *= s0
        dv1 *= s1
        dv2 *= s2
        # Gaussian's rotation, then its quaternion (orthogonal to the unit quaternion).
        n00, n01, n02 = a0 * du0 + b0 * dv0, a0 * du1 + b0 * dv1, a0 * du2 + b0 * dv2
        n10, n11, n12 = a1 * du0 + b1 * dv0, a1 * du1 + b1 * dv1, a1 * du2 + b1 * dv2
        n20, n21, n22 = a2 * du0 + b2 * dv0, a2 * du1 + b2 * dv1, a2 * du2 + b2 * dv2
        d_qw = _TWO * (qx * (n21 - n12) + qy * (n02 - n20) + qz * (n10 - n01))
        d_qx = _TWO * (
            qw * (n21 - n12) - _TWO * qx * (n11 + n22) + qy * (n01 + n10) + qz * (n02 + n20)
        )
        d_qy = _TWO * (
            qw * (n02 - n20) + qx * (n01 + n10) - _TWO * qy * (n00 + n22) + qz * (n12 + n21)
        )
        d_qz = _TWO * (
            qw * (n10 - n01) + qx * (n02 + n20) + qy * (n12 + n21) - _TWO * qz * (n00 + n11)
        )
        along = d_qw * qw + d_qx * qx + d_qy * qy + d_qz * qz
        rows[_QW + i] = (d_qw - along * qw) * inverse_norm
        rows[_QX + i] = (d_qx - along * qx) * inverse_norm
        rows[_QY + i] = (d_qy - along * qy) * inverse_norm
        rows[_QZ + i] = (d_qz - along * qz) * inverse_norm
        # Rows of Jacobian times camera rotation, then the Jacobian.
        da0 = m00 * du0 + m01 * du1 + m02 * du2
        da1 = m10 * du0 + m11 * du1 + m12 * du2
        da2 = m20 * du0 + m21 * du1 + m22 * du2
        db0 = m00 * dv0 + m01 * dv1 + m02 * dv2
        db1 = m10 * dv0 + m11 * dv1 + m12 * dv2
        db2 = m20 * dv0 + m21 * dv1 + m22 * dv2
        d_j0, d_j2 = r00 * da0 + r01 * da1 + r02 * da2, r20 * da0 + r21 * da1 + r22 * da2
        d_k1, d_k2 = r10 * db0 + r11 * db1 + r12 * db2, r20 * db0 + r21 * db1 + r22 * db2
        d_slope_x, d_slope_y = -j0 * d_j2 * free_x, -k1 * d_k2 * free_y
        d_x = (fx * d_px + d_slope_x) * inverse_z
        d_y = (fy * d_py + d_slope_y) * inverse_z
        d_z = -inverse_z * (
            j0 * d_j0 + j2 * d_j2 + k1 * d_k1 + k2 * d_k2 + raw_x * (fx * d_px + d_slope_x)
            + raw_y * (fy * d_py + d_slope_y)
        )  # fmt: skip
        rows[_MX + i] = r00 * d_x + r10 * d_y + r20 * d_z
        rows[_MY + i] = r01 * d_x + r11 * d_y + r21 * d_z
        rows[_MZ + i] = r02 * d_x + r12 * d_y + r22 * d_z
        # The camera: through the mean, and its rotation through the covariance too.
        g00 += d_x * mx + j0 * da0
        g01 += d_x * my + j0 * da1
        g02 += d_x * mz + j0 * da2
        g10 += d_y * mx + k1 * db0
        g11 += d_y * my + k1 * db1
        g12 += d_y * mz + k1 * db2
        g20 += d_z * mx + j2 * da0 + k2 * db0
        g21 += d_z * my + j2 * da1 + k2 * db1
        g22 += d_z * mz + j2 * da2 + k2 * db2
        gt0 += d_x
        gt1 += d_y
        gt2 += d_z
        gfx += raw_x * d_px + inverse_z * (d_j0 - slope_x * d_j2)
        gfy += raw_y * d_py + inverse_z * (d_k1 - slope_y * d_k2)
        gcx += d_px
        gcy += d_py
    found = (
        g00, g01, g02, gt0, g10, g11, g12, gt1, g20, g21, g22, gt2, gfx, gfy, gcx, gcy,
    )  # fmt: skip
    for k in range(16):
        sums[k] += found[k]


@njit(cache=True)
def _project_chunk_backward(
    first, end, means, quaternions, scales, opacities, viewmat, K, width, height, antialiased,
    depth_keys, moments,
    d_means, d_quaternions, d_scales, d_opacities, sums,
):  # fmt: skip
    rows = np.zeros(_ROWS * _BLOCK, np.float32)
    sums[:] = _ZERO
    for start in range(first, end, _BLOCK):
        count = min(_BLOCK, end - start)
        _copy_in(start, count, means, quaternions, scales, opacities, rows)
        for k in range(count):
            rows[_SEEN + k] = _ZERO if depth_keys[start + k] == INVISIBLE else _ONE
            for moment in range(MOMENT_COLOR):
                rows[_MOMENT[moment] + k] = moments[start + k, moment]
        for k in range(count, _BLOCK):
            rows[_SEEN + k] = _ZERO
            for moment in range(MOMENT_COLOR):
                rows[_MOMENT[moment] + k] = _ZERO
        _project_rows_backward(viewmat, K, width, height, antialiased, rows, sums)
        for k in range(count):
            i = start + k
            for c in range(3):
                d_means[i, c] = rows[_MEAN[c] + k]
                d_scales[i, c] = rows[_SCALE[c] + k]
            for c in range(4):
                d_quaternions[i, c] = rows[_QUATERNION[c] + k]
            d_opacities[i] = rows[_OPACITY + k]


@njit(cache=True, nogil=True)
def project_backward(
    tickets, means, quaternions, scales, opacities, viewmat, K, width, height, antialiased,
    depth_keys, moments,
    d_means, d_quaternions, d_scales, d_opacities, camera_sums,
):  # fmt: skip
    """Moments [N, >= 6] of the blend -> gradients; camera_sums [chunks, 16] hold viewmat's upper
    three rows and fx, fy, cx, cy."""
    count = means.shape[0]
    chunk = take_ticket(tickets)
    while chunk < camera_sums.shape[0]:
        _project_chunk_backward(
            chunk * CHUNK, min(count, (chunk + 1) * CHUNK),
            means, quaternions, scales, opacities, viewmat, K, width, height, antialiased,
            depth_keys, moments,
            d_means, d_quaternions, d_scales, d_opacities, camera_sums[chunk],
        )  # fmt: skip
        chunk = take_ticket(tickets)
