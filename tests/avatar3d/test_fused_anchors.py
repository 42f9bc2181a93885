"""A binding's anchors by kernels against the torch path: frames, positions and their gradient."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avatar3d.binding import Binding
from avatar3d.codes import ExpressionCode
from avatar3d.geometry import quaternion_multiply, rotation_vector_to_quaternion
from avatar3d.heads import load_head
from avatar3d.template import make_template
from tests.support.data import data_file
from tests.support.rotations import rotation_vectors

pytest.importorskip("numba")

from avatar3d.fused.anchors import FusedAnchors, anchors_of

POSITION_M = 1e-6
USUAL, GREATEST, USUAL_SHARE = 2e-5, 1e-3, 0.99  # as `tests.avatar3d.test_fused` says
# At half a turn a half rotation jumps, and has no derivative; necks do not turn so far.
NECK_RAD = 2.8


@lru_cache(maxsize=2)
def binding(name: str) -> Binding:
    head = load_head(
        "default" if name == "default" else data_file("mesh/ict/ict_facekit_packed.npz")
    )
    weights = torch.randn(head.identity_count, generator=torch.Generator().manual_seed(3))
    return Binding(make_template(head, 3000), 0.5 * weights)


@st.composite
def parts(draw) -> tuple[Tensor, ...]:
    """Coefficients, head's rotation vector, translation, neck's rotation vector."""
    seed = draw(st.integers(0, 10_000))
    random = torch.Generator().manual_seed(seed)
    count = draw(st.sampled_from([0, 5, 52, 60]))
    coefficients = torch.rand(count, generator=random) * (
        torch.rand(count, generator=random) < draw(st.floats(0, 1))
    )
    return (
        coefficients,
        draw(rotation_vectors(dtype=torch.float32)),
        torch.randn(3, generator=random),
        draw(rotation_vectors(greatest=NECK_RAD, dtype=torch.float32)),
    )


def code_of(coefficients: Tensor, head: Tensor, translation: Tensor, neck: Tensor):
    """A fit's code: small turns of a fixed rotation."""
    turn, still = rotation_vector_to_quaternion, torch.tensor([0.8, 0.0, 0.6, 0.0])
    head = quaternion_multiply(turn(head), still)
    return ExpressionCode(coefficients, head, translation, turn(neck))


@pytest.mark.parametrize("name", ["default", "ict"])
@settings(max_examples=25)
@given(values=parts())
def test_frames_are_torchs(name: str, values: tuple[Tensor, ...]) -> None:
    own, code = binding(name), code_of(*values)
    truth, frames = own.frames(code), FusedAnchors(own).frames(code)
    assert float((frames.positions - truth.positions).abs().max()) <= POSITION_M
    sign = (frames.quaternions * truth.quaternions).sum(-1, keepdim=True).sign()
    for difference in (
        (frames.rotations - truth.rotations).flatten(1),
        frames.quaternions - sign * truth.quaternions,
        frames.stretch - truth.stretch,
    ):
        worst = difference.abs().amax(-1)
        assert float(worst.max()) <= GREATEST
        assert float((worst <= USUAL).float().mean()) >= USUAL_SHARE


@pytest.mark.parametrize("name", ["default", "ict"])
@settings(max_examples=25)
@given(values=parts(), seed=st.integers(0, 1000))
def test_positions_and_their_gradient_are_torchs(
    name: str, values: tuple[Tensor, ...], seed: int
) -> None:
    own = binding(name)
    random = torch.Generator().manual_seed(seed)
    by_positions = torch.randn(len(own.anchor_corners), 3, generator=random)

    def pulled(anchors) -> tuple[Tensor, tuple[Tensor, ...]]:
        leaves = [value.clone().requires_grad_() for value in values]
        positions = anchors.positions(code_of(*leaves))
        return positions.detach(), torch.autograd.grad(positions, leaves, by_positions)

    positions, gradients = pulled(FusedAnchors(own))
    truth, theirs = pulled(own)
    assert float((positions - truth).abs().max()) <= POSITION_M
    for ours, expected in zip(gradients, theirs):
        scale = float(expected.abs().max()) if expected.numel() else 0.0
        assert torch.allclose(ours, expected, rtol=0, atol=2e-5 * max(scale, 1.0))


def test_any_number_of_threads_gives_the_same_bits() -> None:
    own = binding("default")
    random = torch.Generator().manual_seed(0)
    values = [torch.rand(52, generator=random), torch.rand(3), torch.rand(3), 0.1 * torch.rand(3)]
    by_positions = torch.randn(len(own.anchor_corners), 3, generator=random)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            leaves = [value.clone().requires_grad_() for value in values]
            anchors = FusedAnchors(own)
            positions = anchors.positions(code_of(*leaves))
            gradients = torch.autograd.grad(positions, leaves, by_positions)
            results.append([positions, *gradients, *anchors.frames(code_of(*values))])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def test_a_head_that_bends_its_shapes_keeps_to_torch() -> None:
    own = binding("default")
    assert isinstance(anchors_of(own), FusedAnchors)
    bent = Binding(make_template(load_head("default"), 500), None)
    vertices = len(bent.rig.neutral)
    object.__setattr__(bent.rig, "pose_correctives", torch.zeros(36, 3 * vertices))
    assert anchors_of(bent) is bent
