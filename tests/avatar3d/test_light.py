"""Light: neutral light changes nothing, and directions brighten what faces them."""

from __future__ import annotations

import torch
from hypothesis import given
from torch import Tensor

from avatar3d.codes import ExpressionCode
from avatar3d.geometry import quaternion_to_matrix
from avatar3d.light import SH_COUNT, irradiance, neutral_light, sh_basis
from tests.support.avatars import plain_avatar
from tests.support.rotations import quaternions

AXES = torch.cat([torch.eye(3), -torch.eye(3)])


@given(quaternions(torch.float32))
def test_neutral_light_changes_nothing(quaternion: Tensor):
    normals = quaternion_to_matrix(quaternion)
    torch.testing.assert_close(irradiance(neutral_light(), normals), torch.ones(3, 3))


def test_an_avatar_under_neutral_light_has_its_own_colours():
    from dataclasses import replace

    avatar = replace(plain_avatar(), basis=None)
    code = ExpressionCode.from_named(jawOpen=0.5)
    neutral = replace(avatar, light=neutral_light()).gaussians(code)
    baked = replace(avatar, light=None).gaussians(code)
    torch.testing.assert_close(neutral.colors, baked.colors)
    dark = neutral_light() * 0.5
    half = replace(avatar, light=dark).gaussians(code).colors
    lit = avatar.template.lit
    torch.testing.assert_close(half[lit], 0.5 * baked.colors[lit])
    torch.testing.assert_close(half[~lit], baked.colors[~lit])


def test_light_from_above_brightens_what_faces_up():
    light = neutral_light()
    light[1] = 0.3  # y
    assert (irradiance(light, AXES[1]) > irradiance(light, AXES[0])).all()
    assert (irradiance(light, AXES[0]) > irradiance(light, AXES[4])).all()


def test_no_light_is_so_wrong_that_colours_turn_negative():
    light = torch.randn(SH_COUNT, 3, generator=torch.Generator().manual_seed(0)) * 10
    assert (irradiance(light, AXES) > 0).all()


def test_the_basis_is_orthogonal_on_the_sphere():
    """On an even covering of the sphere the nine functions do not correlate."""
    index = torch.arange(20_000, dtype=torch.float64) + 0.5
    z = 1 - index / 10_000
    azimuth = index * 2.399963229728653
    ring = (1 - z * z).sqrt()
    basis = sh_basis(torch.stack([ring * azimuth.cos(), ring * azimuth.sin(), z], dim=-1))
    gram = basis.T @ basis / len(index)
    scale = gram.diagonal().sqrt()
    torch.testing.assert_close(
        gram / (scale[:, None] * scale), torch.eye(9, dtype=torch.float64), atol=1e-3, rtol=0
    )
