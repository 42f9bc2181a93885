"""Triangle meshes to pixels: which triangle a pixel sees, where on it, and how far away."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from avatar3d.numba_threads import in_parallel

NEAR_PLANE_M = 0.01


class MeshRendering(NamedTuple):
    triangle: np.ndarray  # [H, W] int64, -1 where no triangle covers the pixel's centre
    barycentrics: np.ndarray  # [H, W, 3] float32 on the 3D triangle (perspective-correct)
    depth: np.ndarray  # [H, W] float32 metres along the camera's +Z, inf where none


def rasterize_mesh(
    vertices_px: np.ndarray,
    depth: np.ndarray,
    triangles: np.ndarray,
    width: int,
    height: int,
    cull_back_faces: bool = False,
) -> MeshRendering:
    """Z-buffer of a mesh sampled at pixel centres (the first at 0.5, 0.5). Not differentiable.

    vertices_px [V, 2], depth [V] metres along the camera's +Z, triangles [F, 3]. A triangle that
    reaches behind the near plane is left out whole. Of two triangles at one depth the first in
    order wins. `cull_back_faces` keeps triangles that run counter-clockwise as seen from outside.
    """
    if vertices_px.ndim != 2 or vertices_px.shape[1] != 2 or depth.shape != vertices_px.shape[:1]:
        raise ValueError(
            f"expected vertices_px [V, 2] and depth [V], got {vertices_px.shape}, {depth.shape}"
        )
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError(f"expected triangles [F, 3], got {triangles.shape}")
    if triangles.size and not 0 <= triangles.min() <= triangles.max() < len(vertices_px):
        raise ValueError(
            f"triangle indices must lie in 0..{len(vertices_px) - 1}, "
            f"got {triangles.min()}..{triangles.max()}"
        )
    from render import mesh_kernels

    rendering = MeshRendering(
        np.full((height, width), -1, np.int64),
        np.zeros((height, width, 3), np.float32),
        np.full((height, width), np.inf, np.float32),
    )
    in_parallel(
        mesh_kernels.z_buffer,
        np.ascontiguousarray(vertices_px, np.float32),
        np.ascontiguousarray(depth, np.float32),
        np.ascontiguousarray(triangles, np.int64),
        cull_back_faces,
        np.float32(NEAR_PLANE_M),
        *rendering,
    )
    return rendering


def project_points(
    points: np.ndarray, viewmat: np.ndarray, K: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """World points [P, 3] -> pixels [P, 2] and depths [P] (metres) of one OpenCV camera."""
    camera = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    depth = camera[:, 2]
    safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
    return (camera @ K.T)[:, :2] / safe[:, None], depth


def visible_points(
    points_px: np.ndarray,
    points_depth: np.ndarray,
    depth_buffer: np.ndarray,
    tolerance_m: float = 0.003,
) -> np.ndarray:
    """Which points [P] lie in the picture and not behind the mesh, bool.

    A point is compared with the farthest of the four pixels around it, so that a point on a slope
    or at a silhouette does not hide itself. `tolerance_m` covers what remains of the slope.
    """
    height, width = depth_buffer.shape
    inside = (
        (points_depth > NEAR_PLANE_M)
        & (points_px[:, 0] >= 0)
        & (points_px[:, 0] < width)
        & (points_px[:, 1] >= 0)
        & (points_px[:, 1] < height)
    )
    corner = np.floor(np.where(inside[:, None], points_px, 0.0) - 0.5).astype(np.int64)
    farthest = np.zeros(len(points_px), depth_buffer.dtype)
    for dy in (0, 1):
        for dx in (0, 1):
            x = np.clip(corner[:, 0] + dx, 0, width - 1)
            y = np.clip(corner[:, 1] + dy, 0, height - 1)
            farthest = np.maximum(farthest, depth_buffer[y, x])
    return inside & (points_depth <= farthest + tolerance_m)


def interpolate(rendering: MeshRendering, triangles: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Vertex values [V, ...] carried to the pixels, [H, W, ...]; 0 where there is no triangle."""
    covered = rendering.triangle >= 0
    corners = values[triangles[np.where(covered, rendering.triangle, 0)]]  # [H, W, 3, ...]
    weights = rendering.barycentrics * covered[..., None]
    return np.einsum("hwk,hwk...->hw...", weights, corners)
