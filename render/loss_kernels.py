"""Numba kernels of the fused L1 + SSIM loss: value and gradient in one pass over the picture.

Pictures are rows of interleaved channels, [H, W * C]: a neighbour in x lies C values away, so one
loop serves all channels and vectorises over them. Windows reach over the border into zeros.
Imported only when the loss is used, since importing Numba is slow.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from avatar3d.numba_tickets import take_ticket
from render.metrics.ssim import C1, C2, WINDOW_RADIUS, gaussian_window

# Literal constants of the kernels; float32 so that float32 pictures are not promoted.
_F = np.float32
WINDOW = gaussian_window().numpy()
_RADIUS = WINDOW_RADIUS
_BAND_ROWS = 64  # of one task
_G0, _G1, _G2, _G3, _G4, _G5 = (_F(value) for value in WINDOW[: WINDOW_RADIUS + 1])
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


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def target_statistics(target, channels, planes, mean, variance):
    """Windowed mean and variance of the target, both [H, W * C]; planes [2, ...] are scratch."""
    height, width = target.shape
    inside = _RADIUS * width
    for y in range(height):
        row = inside + y * width
        for x in range(width):
            planes[0, row + x] = target[y, x]
            planes[1, row + x] = target[y, x] * target[y, x]
    for y in range(height):
        _window_row(planes[0], y, width, channels, mean[y])
        _window_row(planes[1], y, width, channels, variance[y])
        for x in range(width):
            variance[y, x] -= mean[y, x] * mean[y, x]


@njit(cache=True, fastmath=_FASTMATH)
def _window_columns(image, target, y, left, weights, sums, squares, products):
    """The window over the column above and below row y of the image, its square, and its product
    with the target, from column `left` on. Rows beyond the border weigh nothing."""
    height, width = image.shape[0], len(sums)
    taps = np.zeros(2 * _RADIUS + 1, image.dtype)
    rows = np.zeros(2 * _RADIUS + 1, np.int64)
    for k in range(2 * _RADIUS + 1):
        row = y + k - _RADIUS
        inside = 0 <= row < height
        taps[k] = weights[k] if inside else _ZERO
        rows[k] = row if inside else 0
    g0, g1, g2, g3, g4, g5 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5]
    g6, g7, g8, g9, g10 = taps[6], taps[7], taps[8], taps[9], taps[10]
    i0, i1, i2 = image[rows[0], left:], image[rows[1], left:], image[rows[2], left:]
    i3, i4, i5 = image[rows[3], left:], image[rows[4], left:], image[rows[5], left:]
    i6, i7, i8 = image[rows[6], left:], image[rows[7], left:], image[rows[8], left:]
    i9, i10 = image[rows[9], left:], image[rows[10], left:]
    t0, t1, t2 = target[rows[0], left:], target[rows[1], left:], target[rows[2], left:]
    t3, t4, t5 = target[rows[3], left:], target[rows[4], left:], target[rows[5], left:]
    t6, t7, t8 = target[rows[6], left:], target[rows[7], left:], target[rows[8], left:]
    t9, t10 = target[rows[9], left:], target[rows[10], left:]
    for x in range(width):
        w0, w1, w2, w3 = g0 * i0[x], g1 * i1[x], g2 * i2[x], g3 * i3[x]
        w4, w5, w6, w7 = g4 * i4[x], g5 * i5[x], g6 * i6[x], g7 * i7[x]
        w8, w9, w10 = g8 * i8[x], g9 * i9[x], g10 * i10[x]
        sums[x] = ((w0 + w1) + (w2 + w3)) + ((w4 + w5) + (w6 + w7)) + ((w8 + w9) + w10)
        squares[x] = (
            w0 * i0[x] + w1 * i1[x] + w2 * i2[x] + w3 * i3[x] + w4 * i4[x] + w5 * i5[x]
            + w6 * i6[x] + w7 * i7[x] + w8 * i8[x] + w9 * i9[x] + w10 * i10[x]
        )  # fmt: skip
        products[x] = (
            w0 * t0[x] + w1 * t1[x] + w2 * t2[x] + w3 * t3[x] + w4 * t4[x] + w5 * t5[x]
            + w6 * t6[x] + w7 * t7[x] + w8 * t8[x] + w9 * t9[x] + w10 * t10[x]
        )  # fmt: skip


@njit(cache=True, fastmath=_FASTMATH, error_model="numpy")
def _derive(
    image, target, other_mean, other_variance, weight, ssim_weight, means, squares, products
):
    """A row's weighted loss; its moments E[image], E[image^2], E[image * target] become the loss's
    derivatives by them, in place: rows of their own, unlike views of one array, cannot overlap, and
    only loops that the compiler knows to be free of that become vectors."""
    l1_weight = _ONE - ssim_weight
    total = image.dtype.type(0)
    for x in range(len(image)):
        mean, true_mean = means[x], other_mean[x]
        variance = squares[x] - mean * mean
        covariance = products[x] - mean * true_mean
        numerator1 = _TWO * mean * true_mean + _C1
        numerator2 = _TWO * covariance + _C2
        denominator1 = mean * mean + true_mean * true_mean + _C1
        denominator2 = variance + other_variance[x] + _C2
        inverse = _ONE / (denominator1 * denominator2)
        ssim = numerator1 * numerator2 * inverse
        w = weight[x]
        total += w * (l1_weight * abs(image[x] - target[x]) + ssim_weight * (_ONE - ssim))
        by_variance = -ssim * inverse * denominator1
        by_covariance = _TWO * numerator1 * inverse
        direct = _TWO * inverse * (true_mean * numerator2 - ssim * mean * denominator2)
        scale = -ssim_weight * w
        means[x] = scale * (direct - _TWO * mean * by_variance - true_mean * by_covariance)
        squares[x] = scale * by_variance
        products[x] = scale * by_covariance
    return total


@njit(cache=True, fastmath=_FASTMATH)
def _gradient_row(image, target, weight, ssim_weight, by_mean, by_square, by_product, gradient):
    """From the derivatives by the moments, windowed (the window is its own adjoint)."""
    l1_weight = _ONE - ssim_weight
    for x in range(len(image)):
        difference = image[x] - target[x]
        sign = _ONE if difference > _ZERO else (-_ONE if difference < _ZERO else _ZERO)
        gradient[x] = (
            by_mean[x]
            + _TWO * image[x] * by_square[x]
            + target[x] * by_product[x]
            + l1_weight * weight[x] * sign
        )


@njit(cache=True)
def _differs(image, target, first, end):
    """The first and past-the-last column in which rows first..end of the pictures differ."""
    width = image.shape[1]
    left, right = width, 0
    for y in range(max(first, 0), min(end, image.shape[0])):
        x = 0
        while x < left and image[y, x] == target[y, x]:
            x += 1
        left = min(left, x)
        x = width
        while x > right and image[y, x - 1] == target[y, x - 1]:
            x -= 1
        right = max(right, x)
    return left, right


@njit(cache=True)
def _band(
    first, end, image, target, target_mean, target_variance, weight, channels, ssim_weight, weights,
    row_loss, gradient,
):  # fmt: skip
    """Rows first..end: the loss, and the gradient if there is room for it.

    The window reaches five rows beyond them, so those rows' derivatives are computed too. The last
    eleven rows of derivatives, windowed in x, are kept in a ring that stays in the cache. Columns
    where both pictures are the same as far as windows reach, a background mostly, are left out:
    the loss is 0 there and at its minimum.
    """
    height = image.shape[0]
    wanted = len(gradient) > 0
    reach = _RADIUS if wanted else 0
    pad, taps = _RADIUS * channels, 2 * _RADIUS + 1
    kind = image.dtype
    row_loss[first:end] = _ZERO
    left, right = _differs(image, target, first - 2 * _RADIUS, end + 2 * _RADIUS)
    # Windows of windows see the difference from twice their reach.
    left, right = max(left - 2 * pad, 0), min(right + 2 * pad, image.shape[1])
    if left >= right:
        if wanted:
            gradient[first:end] = _ZERO
        return
    if wanted:
        for y in range(first, end):
            gradient[y, :left] = _ZERO
            gradient[y, right:] = _ZERO
    width = right - left
    # What is left out looks like what is beyond the border, so a window must not begin there: the
    # moments are taken of the picture itself, on a margin that is as wide as a window reaches.
    before, behind = min(pad, left), min(pad, image.shape[1] - right)
    # Rows with zeros at both ends: of moments, and of what follows from them.
    columns = np.zeros((3, width + 2 * pad), kind)
    padded0, padded1 = np.zeros(width + 2 * pad, kind), np.zeros(width + 2 * pad, kind)
    padded2 = np.zeros(width + 2 * pad, kind)
    means, squares = padded0[pad : pad + width], padded1[pad : pad + width]
    products = padded2[pad : pad + width]
    by_mean, by_square = np.empty(width, kind), np.empty(width, kind)
    by_product = np.empty(width, kind)
    ring = np.zeros((3, taps * width), kind)
    for y in range(first - reach, end + reach):
        slot = (y % taps) * width
        if 0 <= y < height:
            _window_columns(
                image, target, y, left - before, weights,
                columns[0, pad - before : pad + width + behind],
                columns[1, pad - before : pad + width + behind],
                columns[2, pad - before : pad + width + behind],
            )  # fmt: skip
            _weigh(columns[0], 0, channels, means)
            _weigh(columns[1], 0, channels, squares)
            _weigh(columns[2], 0, channels, products)
            total = _derive(
                image[y, left:right], target[y, left:right], target_mean[y, left:right],
                target_variance[y, left:right], weight[y % len(weight), left:right], ssim_weight,
                means, squares, products,
            )  # fmt: skip
            if first <= y < end:
                row_loss[y] = total
            if not wanted:
                continue
            _weigh(padded0, 0, channels, ring[0, slot : slot + width])
            _weigh(padded1, 0, channels, ring[1, slot : slot + width])
            _weigh(padded2, 0, channels, ring[2, slot : slot + width])
        elif wanted:
            ring[:, slot : slot + width] = _ZERO
        done = y - reach
        if wanted and done >= first:
            _weigh_ring(ring[0], done % taps, width, by_mean)
            _weigh_ring(ring[1], done % taps, width, by_square)
            _weigh_ring(ring[2], done % taps, width, by_product)
            _gradient_row(
                image[done, left:right], target[done, left:right],
                weight[done % len(weight), left:right], ssim_weight, by_mean, by_square,
                by_product, gradient[done, left:right],
            )  # fmt: skip


@njit(cache=True, fastmath=_FASTMATH)
def _weigh_ring(ring, centre, width, out):
    """The window over the eleven rows of a ring, the middle one in slot `centre`."""
    taps = 2 * _RADIUS + 1
    r5 = ring[centre * width :]
    r4, r6 = ring[(centre + 10) % taps * width :], ring[(centre + 1) % taps * width :]
    r3, r7 = ring[(centre + 9) % taps * width :], ring[(centre + 2) % taps * width :]
    r2, r8 = ring[(centre + 8) % taps * width :], ring[(centre + 3) % taps * width :]
    r1, r9 = ring[(centre + 7) % taps * width :], ring[(centre + 4) % taps * width :]
    r0, r10 = ring[(centre + 6) % taps * width :], ring[(centre + 5) % taps * width :]
    for x in range(width):
        out[x] = (
            _G0 * (r0[x] + r10[x])
            + _G1 * (r1[x] + r9[x])
            + _G2 * (r2[x] + r8[x])
            + _G3 * (r3[x] + r7[x])
            + _G4 * (r4[x] + r6[x])
            + _G5 * r5[x]
        )


@njit(cache=True, nogil=True)
def loss_and_gradient(
    tickets, image, target, target_mean, target_variance, weight, channels, ssim_weight, weights,
    row_loss, gradient,
):  # fmt: skip
    """Weighted loss of each row [H], and the summed loss's gradient by the image, [H, W * C] or
    [0, 0] where it is not wanted. Bands are the same at any number of threads."""
    height = len(image)
    first = _BAND_ROWS * take_ticket(tickets)
    while first < height:
        _band(
            first, min(height, first + _BAND_ROWS), image, target, target_mean, target_variance,
            weight, channels, ssim_weight, weights, row_loss, gradient,
        )  # fmt: skip
        first = _BAND_ROWS * take_ticket(tickets)
