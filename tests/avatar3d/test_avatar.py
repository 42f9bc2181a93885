"""Codes in, Gaussians out: values, gradients, levels of detail, and the limits of the basis."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from avatar3d.avatar import Attributes, Avatar, ExpressionBasis, pose_gaussians
from avatar3d.binding import Frames
from avatar3d.codes import ExpressionCode
from avatar3d.geometry import quaternion_to_matrix, rotate, rotation_vector_to_quaternion
from avatar3d.light import neutral_light
from tests.support.avatars import plain_avatar
from tests.support.rotations import quaternions, vectors

COUNT = 5


def test_gaussians_of_one_code_and_of_a_batch():
    avatar = plain_avatar()
    codes = [ExpressionCode.from_named(jawOpen=value) for value in (0.0, 0.7)]
    one = avatar.gaussians(codes[1])
    assert one.count == avatar.count
    assert one.means.shape == (avatar.count, 3)
    assert one.opacities.shape == (avatar.count,)
    assert all(value.isfinite().all() for value in one)
    assert (one.scales > 0).all()
    assert (one.colors >= 0).all()
    assert ((one.opacities > 0) & (one.opacities < 1)).all()
    batch = avatar.gaussians(ExpressionCode.stack(codes))
    for whole, single in zip(batch, one):
        assert whole.shape == (2, *single.shape)
        torch.testing.assert_close(whole[1], single, atol=1e-4, rtol=1e-3)


@settings(max_examples=20)
@given(turn=quaternions(torch.float32), shift=vectors())
def test_a_rigid_motion_of_the_head_is_one_of_the_gaussians(turn: Tensor, shift: Tensor):
    avatar = replace(plain_avatar(), light=None)  # light stands in the world
    code = ExpressionCode.from_named(jawOpen=0.4)
    shift = shift.to(torch.float32)
    before = avatar.gaussians(code)
    after = avatar.gaussians(code._replace(head_rotation=turn, head_translation=shift))
    expected = rotate(quaternion_to_matrix(turn), before.means) + shift
    torch.testing.assert_close(after.means, expected, atol=2e-5, rtol=0)
    assert (after.scales / before.scales).log().abs().mean() < 1e-4
    torch.testing.assert_close(after.colors, before.colors)
    torch.testing.assert_close(after.opacities, before.opacities)


def test_a_level_is_a_prefix_grown_to_cover():
    avatar = plain_avatar()
    level = avatar.level(avatar.count // 4)
    assert level.count == avatar.count // 4
    for field in fields(Attributes):
        own = getattr(level.attributes, field.name)
        cut = getattr(avatar.attributes, field.name)[: level.count]
        if field.name == "log_scales":
            # A quarter of the Gaussians: each twice as wide.
            torch.testing.assert_close(own, cut + torch.tensor(2.0).log())
        else:
            assert torch.equal(own, cut)
    assert level.basis is not None
    assert level.basis.offsets.shape[1] == level.count
    code = ExpressionCode.from_named(jawOpen=0.5)
    coarse, fine = level.gaussians(code), avatar.gaussians(code)
    # Frames average fewer triangles, so offsets of half a millimetre turn a little.
    moved = (coarse.means - fine.means[: level.count]).norm(dim=1)
    assert moved.mean() < 1e-4
    assert moved.max() < 2e-3
    assert (coarse.colors - fine.colors[: level.count]).abs().mean() < 5e-3
    assert avatar.level(avatar.count) is avatar
    assert avatar.level(10 * avatar.count) is avatar


@given(st.lists(st.floats(0, 1), min_size=52, max_size=52), st.floats(-5, 5))
def test_basis_weights_stay_within_what_was_seen(values: list[float], size: float):
    basis = plain_avatar().basis
    assert basis is not None
    low, high = basis.limits
    weights = basis.weights(size * torch.tensor(values))
    assert ((weights >= low) & (weights <= high)).all()


def test_basis_weights_are_linear_inside_the_limits():
    basis = plain_avatar().basis
    assert basis is not None
    wide = replace(basis, limits=torch.tensor([[-1e9], [1e9]]).expand(2, 2).contiguous())
    a, b = torch.rand(2, 52, generator=torch.Generator().manual_seed(0))
    middle = wide.weights((a + b) / 2)
    torch.testing.assert_close(middle, (wide.weights(a) + wide.weights(b)) / 2)
    assert not wide.weights(wide.mean[:52]).any()
    # A head's own coefficients after ARKit's may be left out: they count as none.
    torch.testing.assert_close(
        wide.weights(a), wide.weights(torch.stack([a, b]))[0], atol=1e-6, rtol=1e-6
    )


def test_without_a_basis_the_look_does_not_change():
    avatar = replace(plain_avatar(), basis=None, light=None)
    calm = avatar.gaussians(ExpressionCode.neutral())
    loud = avatar.gaussians(ExpressionCode.from_named(jawOpen=1.0))
    assert torch.equal(calm.colors, loud.colors)
    assert torch.equal(calm.opacities, loud.opacities)
    assert (calm.means - loud.means).norm(dim=1).max() > 0.01


def tiny(seed: int) -> tuple[Frames, Attributes, ExpressionBasis, ExpressionCode]:
    """Five anchors in float64, colours well away from black."""
    random = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    quaternion = rotation_vector_to_quaternion(noise(COUNT, 3))
    frames = Frames(
        noise(COUNT, 3), quaternion_to_matrix(quaternion), quaternion, 1 + 0.1 * noise(COUNT, 2)
    )
    attributes = Attributes(
        noise(COUNT, 3), noise(COUNT, 4), noise(COUNT, 3), noise(COUNT),
        5 + 0.1 * noise(COUNT, 3),
    )  # fmt: skip
    basis = ExpressionBasis(
        mean=torch.zeros(52, dtype=torch.float64),
        projection=0.1 * noise(52, 2),
        offsets=noise(2, COUNT, 3),
        colors=0.1 * noise(2, COUNT, 3),
        limits=torch.tensor([[-10.0] * 2, [10.0] * 2], dtype=torch.float64),
    )
    code = ExpressionCode(*(value.double() for value in ExpressionCode.neutral()))
    return frames, attributes, basis, code


@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_are_those_of_finite_differences(seed: int):
    """With respect to frames, attributes, basis, coefficients and light, in float64."""
    frames, attributes, basis, code = tiny(seed)
    light = neutral_light().double() + 0.02
    names = [field.name for field in fields(Attributes)]

    def posed(*values: Tensor):
        own = dict(zip(names, values))
        positions, rotations, quaternion, stretch, coefficients, light_, offsets, colors = values[
            len(names) :
        ]
        return tuple(
            pose_gaussians(
                Frames(positions, rotations, quaternion, stretch),
                code._replace(coefficients=coefficients),
                Attributes(**own),
                replace(basis, offsets=offsets, colors=colors),
                light_,
            )
        )

    inputs = [getattr(attributes, name) for name in names]
    inputs += [*frames, code.coefficients, light, basis.offsets, basis.colors]
    assert gradcheck(posed, tuple(value.clone().requires_grad_() for value in inputs))


def test_gradients_reach_the_code_through_the_whole_avatar():
    avatar: Avatar = plain_avatar()
    code = ExpressionCode.from_named(jawOpen=0.4, eyeBlinkLeft=0.3)
    leaves = [value.clone().requires_grad_() for value in code]
    gaussians = avatar.gaussians(ExpressionCode(*leaves))
    total = sum(value.square().sum() for value in gaussians)
    assert isinstance(total, Tensor)
    for gradient in torch.autograd.grad(total, leaves):
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0
