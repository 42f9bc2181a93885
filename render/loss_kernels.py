"""Numba kernels of the fused L1 + SSIM loss: value and gradient in two passes over the picture.

Pictures are rows of interleaved channels, [H, W * C]: a neighbour in x lies C values away, so one
loop serves all channels and vectorises over them. Windows reach over the border into zeros.
Imported only when the loss is used, since importing Numba is slow.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from render.metrics.ssim import C1, C2, WINDOW_RADIUS, gaussian_window

# Literal constants of the kernels; float32 so that float32 pictures are not promoted.
_F = np.float32
_WINDOW = gaussian_window().numpy().astype(_F)
_RADIUS = WINDOW_RADIUS
_G0, _G1, _G2, _G3, _G4, _G5 = (_F(value) for value in _WINDOW[: _RADIUS + 1])
_C1, _C2, _ZERO, _ONE, _TWO = _F(C1), _F(C2), _F(0), _F(1), _F(2)
# Sums may be reordered and contracted; NaN and infinity keep their meaning.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}


@njit(inline="always")
def _filter_row(padded, channels, row):
    """Horizontal window over one row; `padded` carries radius * channels zeros on either side.

    The taps are views, since an index x + k * channels could be negative for all that the compiler
    knows, and its test for that would keep the loop scalar.
    """
    t0, t1, t2, t3 = padded, padded[channels:], padded[2 * channels :], padded[3 * channels :]
    t4, t5, t6 = padded[4 * channels :], padded[5 * channels :], padded[6 * channels :]
    t7, t8, t9 = padded[7 * channels :], padded[8 * channels :], padded[9 * channels :]
    t10 = padded[10 * channels :]
    for x in range(row.shape[0]):
        row[x] = (
            _G0 * (t0[x] + t10[x])
            + _G1 * (t1[x] + t9[x])
            + _G2 * (t2[x] + t8[x])
            + _G3 * (t3[x] + t7[x])
            + _G4 * (t4[x] + t6[x])
            + _G5 * t5[x]
        )


@njit(parallel=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def target_statistics(target, channels, mean, variance):
    """Windowed mean and variance of the target, both [H, W * C]; computed once per target."""
    height, width = target.shape
    pad = _RADIUS * channels
    for y in prange(height):
        column1 = np.zeros(width + 2 * pad, target.dtype)
        column2 = np.zeros(width + 2 * pad, target.dtype)
        inner1 = column1[pad:]
        inner2 = column2[pad:]
        row1 = np.empty(width, target.dtype)
        row2 = np.empty(width, target.dtype)
        for k in range(max(0, _RADIUS - y), min(2 * _RADIUS + 1, height + _RADIUS - y)):
            source = target[y + k - _RADIUS]
            for x in range(width):
                value = _WINDOW[k] * source[x]
                inner1[x] += value
                inner2[x] += value * source[x]
        _filter_row(column1, channels, row1)
        _filter_row(column2, channels, row2)
        for x in range(width):
            mean[y, x] = row1[x]
            variance[y, x] = row2[x] - row1[x] * row1[x]


@njit(parallel=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def loss_rows(
    image, target, target_mean, target_variance, weight, channels, ssim_weight,
    row_loss, d_mean, d_square, d_product,
):  # fmt: skip
    """Weighted loss of each row, and the loss's derivatives by the windowed moments of the image.

    With E the window: d_mean by E[image], d_square by E[image^2], d_product by E[image * target].
    """
    height, width = image.shape
    pad = _RADIUS * channels
    l1_weight = _ONE - ssim_weight
    for y in prange(height):
        column1 = np.zeros(width + 2 * pad, image.dtype)
        column2 = np.zeros(width + 2 * pad, image.dtype)
        column3 = np.zeros(width + 2 * pad, image.dtype)
        inner1 = column1[pad:]
        inner2 = column2[pad:]
        inner3 = column3[pad:]
        row1 = np.empty(width, image.dtype)
        row2 = np.empty(width, image.dtype)
        row3 = np.empty(width, image.dtype)
        for k in range(max(0, _RADIUS - y), min(2 * _RADIUS + 1, height + _RADIUS - y)):
            source = image[y + k - _RADIUS]
            other = target[y + k - _RADIUS]
            for x in range(width):
                value = _WINDOW[k] * source[x]
                inner1[x] += value
                inner2[x] += value * source[x]
                inner3[x] += value * other[x]
        _filter_row(column1, channels, row1)
        _filter_row(column2, channels, row2)
        _filter_row(column3, channels, row3)
        total = image.dtype.type(0)
        for x in range(width):
            mean, other_mean = row1[x], target_mean[y, x]
            variance = row2[x] - mean * mean
            covariance = row3[x] - mean * other_mean
            numerator1 = _TWO * mean * other_mean + _C1
            numerator2 = _TWO * covariance + _C2
            denominator1 = mean * mean + other_mean * other_mean + _C1
            denominator2 = variance + target_variance[y, x] + _C2
            inverse = _ONE / (denominator1 * denominator2)
            ssim = numerator1 * numerator2 * inverse
            w = weight[y, x]
            total += w * (l1_weight * abs(image[y, x] - target[y, x]) + ssim_weight * (_ONE - ssim))
            by_variance = -ssim / denominator2
            by_covariance = _TWO * numerator1 * inverse
            by_mean = _TWO * other_mean * numerator2 * inverse - ssim * _TWO * mean / denominator1
            scale = -ssim_weight * w
            d_mean[y, x] = scale * (
                by_mean - _TWO * mean * by_variance - other_mean * by_covariance
            )
            d_square[y, x] = scale * by_variance
            d_product[y, x] = scale * by_covariance
        row_loss[y] = total


@njit(parallel=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def loss_gradient(
    image, target, weight, channels, ssim_weight, d_mean, d_square, d_product, gradient
):
    """Gradient of the summed loss by the image, [H, W * C]; the window is its own adjoint."""
    height, width = image.shape
    pad = _RADIUS * channels
    l1_weight = _ONE - ssim_weight
    for y in prange(height):
        column1 = np.zeros(width + 2 * pad, image.dtype)
        column2 = np.zeros(width + 2 * pad, image.dtype)
        column3 = np.zeros(width + 2 * pad, image.dtype)
        inner1 = column1[pad:]
        inner2 = column2[pad:]
        inner3 = column3[pad:]
        row1 = np.empty(width, image.dtype)
        row2 = np.empty(width, image.dtype)
        row3 = np.empty(width, image.dtype)
        for k in range(max(0, _RADIUS - y), min(2 * _RADIUS + 1, height + _RADIUS - y)):
            source1 = d_mean[y + k - _RADIUS]
            source2 = d_square[y + k - _RADIUS]
            source3 = d_product[y + k - _RADIUS]
            for x in range(width):
                inner1[x] += _WINDOW[k] * source1[x]
                inner2[x] += _WINDOW[k] * source2[x]
                inner3[x] += _WINDOW[k] * source3[x]
        _filter_row(column1, channels, row1)
        _filter_row(column2, channels, row2)
        _filter_row(column3, channels, row3)
        for x in range(width):
            difference = image[y, x] - target[y, x]
            sign = _ZERO
            if difference > _ZERO:
                sign = _ONE
            elif difference < _ZERO:
                sign = -_ONE
            gradient[y, x] = (
                row1[x]
                + _TWO * image[y, x] * row2[x]
                + target[y, x] * row3[x]
                + l1_weight * weight[y, x] * sign
            )
