"""Closest points on triangles, exactly, and the distances that papers report."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from avatar3d.optional import require

_CHUNK = 4096  # points at once: bounds the memory of their candidates


class SurfacePoints(NamedTuple):
    """Points on triangles."""

    triangle: np.ndarray  # [N] int64
    barycentrics: np.ndarray  # [N, 3]
    distance: np.ndarray  # [N], from the points that asked; 0 or more

    def of(self, values: np.ndarray, triangles: np.ndarray) -> np.ndarray:
        """Vertex values [V, ...] at the points, [N, ...]."""
        return np.einsum("nk,nk...->n...", self.barycentrics, values[triangles[self.triangle]])


def closest_points(
    points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray
) -> SurfacePoints:
    """The point of a mesh nearest to each of `points` [N, 3].

    Exact: triangles of about one size are tried in the order of their centres' distance until no
    other of them can be nearer.
    """
    corners = np.asarray(vertices, np.float64)[triangles]  # [F, 3, 3]
    if not len(corners):
        raise ValueError("a mesh without triangles has no closest points")
    points = np.asarray(points, np.float64)
    triangle = np.zeros(len(points), np.int64)
    barycentrics = np.zeros((len(points), 3))
    distance = np.full(len(points), np.inf)
    for members, tree, reach in _size_classes(corners):
        for start in range(0, len(points), _CHUNK):
            left = np.arange(start, min(start + _CHUNK, len(points)))
            count = min(8, len(members))
            tried = 0
            while len(left):
                to_centre, candidates = tree.query(points[left], k=count)
                to_centre = to_centre.reshape(len(left), count)[:, tried:]
                candidates = members[candidates.reshape(len(left), count)[:, tried:]]
                index, weights, gap = _nearest_of(points[left], corners[candidates])
                nearer = gap < distance[left]
                better = left[nearer]
                triangle[better] = candidates[np.arange(len(left)), index][nearer]
                barycentrics[better], distance[better] = weights[nearer], gap[nearer]
                # A triangle that was not tried has its centre at least this far away.
                left = left[distance[left] > to_centre[:, -1] - reach]
                tried, count = count, min(3 * count, len(members))
                if tried == count:
                    break
    return SurfacePoints(triangle, barycentrics, distance)


def nearby_points(
    points: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    normals: tuple[np.ndarray, np.ndarray] | None = None,
    reach_m: float = 0.012,
    steps: int = 2,
) -> SurfacePoints:
    """As `closest_points`, good to a fraction of a triangle and many times as fast.

    The triangle is that of the nearest among samples of all triangles, the point on it is exact.
    With `normals` (of the points [N, 3], of the vertices [V, 3]) the direction is a second position,
    opposite ones 2 * `reach_m` apart, so that a lip's inside is not taken for its outside.
    """
    grid = np.array(
        [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    ) / float(steps)
    vertices = np.asarray(vertices, np.float64)
    places = np.einsum("gk,tkc->tgc", grid, vertices[triangles]).reshape(-1, 3)
    asked = np.asarray(points, np.float64)
    if normals is not None:
        facing = np.einsum("gk,tkc->tgc", grid, normals[1][triangles]).reshape(-1, 3)
        facing /= np.linalg.norm(facing, axis=1, keepdims=True).clip(1e-9)
        places = np.concatenate([places, reach_m * facing], axis=1)
        asked = np.concatenate([asked, reach_m * normals[0]], axis=1)
    _, sample = require("scipy.spatial", extra="recon").KDTree(places).query(asked)
    triangle = np.asarray(sample) // len(grid)
    corners = vertices[triangles[triangle]]
    barycentrics = point_on_triangle(np.asarray(points, np.float64), corners)
    gap = np.einsum("nk,nkc->nc", barycentrics, corners) - points
    return SurfacePoints(triangle, barycentrics, np.linalg.norm(gap, axis=1))


def _size_classes(corners: np.ndarray):
    """Triangles by size, each class at most three times as large as its least: members, a tree of
    their centres, and how far one reaches from its centre. The middle class first."""
    kd_tree = require("scipy.spatial", extra="recon").KDTree
    centres = corners.mean(1)
    reach = np.linalg.norm(corners - centres[:, None], axis=2).max(1)
    level = np.floor(np.log(reach.clip(1e-9)) / np.log(3.0)).astype(np.int64)
    levels, sizes = np.unique(level, return_counts=True)
    for chosen in levels[np.argsort(-sizes)]:
        members = np.flatnonzero(level == chosen)
        yield members, kd_tree(centres[members]), reach[members].max()


def scan_to_mesh_distance(
    scan: np.ndarray, vertices: np.ndarray, triangles: np.ndarray
) -> np.ndarray:
    """How far each scan point [N, 3] lies from a mesh's surface, [N], as NoW and REALY measure."""
    return closest_points(scan, vertices, triangles).distance


