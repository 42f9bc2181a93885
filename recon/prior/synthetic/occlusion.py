"""How much of the surroundings each point of a head sees: dark nostrils, lids and necks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from avatar3d.geometry import vertex_normals
from avatar3d.heads import HeadModel
from avatar3d.heads.model import PART_INDEX
from render.mesh import rasterize_mesh, visible_points

_DIRECTIONS = 64
_SIZE_PX, _EXTENT_M = 256, 0.62
# What is folded away or closed at rest comes into the light when the face moves.
_LEAST = {
    "eyelids": 0.75, "left_eyeball": 0.75, "right_eyeball": 0.75, "upper_teeth": 0.6,
    "lower_teeth": 0.55, "gums": 0.45, "tongue": 0.5, "mouth": 0.2, "face": 0.45,
}  # fmt: skip


@lru_cache(maxsize=2)
def open_sky(head: HeadModel) -> np.ndarray:
    """[V] cosine-weighted share of directions from which nothing hides a vertex, mean head."""
    vertices = head.neutral.double().numpy()
    centred = vertices - 0.5 * (vertices.min(0) + vertices.max(0))
    triangles = head.triangles.numpy()
    normals = vertex_normals(head.neutral, head.triangles).double().numpy()
    seen, whole = np.zeros(len(vertices)), np.full(len(vertices), 1e-6)
    for direction in _sphere(_DIRECTIONS):
        cosine = np.maximum(normals @ direction, 0.0)
        right = np.cross(direction, [0.31, 0.87, 0.38])
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(direction, right)], axis=1)
        pixels = (centred @ axes / _EXTENT_M + 0.5) * _SIZE_PX
        depth = 1.0 - centred @ direction
        buffer = rasterize_mesh(pixels, depth, triangles, _SIZE_PX, _SIZE_PX).depth
        seen += cosine * visible_points(pixels, depth, buffer, 0.003)
        whole += cosine
    open_share = seen / whole
    least = np.zeros(len(vertices))
    for name, value in _LEAST.items():
        own = np.unique(triangles[head.triangle_part.numpy() == PART_INDEX[name]])
        least[own] = np.maximum(least[own], value)
    for _ in range(2):
        open_share = _averaged(open_share, triangles)
    return np.maximum(open_share, least)


def _averaged(values: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    total, count = np.zeros(len(values)), np.zeros(len(values))
    mean = values[triangles].mean(1)
    for corner in range(3):
        np.add.at(total, triangles[:, corner], mean)
        np.add.at(count, triangles[:, corner], 1)
    return total / np.maximum(count, 1)


def _sphere(count: int) -> np.ndarray:
    """Even directions, [count, 3] (Fibonacci's spiral)."""
    order = np.arange(count) + 0.5
    height = 1 - 2 * order / count
    angle = order * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], axis=1)
