"""What the Gaussians look like from just outside a surface: colour, cover and height at points.

A ray goes along the outward normal of each point, from far out to inside. The Gaussians that it
passes are composited front to back, as the rasterizer does for a pixel: a Gaussian's projection
along a line has the exponent of its smallest Mahalanobis distance on that line. So any texture
layout can be filled, and a Gaussian near a seam colours both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_LEAST_ALPHA = 1 / 255
_CELL_M = 0.004  # points are looked up by cells of this side
_CELLS_AT_ONCE = 128
_LEAST_FACING = 0.3  # cosine between the normals of a point and of a Gaussian's foot
_REACH = 3.33  # standard deviations to where an opaque Gaussian falls below the least alpha


@dataclass(frozen=True)
class Cloud:
    """Gaussians on a surface."""

    means: np.ndarray  # [N, 3] metres
    feet: np.ndarray  # [N, 3] metres: the point of the surface below each
    normals: np.ndarray  # [N, 3] outward at the foot
    precisions: np.ndarray  # [N, 3, 3] inverse covariances
    extents: np.ndarray  # [N] metres, the largest standard deviation
    opacities: np.ndarray  # [N] float32
    group: np.ndarray  # [N] only points of the same group see it

    @cached_property
    def columns(self) -> np.ndarray:
        """[13, N] float32: mean, normal, precision (xx yy zz xy yz xz), squared reach."""
        p = self.precisions
        parts = [p[:, 0, 0], p[:, 1, 1], p[:, 2, 2], p[:, 0, 1], p[:, 1, 2], p[:, 0, 2]]
        rows = [*self.means.T, *self.normals.T, *parts, (_REACH * self.extents) ** 2]
        return np.stack(rows).astype(np.float32)


@dataclass(frozen=True)
class Hits:
    """Which Gaussians the rays pass, front to back within each point."""

    point: np.ndarray  # [M] index of the point, ascending
    gaussian: np.ndarray  # [M]
    weight: np.ndarray  # [M] share of the Gaussian in what the ray sees
    height: np.ndarray  # [M] metres above the point
    depth: np.ndarray  # [M] metres, the Gaussian's standard deviation along the ray


def gather(
    cloud: Cloud,
    points: np.ndarray,
    normals: np.ndarray,
    group: np.ndarray,
    step: Callable[[float], None] | None = None,
) -> Iterator[Hits]:
    """Hits of all points [P, 3], in batches of neighbouring points; each point is in one batch."""
    rays = np.concatenate([points.T, normals.T]).astype(np.float32)
    cells = np.floor(points / _CELL_M).astype(np.int64)
    keys = np.concatenate([group[:, None], cells], axis=1)
    cells, cell_of = np.unique(keys, axis=0, return_inverse=True)
    cell_of = cell_of.reshape(-1)
    order = np.argsort(cell_of, kind="stable")
    starts = np.searchsorted(cell_of[order], np.arange(len(cells) + 1))
    for begin in range(0, len(cells), _CELLS_AT_ONCE):
        end = min(begin + _CELLS_AT_ONCE, len(cells))
        batch = cells[begin:end]
        cell, gaussian = _neighbours(cloud, batch)
        # Every pair of a cell and a Gaussian becomes the pairs of the cell's points with it.
        first, count = starts[begin + cell], np.diff(starts)[begin + cell]
        ends = np.cumsum(count)
        offset = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - count, count)
        point = order[np.repeat(first, count) + offset]
        hits = _hits(cloud, rays, point, np.repeat(gaussian, count))
        if step is not None:
            step(float(starts[end] - starts[begin]))
        yield hits


def _neighbours(cloud: Cloud, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a cell and a Gaussian whose foot lies near enough to show in it."""
    centre = (cells[:, 1:] + 0.5) * _CELL_M
    reach = cloud.extents * _REACH + _CELL_M * 0.87  # half the diagonal of a cell
    low, high = centre.min(0), centre.max(0)
    near = np.flatnonzero(
        ((cloud.feet > low - reach[:, None]) & (cloud.feet < high + reach[:, None])).all(1)
    )
    feet = cloud.feet[near]
    squared = (centre * centre).sum(-1)[:, None] + (feet * feet).sum(-1) - 2 * centre @ feet.T
    close = squared < reach[near] ** 2
    close &= cells[:, :1] == cloud.group[near]
    cell, column = np.nonzero(close)
    return cell, near[column]


def _hits(cloud: Cloud, rays: np.ndarray, point: np.ndarray, gaussian: np.ndarray) -> Hits:
    # Column by column: sums over an axis of length three are many times as slow in NumPy.
    px, py, pz, nx, ny, nz = (column[point] for column in rays)
    own = cloud.columns[:, gaussian]
    facing = nx * own[3] + ny * own[4] + nz * own[5] > _LEAST_FACING
    dx, dy, dz = own[0] - px, own[1] - py, own[2] - pz
    up = dx * nx + dy * ny + dz * nz
    near = dx * dx + dy * dy + dz * dz - up * up < own[12]
    kept = np.flatnonzero(facing & near)
    point, gaussian = point[kept], gaussian[kept]
    dx, dy, dz, nx, ny, nz = (column[kept] for column in (dx, dy, dz, nx, ny, nz))
    xx, yy, zz, xy, yz, xz = cloud.columns[6:12, gaussian]
    bx, by, bz = (
        xx * nx + xy * ny + xz * nz,
        xy * nx + yy * ny + yz * nz,
        xz * nx + yz * ny + zz * nz,
    )
    stiffness = bx * nx + by * ny + bz * nz
    height = (bx * dx + by * dy + bz * dz) / stiffness
    dx, dy, dz = dx - height * nx, dy - height * ny, dz - height * nz  # from the ray to the mean
    distance = xx * dx * dx + yy * dy * dy + zz * dz * dz
    distance += 2 * (xy * dx * dy + yz * dy * dz + xz * dx * dz)
    alpha = cloud.opacities[gaussian] * np.exp(-0.5 * distance)
    seen = np.flatnonzero(alpha > _LEAST_ALPHA)
    order = seen[np.lexsort((-height[seen], point[seen]))]
    point, gaussian, height = point[order], gaussian[order], height[order]
    alpha, depth = alpha[order].clip(max=0.999), 1 / np.sqrt(stiffness[order])
    # Transmittance before each hit: the product of 1 - alpha of those before it at its point.
    logs = np.log1p(-alpha.astype(np.float64))
    before = np.cumsum(logs) - logs
    first = np.r_[True, point[1:] != point[:-1]] if len(point) else np.zeros(0, bool)
    before -= np.repeat(before[first], np.diff(np.r_[np.flatnonzero(first), len(point)]))
    weight = (alpha * np.exp(before)).astype(np.float32)
    return Hits(point, gaussian, weight, height, depth)
