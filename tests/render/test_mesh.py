"""The z-buffer against a brute-force one over all triangles at every pixel."""

from __future__ import annotations

import numpy as np
import pytest

from render.mesh import interpolate, project_points, rasterize_mesh, visible_points


def brute_force(vertices_px, depth, triangles, width, height):
    """Every triangle at every pixel in double precision, [F, H, W] depths (inf outside)."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    a, b, c = (vertices_px[triangles[:, k]].astype(np.float64)[:, None, None] for k in range(3))

    def cross(u, v):
        return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]

    pixel = np.stack([x, y], -1)[None]
    area = cross(b - a, c - a)
    weights = np.stack(
        [cross(b - pixel, c - pixel), cross(c - pixel, a - pixel), cross(a - pixel, b - pixel)]
    )
    weights = weights / np.where(area == 0, np.nan, area)
    inverse = sum(weights[k] / depth[triangles[:, k]][:, None, None] for k in range(3))
    inside = (weights > 1e-9).all(axis=0)
    on_edge = (np.abs(weights) <= 1e-9).any(axis=0)
    return np.where(inside, 1 / inverse, np.inf), on_edge.any(axis=0)


def random_mesh(seed, count=60, size=40):
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-5, size + 5, (count, 1, 2))
    vertices = (centres + rng.normal(0, 8, (count, 3, 2))).reshape(-1, 2).astype(np.float32)
    depth = rng.uniform(0.3, 2.0, count * 3).astype(np.float32)
    return vertices, depth, np.arange(count * 3).reshape(-1, 3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nearest_triangle_wins(seed):
    vertices, depth, triangles = random_mesh(seed)
    rendering = rasterize_mesh(vertices, depth, triangles, 40, 33)
    depths, on_edge = brute_force(vertices, depth, triangles, 40, 33)
    sure = ~on_edge
    nearest = depths.min(axis=0)
    covered = np.isfinite(nearest)
    assert 0.2 < covered.mean() < 1
    np.testing.assert_array_equal((rendering.triangle >= 0)[sure], covered[sure])
    np.testing.assert_array_equal(
        rendering.triangle[sure & covered], depths.argmin(axis=0)[sure & covered]
    )
    np.testing.assert_allclose(rendering.depth[sure], nearest[sure], rtol=1e-5)
    np.testing.assert_allclose(rendering.barycentrics[covered & sure].sum(-1), 1, atol=1e-5)


def test_barycentrics_are_perspective_correct():
    # A slanted plane z = 1 + x: interpolated world x must satisfy it at every pixel.
    points = np.array([[-0.5, -0.5, 0.5], [0.5, -0.5, 1.5], [0.0, 0.6, 1.0]])
    K = np.array([[20.0, 0, 16], [0, 20, 16], [0, 0, 1]])
    pixels, depth = project_points(points, np.eye(4), K)
    triangles = np.array([[0, 1, 2]])
    rendering = rasterize_mesh(pixels, depth, triangles, 32, 32)
    world = interpolate(rendering, triangles, points)
    covered = rendering.triangle >= 0
    assert covered.sum() > 50
    np.testing.assert_allclose(world[covered][:, 2], 1 + world[covered][:, 0], atol=1e-5)
    np.testing.assert_allclose(world[covered][:, 2], rendering.depth[covered], rtol=1e-5)
    assert np.all(world[~covered] == 0)


def test_shared_edges_leave_no_cracks():
    # A fan of triangles over the whole picture, centre off the grid.
    angles = np.linspace(0, 2 * np.pi, 17)[:-1]
    ring = 30 * np.stack([np.cos(angles), np.sin(angles)], 1)
    vertices = np.concatenate([[[0.0, 0.0]], ring]) + 16.3
    triangles = np.array([[0, 1 + k, 1 + (k + 1) % 16] for k in range(16)])
    rendering = rasterize_mesh(vertices, np.ones(17), triangles, 32, 32)
    assert (rendering.triangle >= 0).all()


def test_back_faces_and_the_near_plane():
    # Seen by a camera that looks along +Z with +Y down, this runs counter-clockwise.
    vertices = np.array([[2.0, 2.0], [2.0, 30.0], [30.0, 2.0]])
    front, back = np.array([[0, 1, 2]]), np.array([[0, 2, 1]])
    assert (rasterize_mesh(vertices, np.ones(3), front, 32, 32, True).triangle >= 0).any()
    assert (rasterize_mesh(vertices, np.ones(3), back, 32, 32, True).triangle < 0).all()
    assert (rasterize_mesh(vertices, np.ones(3), back, 32, 32).triangle >= 0).any()
    behind = np.array([1.0, 1.0, -1.0])
    assert (rasterize_mesh(vertices, behind, front, 32, 32).triangle < 0).all()
    nothing = np.zeros((0, 3), np.int64)
    assert (rasterize_mesh(vertices, np.ones(3), nothing, 32, 32).triangle < 0).all()


def test_visible_points_are_those_before_the_mesh():
    vertices = np.array([[-100.0, -100.0], [-100.0, 200.0], [200.0, -100.0]])
    buffer = rasterize_mesh(vertices, np.ones(3), np.array([[0, 1, 2]]), 32, 32).depth
    points = np.array([[5.0, 5.0], [5.0, 5.0], [5.0, 5.0], [40.0, 5.0], [5.0, -1.0]])
    depth = np.array([0.5, 1.001, 1.2, 0.5, 0.5])
    expected = [True, True, False, False, False]
    np.testing.assert_array_equal(visible_points(points, depth, buffer), expected)


@pytest.mark.parametrize(
    ("vertices", "depth", "triangles", "message"),
    [
        (np.zeros((3, 3)), np.ones(3), np.zeros((1, 3), int), "vertices_px"),
        (np.zeros((3, 2)), np.ones(2), np.zeros((1, 3), int), "depth"),
        (np.zeros((3, 2)), np.ones(3), np.zeros((1, 4), int), "triangles"),
        (np.zeros((3, 2)), np.ones(3), np.full((1, 3), 3), "must lie in"),
    ],
)
def test_wrong_shapes_are_named(vertices, depth, triangles, message):
    with pytest.raises(ValueError, match=message):
        rasterize_mesh(vertices, depth, triangles, 8, 8)
