"""Affine resampling in the project's pixel convention: the first pixel's centre is at 0.5."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.capture.opencv import cv2


def warp_affine(image: NDArray, matrix: NDArray[np.floating], width: int, height: int) -> NDArray:
    """Resample `image` [H, W(, C)] (u8 or f32) so that target = matrix [2, 3] @ (source, 1).

    Outside the picture its edge is repeated. When the picture shrinks it is blurred first, as much
    as a box of the new pixel would: OpenCV's affine warp samples, it does not average.
    """
    matrix = np.asarray(matrix, np.float64)
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    image, offset = _cut(image, matrix, width, height)
    # target + 0.5 = A (source + offset + 0.5) + b, as OpenCV counts from pixel centres
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2] @ (offset + 0.5) - 0.5
    if scale < 0.9:
        sigma = 0.4 * float(np.sqrt(1.0 / scale**2 - 1.0))
        image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return cv2.warpAffine(
        image, centred, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


def _cut(
    image: NDArray, matrix: NDArray[np.float64], width: int, height: int
) -> tuple[NDArray, NDArray[np.float64]]:
    """The part of the picture that the target shows, and where it begins (x, y): blurring all of
    a 12 megapixel photo for a head would take longer than the rest."""
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    seen = corners @ inverse[:, :2].T + inverse[:, 2]
    margin = 8 + 2 / max(float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))), 1e-3)
    limit = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(seen.min(axis=0) - margin), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(seen.max(axis=0) + margin), low + 1, limit).astype(int)
    return image[low[1] : high[1], low[0] : high[0]], low.astype(np.float64)