def mesh_to_mesh_distance(
    vertices_a: np.ndarray,
    triangles_a: np.ndarray,
    vertices_b: np.ndarray,
    triangles_b: np.ndarray,
    count: int = 20_000,
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of `count` points spread evenly over each mesh's area from the other mesh.

    [count] from a to b and [count] from b to a: their means are the symmetric chamfer distance,
    their greatest value the Hausdorff distance as far as sampling finds it.
    """
    a_points = spread_evenly(vertices_a, triangles_a, count)
    b_points = spread_evenly(vertices_b, triangles_b, count)
    return (
        scan_to_mesh_distance(a_points, vertices_b, triangles_b),
        scan_to_mesh_distance(b_points, vertices_a, triangles_a),
    )


def spread_evenly(vertices: np.ndarray, triangles: np.ndarray, count: int) -> np.ndarray:
    """Points [count, 3] over a mesh in proportion to its area; always the same ones."""
    corners = np.asarray(vertices, np.float64)[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    cumulative = np.cumsum(np.linalg.norm(normals, axis=1))
    order = np.arange(count) + 0.5
    chosen = np.searchsorted(cumulative, order / count * cumulative[-1]).clip(max=len(corners) - 1)
    # The additive sequence in two dimensions of least discrepancy (Roberts 2018).
    u = np.sqrt((order * 0.7548776662466927) % 1.0)
    v = (order * 0.5698402909980532) % 1.0
    weights = np.stack([1 - u, u * (1 - v), u * v], axis=1)
    return np.einsum("nk,nkc->nc", weights, corners[chosen])


def _nearest_of(
    points: np.ndarray, corners: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each point's candidates [N, K, 3, 3]: index, barycentrics and distance of the nearest."""
    weights = point_on_triangle(points[:, None], corners)
    nearest = np.einsum("nkc,nkcd->nkd", weights, corners)
    distance = np.linalg.norm(nearest - points[:, None], axis=-1)
    best = distance.argmin(1)
    rows = np.arange(len(points))
    return best, weights[rows, best], distance[rows, best]


def point_on_triangle(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentrics [..., 3] of the point of each triangle [..., 3, 3] nearest to `points` [..., 3].

    The plane's foot where it lies inside, else the best of the three edges.
    """
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    ab, ac, ap = b - a, c - a, points - a
    d11, d12, d22 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d1, d2 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    determinant = d11 * d22 - d12 * d12
    safe = np.where(determinant > 1e-30, determinant, 1.0)
    v = (d22 * d1 - d12 * d2) / safe
    w = (d11 * d2 - d12 * d1) / safe
    inside = (determinant > 1e-30) & (v >= 0) & (w >= 0) & (v + w <= 1)
    best = np.stack([1 - v - w, v, w], axis=-1)
    least = np.where(inside, -1.0, np.inf)  # the foot beats every edge
    for first, second in ((0, 1), (1, 2), (2, 0)):
        start = corners[..., first, :]
        edge = corners[..., second, :] - start
        length = (edge * edge).sum(-1)
        t = ((points - start) * edge).sum(-1) / np.where(length > 0, length, 1.0)
        t = np.clip(t, 0.0, 1.0)
        gap = points - start - t[..., None] * edge
        squared = (gap * gap).sum(-1)
        weights = np.zeros(best.shape)
        weights[..., first], weights[..., second] = 1 - t, t
        nearer = squared < least
        best = np.where(nearer[..., None], weights, best)
        least = np.where(nearer, squared, least)
    return best
