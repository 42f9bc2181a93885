"""The exported mesh: one square of texture, no two triangles on one place, the head's own shape."""

from __future__ import annotations

import numpy as np
import pytest

from avatar3d.heads import load_head
from avatar3d.io.surface import head_surface, sheet_surface, vertex_normals
from avatar3d.io.texels import filled, surface_texels
from tests.avatar3d.io.heads import avatar_on
from tests.support.data import data_file


@pytest.fixture(params=["default", "ict"])
def avatar(request: pytest.FixtureRequest):
    if request.param == "default":
        return avatar_on(load_head("default"))
    return avatar_on(load_head(data_file("mesh/ict/ict_facekit_packed.npz")))


def test_the_surface_is_the_head(avatar):
    surface = head_surface(avatar)
    head = avatar.head
    np.testing.assert_array_equal(surface.source[surface.triangles], head.triangles.numpy())
    rest = head.rig(avatar.identity).neutral.numpy()
    np.testing.assert_array_equal(surface.vertices, rest[surface.source].astype(np.float64))
    assert surface.uv.min() >= 0
    assert surface.uv.max() <= 1
    np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=-1), 1, atol=1e-9)


def test_eyes_teeth_and_skin_lie_apart_in_the_texture(avatar):
    surface = head_surface(avatar)
    size = 512
    corners = surface.uv[surface.triangles] * size
    # Each piece alone, then together: a texel that two pieces claim is counted twice.
    part = avatar.head.triangle_part.numpy()
    pieces = [part < 6, part == 6, (part == 8) | (part == 9)]  # skin, right eye, teeth
    taken = np.zeros(size * size, int)
    for piece in pieces:
        if not piece.any():
            continue
        inside = (corners[piece].mean(1)).astype(int).clip(0, size - 1)
        taken[np.unique(inside[:, 1] * size + inside[:, 0])] += 1
    assert (taken > 1).sum() < 0.01 * (taken > 0).sum()


def test_no_triangle_stretches_over_the_texture(avatar):
    """A triangle torn by a seam would smear half the picture over one place of the head."""
    surface = head_surface(avatar)
    corners = surface.uv[surface.triangles]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1).max(1)
    assert longest.max() < 0.25
    # The default head keeps its makers' layout but for the torn ones.
    if avatar.head.name == "default":
        own = avatar.head.uv.numpy()[avatar.head.triangles.numpy()]
        kept = np.isclose(corners, own, atol=1e-6).all((1, 2))
        assert kept.mean() > 0.95


def test_texels_lie_where_their_triangles_put_them(avatar):
    surface = head_surface(avatar)
    size = 256
    texels = surface_texels(surface, size)
    assert len(np.unique(texels.index)) == len(texels.index)
    uv = texels.interpolate(surface, surface.uv)
    column, row = texels.index % size, texels.index // size
    np.testing.assert_allclose(uv[:, 0] * size, column + 0.5, atol=1e-6)
    np.testing.assert_allclose((1 - uv[:, 1]) * size, row + 0.5, atol=1e-6)
    np.testing.assert_allclose(texels.barycentrics.sum(-1), 1, atol=1e-9)


def test_every_texel_inside_a_triangle_is_found(avatar):
    """Against the same said slowly, for some triangles."""
    surface, size = head_surface(avatar), 128
    found = set(surface_texels(surface, size).index.tolist())
    corners = surface.uv[surface.triangles] * [size, -size] + [0, size]
    for a, b, c in corners[:: max(1, len(corners) // 200)]:
        low, high = np.floor(np.min([a, b, c], 0)), np.ceil(np.max([a, b, c], 0))
        for y in range(int(low[1]), int(high[1])):
            for x in range(int(low[0]), int(high[0])):
                p = np.array([x + 0.5, y + 0.5])
                sides = [np.cross(v - u, p - u) for u, v in ((a, b), (b, c), (c, a))]
                if min(sides) > 1e-9 or max(sides) < -1e-9:
                    assert y * size + x in found


def test_the_sheet_is_flat_and_whole():
    surface = sheet_surface(avatar_on(load_head("default")))
    assert np.ptp(surface.vertices[:, 2]) == 0
    np.testing.assert_allclose(surface.normals, np.tile([0, 0, 1], (len(surface.normals), 1)))
    assert {0.0, 1.0} <= set(surface.uv.ravel().tolist())
    assert len(surface_texels(surface, 64).index) == 64 * 64


def test_normals_of_a_ball_point_outward():
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=3)
    normals = vertex_normals(np.asarray(ball.vertices), np.asarray(ball.faces))
    assert (normals * ball.vertices).sum(-1).min() > 0.999


def test_filling_keeps_what_is_known_and_spreads_it():
    random = np.random.default_rng(0)
    picture = random.random((33, 50, 3))
    known = random.random((33, 50)) < 0.3
    result = filled(picture * known[..., None], known)
    np.testing.assert_array_equal(result[known], picture[known])
    assert result.min() >= picture[known].min() - 1e-9
    assert result.max() <= picture[known].max() + 1e-9
    one = np.zeros((16, 16), bool)
    one[3, 5] = True
    np.testing.assert_allclose(filled(np.full((16, 16, 1), 0.7) * one[..., None], one), 0.7)
