"""Numba kernels: Gaussians to splats on the picture, and the gradients back.

The formulas are those of `render.backends.reference.project`; here every Gaussian is one turn of a
scalar loop, and the backward pass computes the forward values anew instead of storing them.
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (an intrinsic is called without the typing context that its definition takes)

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from render.backends.cpu.intrinsics import float_bits
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
_INFINITY = _F(np.inf)
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
def _unit_quaternion(quaternion):
    """w, x, y, z and the inverse of its length; without a direction: no rotation, and 0."""
    w, x, y, z = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
    squared = w * w + x * x + y * y + z * z
    if squared < MIN_SQUARED_LENGTH:
        return _ONE, _ZERO, _ZERO, _ZERO, _ZERO
    inverse = _ONE / math.sqrt(squared)
    if not squared <= MAX_SQUARED_LENGTH:
        inverse = _F(np.nan)  # not drawn
    return w * inverse, x * inverse, y * inverse, z * inverse, inverse


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


@njit(cache=True, fastmath=FASTMATH, error_model="numpy")
def _project_range(
    first, end, means, quaternions, scales, opacities, colors, viewmat, K, width, height, antialiased,
    splats, tile_boxes, depth_keys,
):  # fmt: skip
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    low_x, high_x = _slope_limits(fx, cx, _F(width))
    low_y, high_y = _slope_limits(fy, cy, _F(height))
    r00, r01, r02, t0 = viewmat[0, 0], viewmat[0, 1], viewmat[0, 2], viewmat[0, 3]
    r10, r11, r12, t1 = viewmat[1, 0], viewmat[1, 1], viewmat[1, 2], viewmat[1, 3]
    r20, r21, r22, t2 = viewmat[2, 0], viewmat[2, 1], viewmat[2, 2], viewmat[2, 3]
    for i in range(first, end):
        tile_boxes[i, 0] = 0
        tile_boxes[i, 1] = 0
        tile_boxes[i, 2] = 0
        tile_boxes[i, 3] = 0
        depth_keys[i] = INVISIBLE
        mx, my, mz = means[i, 0], means[i, 1], means[i, 2]
        x = r00 * mx + r01 * my + r02 * mz + t0
        y = r10 * mx + r11 * my + r12 * mz + t1
        z = r20 * mx + r21 * my + r22 * mz + t2
        opacity = opacities[i]
        if not (z >= NEAR and opacity >= ALPHA_THRESHOLD):
            continue
        finite = True  # other numbers that are not show in the splat's extent
        for channel in range(colors.shape[1]):
            finite = finite and abs(colors[i, channel]) < _INFINITY
        if not finite:
            continue
        qw, qx, qy, qz, _ = _unit_quaternion(quaternions[i])
        m00, m01, m02, m10, m11, m12, m20, m21, m22 = _rotation(qw, qx, qy, qz)
        inverse_z = _ONE / z
        slope_x = min(high_x, max(low_x, x * inverse_z))
        slope_y = min(high_y, max(low_y, y * inverse_z))
        # Rows of Jacobian times camera rotation.
        j0, j2 = fx * inverse_z, -fx * slope_x * inverse_z
        k1, k2 = fy * inverse_z, -fy * slope_y * inverse_z
        a0, a1, a2 = j0 * r00 + j2 * r20, j0 * r01 + j2 * r21, j0 * r02 + j2 * r22
        b0, b1, b2 = k1 * r10 + k2 * r20, k1 * r11 + k2 * r21, k1 * r12 + k2 * r22
        s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
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
        log2_opacity = math.log2(opacity)
        reach = _TWO_LN_2 * (log2_opacity - LOG2_ALPHA_THRESHOLD)  # squared Mahalanobis distance
        px, py = fx * x * inverse_z + cx, fy * y * inverse_z + cy
        if not (reach >= _ZERO and abs(px) < MAX_EXTENT and abs(py) < MAX_EXTENT):
            continue
        half_width, half_height = math.sqrt(reach * xx), math.sqrt(reach * yy)
        if not (half_width < MAX_EXTENT and half_height < MAX_EXTENT):
            continue
        # Pixels whose centres lie in the box where alpha reaches the threshold.
        x0 = max(int(math.ceil(px - half_width - _HALF)), 0)
        x1 = min(int(math.floor(px + half_width - _HALF)), width - 1)
        y0 = max(int(math.ceil(py - half_height - _HALF)), 0)
        y1 = min(int(math.floor(py + half_height - _HALF)), height - 1)
        if x0 > x1 or y0 > y1:
            continue
        tile_boxes[i, 0] = x0 // TILE_PX
        tile_boxes[i, 1] = x1 // TILE_PX + 1
        tile_boxes[i, 2] = y0 // TILE_PX
        tile_boxes[i, 3] = y1 // TILE_PX + 1
        depth_keys[i] = np.uint32(float_bits(z))
        scale = _LOG2_E / dilated
        splats[i, SPLAT_X] = px
        splats[i, SPLAT_Y] = py
        splats[i, SPLAT_A] = _HALF * scale * yy
        splats[i, SPLAT_B] = -scale * xy
        splats[i, SPLAT_C] = _HALF * scale * xx
        splats[i, SPLAT_POWER] = log2_opacity


@njit(parallel=True, cache=True)
def project(
    means, quaternions, scales, opacities, colors, viewmat, K, width, height, antialiased,
    splats, tile_boxes, depth_keys,
):  # fmt: skip
    """Fill splats [N, 8], tile_boxes [N, 4] (x0, x1, y0, y1; ends excluded), depth_keys [N]."""
    count = means.shape[0]
    for chunk in prange((count + CHUNK - 1) // CHUNK):
        _project_range(
            chunk * CHUNK, min(count, (chunk + 1) * CHUNK),
            means, quaternions, scales, opacities, colors, viewmat, K, width, height, antialiased,
            splats, tile_boxes, depth_keys,
        )  # fmt: skip


@njit(cache=True, fastmath=FASTMATH, error_model="numpy")
def _project_range_backward(
    first, end, means, quaternions, scales, opacities, viewmat, K, width, height, antialiased,
    depth_keys, moments,
    d_means, d_quaternions, d_scales, d_opacities, sums,
):  # fmt: skip
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    low_x, high_x = _slope_limits(fx, cx, _F(width))
    low_y, high_y = _slope_limits(fy, cy, _F(height))
    r00, r01, r02, t0 = viewmat[0, 0], viewmat[0, 1], viewmat[0, 2], viewmat[0, 3]
    r10, r11, r12, t1 = viewmat[1, 0], viewmat[1, 1], viewmat[1, 2], viewmat[1, 3]
    r20, r21, r22, t2 = viewmat[2, 0], viewmat[2, 1], viewmat[2, 2], viewmat[2, 3]
    # d loss / d rows of the rotation, translation, focal lengths and centre.
    g00 = g01 = g02 = g10 = g11 = g12 = g20 = g21 = g22 = _ZERO
    gt0 = gt1 = gt2 = gfx = gfy = gcx = gcy = _ZERO
    for i in range(first, end):
        if depth_keys[i] == INVISIBLE:
            for k in range(3):
                d_means[i, k] = _ZERO
                d_scales[i, k] = _ZERO
            for k in range(4):
                d_quaternions[i, k] = _ZERO
            d_opacities[i] = _ZERO
            continue
        mx, my, mz = means[i, 0], means[i, 1], means[i, 2]
        x = r00 * mx + r01 * my + r02 * mz + t0
        y = r10 * mx + r11 * my + r12 * mz + t1
        z = r20 * mx + r21 * my + r22 * mz + t2
        qw, qx, qy, qz, inverse_norm = _unit_quaternion(quaternions[i])
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
        s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
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
        w, wx, wy = moments[i, MOMENT_1], moments[i, MOMENT_X], moments[i, MOMENT_Y]
        # log(alpha) falls by (p dx^2 + r dy^2) / 2 + q dx dy with d = pixel - mean.
        d_px, d_py = p * wx + q * wy, q * wx + r * wy
        d_p = -_HALF * moments[i, MOMENT_XX]
        d_half_q = -_HALF * moments[i, MOMENT_XY]
        d_r = -_HALF * moments[i, MOMENT_YY]
        # d covariance = -conic (d conic) conic.
        e00, e01 = p * d_p + q * d_half_q, p * d_half_q + q * d_r
        e10, e11 = q * d_p + r * d_half_q, q * d_half_q + r * d_r
        d_xx = -(e00 * p + e01 * q)
        d_xy = -(e00 * q + e01 * r) - (e10 * p + e11 * q)
        d_yy = -(e10 * q + e11 * r)
        d_opacities[i] = w / opacities[i]
        if antialiased and determinant > MIN_COMPENSATION_SQUARED * dilated:
            # log(opacity) gained log(determinant / dilated) / 2.
            half_w = _HALF * w
            inverse_determinant = _ONE / determinant
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
        d_scales[i, 0] = du0 * h0 + dv0 * l0
        d_scales[i, 1] = du1 * h1 + dv1 * l1
        d_scales[i, 2] = du2 * h2 + dv2 * l2
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
        d_quaternions[i, 0] = (d_qw - along * qw) * inverse_norm
        d_quaternions[i, 1] = (d_qx - along * qx) * inverse_norm
        d_quaternions[i, 2] = (d_qy - along * qy) * inverse_norm
        d_quaternions[i, 3] = (d_qz - along * qz) * inverse_norm
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
        d_means[i, 0] = r00 * d_x + r10 * d_y + r20 * d_z
        d_means[i, 1] = r01 * d_x + r11 * d_y + r21 * d_z
        d_means[i, 2] = r02 * d_x + r12 * d_y + r22 * d_z
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
    sums[0], sums[1], sums[2], sums[3] = g00, g01, g02, gt0
    sums[4], sums[5], sums[6], sums[7] = g10, g11, g12, gt1
    sums[8], sums[9], sums[10], sums[11] = g20, g21, g22, gt2
    sums[12], sums[13], sums[14], sums[15] = gfx, gfy, gcx, gcy


@njit(parallel=True, cache=True)
def project_backward(
    means, quaternions, scales, opacities, viewmat, K, width, height, antialiased,
    depth_keys, moments,
    d_means, d_quaternions, d_scales, d_opacities, camera_sums,
):  # fmt: skip
    """Moments [N, >= 6] of the blend -> gradients; camera_sums [chunks, 16] hold viewmat's upper
    three rows and fx, fy, cx, cy."""
    count = means.shape[0]
    for chunk in prange(camera_sums.shape[0]):
        _project_range_backward(
            chunk * CHUNK, min(count, (chunk + 1) * CHUNK),
            means, quaternions, scales, opacities, viewmat, K, width, height, antialiased,
            depth_keys, moments,
            d_means, d_quaternions, d_scales, d_opacities, camera_sums[chunk],
        )  # fmt: skip
