"""The fused `pose_gaussians` against torch's: values and gradients."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d import avatar
from avatar3d.avatar import Attributes, ExpressionBasis
from avatar3d.binding import Frames
from avatar3d.codes import ExpressionCode
from avatar3d.geometry import quaternion_to_matrix
from avatar3d.light import neutral_light

pytest.importorskip("numba")

from avatar3d.fused import gradient


def _scene(count: int, rank: int, seed: int):
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    quaternions = torch.nn.functional.normalize(normal(count, 4), dim=-1)
    frames = Frames(
        positions=normal(count, 3),
        rotations=quaternion_to_matrix(quaternions),
        quaternions=quaternions,
        stretch=normal(count, 2).exp(),
    )
    attributes = Attributes(
        normal(count, 3), normal(count, 4), normal(count, 3), normal(count), normal(count, 3)
    )
    basis = ExpressionBasis(
        mean=normal(52),
        projection=0.1 * normal(52, rank),
        limits=torch.stack([torch.full((rank,), -0.5), torch.full((rank,), 0.5)]),
        offsets=normal(rank, count, 3),
        colors=normal(rank, count, 3),
    )
    code = ExpressionCode.neutral()._replace(coefficients=normal(52))
    return frames, code, attributes, basis if rank else None, neutral_light() + 0.3 * normal(9, 3)


def _with_gradient(pose, scene):
    frames, code, attributes, basis, light = scene
    positions = frames.positions.clone().requires_grad_()
    coefficients = code.coefficients.clone().requires_grad_()
    values = Attributes(
        *(getattr(attributes, f.name).clone().requires_grad_() for f in fields(Attributes))
    )
    learned = [positions, coefficients, *(getattr(values, f.name) for f in fields(Attributes))]
    if basis is not None:
        offsets, colors = (v.clone().requires_grad_() for v in (basis.offsets, basis.colors))
        basis = replace(basis, offsets=offsets, colors=colors)
        learned += [offsets, colors]
    gaussians = pose(
        frames._replace(positions=positions),
        code._replace(coefficients=coefficients),
        values,
        basis,
        light,
    )
    random = torch.Generator().manual_seed(9)
    loss = torch.stack(
        [(g * torch.randn(g.shape, generator=random)).sum() for g in gaussians]
    ).sum()
    gradients = torch.autograd.grad(loss, learned, allow_unused=True)
    return [g.detach() for g in gaussians], gradients


@settings(deadline=None, max_examples=25)
@given(
    count=st.sampled_from([1, 7, 512, 1300]),
    rank=st.integers(0, 3),
    unlit=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_values_and_gradients_are_torchs(count: int, rank: int, unlit: bool, seed: int):
    scene = _scene(count, rank, seed)
    lit = torch.arange(count) % 3 > 0 if unlit else None

    def of_torch(frames, code, attributes, basis, light):
        return avatar.pose_gaussians(frames, code, attributes, basis, light, lit)

    def fused(frames, code, attributes, basis, light):
        shade = gradient.shading(frames, light, lit).detach()
        return gradient.pose_gaussians(frames, code, attributes, basis, shade)

    for own, truth in zip(_with_gradient(fused, scene), _with_gradient(of_torch, scene)):
        for ours, theirs in zip(own, truth, strict=True):
            if ours is None or theirs is None:  # a code moves nothing where there is no basis
                assert all(g is None or not g.any() for g in (ours, theirs))
                continue
            scale = float(theirs.abs().max()) + 1e-6
            assert float((ours - theirs).abs().max()) <= 2e-6 * max(scale, 1.0) + 1e-6 * scale


@settings(deadline=None, max_examples=10)
@given(count=st.sampled_from([1, 512, 1300]), share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_a_basis_of_some_anchors_is_one_of_all_with_zeros(count: int, share: float, seed: int):
    frames, code, attributes, basis, light = _scene(count, 2, seed)
    moved = torch.rand(count, generator=torch.Generator().manual_seed(seed)) < share
    members = gradient.Members(torch.nonzero(moved)[:, 0].numpy(), count)
    assert basis is not None
    few = replace(basis, offsets=basis.offsets[:, moved], colors=basis.colors[:, moved])
    everywhere = replace(
        basis,
        offsets=basis.offsets * moved[:, None],
        colors=basis.colors * moved[:, None],
    )

    def posed(members):
        def pose(frames, code, attributes, basis, light):
            shade = gradient.shading(frames, light).detach()
            return gradient.pose_gaussians(frames, code, attributes, basis, shade, members)

        return pose

    own, gradients = _with_gradient(posed(members), (frames, code, attributes, few, light))
    whole, theirs = _with_gradient(posed(None), (frames, code, attributes, everywhere, light))
    for ours, expected in zip([*own, *gradients[:-2]], [*whole, *theirs[:-2]]):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)
    for ours, expected in zip(gradients[-2:], theirs[-2:]):
        torch.testing.assert_close(ours, expected[:, moved], atol=1e-5, rtol=1e-4)


def test_any_number_of_threads_gives_the_same_bits():
    scene = _scene(5_000, 4, 0)

    def fused(frames, code, attributes, basis, light):
        return gradient.pose_gaussians(
            frames, code, attributes, basis, gradient.shading(frames, light)
        )

    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            values, gradients = _with_gradient(fused, scene)
            results.append([*values, *gradients])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def test_no_light_is_ones():
    frames, *_ = _scene(3, 0, 0)
    assert torch.equal(gradient.shading(frames, None), torch.ones(3, 3))
