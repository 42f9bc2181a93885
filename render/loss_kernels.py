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
_RADIUS = WINDOW_RADIUS
_G0, _G1, _G2, _G3, _G4, _G5 = (
    _F(value) for value in gaussian_window().numpy()[: WINDOW_RADIUS + 1]
)
_C1, _C2, _ZERO, _ONE, _TWO = _F(C1), _F(C2), _F(0), _F(1), _F(2)
# Sums may be reordered and contracted; NaN and infinity keep their meaning.
_FASTMATH = {"contract", "reassoc", "nsz", "arcp"}


@njit(cache=True, fastmath=_FASTMATH)
def _weigh(source, first, step, out):
    """out[x] = sum over the window's 11 taps k of weight[k] * source[first + k * step + x].

    The taps are views, since an index with a sign that the compiler cannot know would be tested
    for wrapping around, and the test would keep the loop scalar.
    """
    count = out.shape[0]
    t0, t1 = source[first:], source[first + step :]
    t2, t3 = source[first + 2 * step :], source[first + 3 * step :]
    t4, t5 = source[first + 4 * step :], source[first + 5 * step :]
    t6, t7 = source[first + 6 * step :], source[first + 7 * step :]
    t8, t9 = source[first + 8 * step :], source[first + 9 * step :]
    t10 = source[first + 10 * step :]
    for x in range(count):
        out[x] = (
            _G0 * (t0[x] + t10[x])
            + _G1 * (t1[x] + t9[x])
            + _G2 * (t2[x] + t8[x])
            + _G3 * (t3[x] + t7[x])
            + _G4 * (t4[x] + t6[x])
            + _G5 * t5[x]
        )


@njit(cache=True, fastmath=_FASTMATH)
def _window_row(plane, y, width, channels, out):
    """The window over row y of a plane that `padded_planes` made."""
    pad = _RADIUS * channels
    columns = np.zeros(width + 2 * pad, plane.dtype)
    _weigh(plane, y * width, width, columns[pad : pad + width])
    _weigh(columns, 0, channels, out)


def padded_planes(count, height, width, dtype):
    """Planes [count, (H + 10) * W] whose outer rows, before and after the picture, are zero."""
    planes = np.empty((count, (height + 2 * _RADIUS) * width), dtype)
    planes[:, : _RADIUS * width] = 0
    planes[:, (height + _RADIUS) * width :] = 0
    return planes


@njit(parallel=True, cache=True, fastmath=_FASTMATH)
def target_statistics(target, channels, planes, mean, variance):
    """Windowed mean and variance of the target, both [H, W * C]; planes [2, ...] are scratch."""
    height, width = target.shape
    inside = _RADIUS * width
    for y in prange(height):
        row = inside + y * width
        for x in range(width):
            planes[0, row + x] = target[y, x]
            planes[1, row + x] = target[y, x] * target[y, x]
    for y in prange(height):
        _window_row(planes[0], y, width, channels, mean[y])
        _window_row(planes[1], y, width, channels, variance[y])
        for x in range(width):
            variance[y, x] -= mean[y, x] * mean[y, x]


@njit(parallel=True, cache=True, fastmath=_FASTMATH)
def image_moments(image, target, planes):
    """Planes [3, ...]: the image, its square, its product with the target."""
    height, width = image.shape
    for y in prange(height):
        row = (y + _RADIUS) * width
        for x in range(width):
            planes[0, row + x] = image[y, x]
        for x in range(width):
            planes[1, row + x] = image[y, x] * image[y, x]
        for x in range(width):
            planes[2, row + x] = image[y, x] * target[y, x]


@njit(parallel=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def loss_rows(
    image, target, target_mean, target_variance, weight, channels, ssim_weight,
    moments, row_loss, derivatives,
):  # fmt: skip
    """Weighted loss of each row, and the loss's derivatives by the windowed moments of the image.

    With E the window, derivatives [3, ...] are by E[image], E[image^2] and E[image * target].
    """
    height, width = image.shape
    l1_weight = _ONE - ssim_weight
    for y in prange(height):
        means, squares = np.empty(width, image.dtype), np.empty(width, image.dtype)
        products = np.empty(width, image.dtype)
        _window_row(moments[0], y, width, channels, means)
        _window_row(moments[1], y, width, channels, squares)
        _window_row(moments[2], y, width, channels, products)
        total = image.dtype.type(0)
        for x in range(width):
            mean, other_mean = means[x], target_mean[y, x]
            variance = squares[x] - mean * mean
            covariance = products[x] - mean * other_mean
            numerator1 = _TWO * mean * other_mean + _C1
            numerator2 = _TWO * covariance + _C2
            denominator1 = mean * mean + other_mean * other_mean + _C1
            denominator2 = variance + target_variance[y, x] + _C2
            inverse = _ONE / (denominator1 * denominator2)
            ssim = numerator1 * numerator2 * inverse
            w = weight[y, x]
            total += w * (l1_weight * abs(image[y, x] - target[y, x]) + ssim_weight * (_ONE - ssim))
            by_variance = -ssim * inverse * denominator1
            by_covariance = _TWO * numerator1 * inverse
            direct = _TWO * inverse * (other_mean * numerator2 - ssim * mean * denominator2)
            scale = -ssim_weight * w
            # In place: rows of their own, unlike views of one array, cannot overlap, and only
            # loops that the compiler knows to be free of that become vectors.
            means[x] = scale * (direct - _TWO * mean * by_variance - other_mean * by_covariance)
            squares[x] = scale * by_variance
            products[x] = scale * by_covariance
        row_loss[y] = total
        first = (y + _RADIUS) * width
        for x in range(width):
            derivatives[0, first + x] = means[x]
        for x in range(width):
            derivatives[1, first + x] = squares[x]
        for x in range(width):
            derivatives[2, first + x] = products[x]


@njit(parallel=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def loss_gradient(image, target, weight, channels, ssim_weight, derivatives, gradient):
    """Gradient of the summed loss by the image, [H, W * C]; the window is its own adjoint."""
    height, width = image.shape
    l1_weight = _ONE - ssim_weight
    for y in prange(height):
        by_mean, by_square = np.empty(width, image.dtype), np.empty(width, image.dtype)
        by_product = np.empty(width, image.dtype)
        _window_row(derivatives[0], y, width, channels, by_mean)
        _window_row(derivatives[1], y, width, channels, by_square)
        _window_row(derivatives[2], y, width, channels, by_product)
        for x in range(width):
            difference = image[y, x] - target[y, x]
            sign = _ZERO
            if difference > _ZERO:
                sign = _ONE
            elif difference < _ZERO:
                sign = -_ONE
            gradient[y, x] = (
                by_mean[x]
                + _TWO * image[y, x] * by_square[x]
                + target[y, x] * by_product[x]
                + l1_weight * weight[y, x] * sign
            )
