"""Texture space: which point of the surface each texel is, and texels that are no point filled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from avatar3d.io.surface import Surface


class Texels(NamedTuple):
    """The texels that lie on a surface. Row 0 is the top of the picture (v = 1)."""

    index: np.ndarray  # [P] row * size + column
    triangle: np.ndarray  # [P]
    barycentrics: np.ndarray  # [P, 3]

    def interpolate(self, surface: Surface, values: np.ndarray) -> np.ndarray:
        """Vertex values [V, C] at the texels, [P, C]."""
        corners = values[surface.triangles[self.triangle]]
        return np.einsum("pk,pkc->pc", self.barycentrics, corners)


def surface_texels(surface: Surface, size: int) -> Texels:
    """Texels whose centre some triangle covers. Where several do, the most forward-facing wins,
    because that is the one with Gaussians: teeth and tongue are seen from the front."""
    corners = surface.uv[surface.triangles] * [size, -size] + [0, size]  # [F, 3, 2] in texels
    low = np.ceil(corners.min(1) - 0.5).astype(np.int64).clip(0, size)
    high = (np.floor(corners.max(1) - 0.5).astype(np.int64) + 1).clip(0, size)
    extent = (high - low).clip(0)
    count = extent[:, 0] * extent[:, 1]
    ends = np.cumsum(count)
    triangle = np.repeat(np.arange(len(count)), count)
    within = np.arange(ends[-1]) - np.repeat(ends - count, count)
    width = extent[triangle, 0]
    column = low[triangle, 0] + within % width
    row = low[triangle, 1] + within // width

    a, b, c = corners[triangle].transpose(1, 0, 2)
    p = np.stack([column, row], axis=-1) + 0.5
    area = _cross(b - a, c - a)
    safe = np.where(area == 0, np.inf, area)
    weights = np.stack([_cross(b - p, c - p), _cross(c - p, a - p), _cross(a - p, b - p)], -1)
    weights = weights / safe[:, None]
    inside = (weights >= -1e-9).all(1) & (area != 0)
    triangle, weights = triangle[inside], weights[inside].clip(0)
    index = row[inside] * size + column[inside]
    points = surface.vertices[surface.triangles]
    normal = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    forward = normal[:, 2] / np.linalg.norm(normal, axis=-1).clip(1e-20)
    order = np.lexsort((-forward[triangle], index))
    kept = order[np.r_[True, np.diff(index[order]) != 0]] if len(order) else order
    weights = weights[kept]
    return Texels(index[kept], triangle[kept], weights / weights.sum(-1, keepdims=True))


def filled(picture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """`picture` [S, S, C] with unknown texels taken from the nearest levels of a pyramid.

    So a seam is followed by its own colour for any width, and mip levels never mix in black.
    """
    weight = known.astype(np.float64)[..., None]
    levels = [(picture * weight, weight)]
    while min(levels[-1][0].shape[:2]) > 1:
        color, weight = levels[-1]
        levels.append((_halved(color), _halved(weight)))
    result = levels[-1][0] / levels[-1][1].clip(1e-12)
    for color, weight in levels[-2::-1]:
        height, width = color.shape[:2]
        coarse = result.repeat(2, 0).repeat(2, 1)[:height, :width]
        own = color / weight.clip(1e-12)
        trust = weight.clip(0, 1)
        result = trust * own + (1 - trust) * coarse
    return np.where(known[..., None], picture, result)


def _halved(values: np.ndarray) -> np.ndarray:
    height, width = values.shape[:2]
    padded = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    return padded.reshape((height + 1) // 2, 2, (width + 1) // 2, 2, -1).sum((1, 3))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
