"""Adam's steps: the kernel against torch operations, those against torch's own Adam."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recon.fit import steps
from recon.fit.regularity import Smoothness
from recon.fit.steps import Regularity, Steps
from tests.recon.fit.synthetic import scene


@pytest.fixture(scope="module")
def smoothness() -> Smoothness:
    return Smoothness(scene().template)


def _walk(
    value: Tensor,
    confidence: Tensor,
    gradients: Tensor,
    smoothness: Smoothness,
    limits=None,
    regularity: Regularity | None = None,
) -> Tensor:
    leaf = value.clone().requires_grad_()
    taken = Steps(leaf, confidence, 0.05, limits, regularity)
    for index, gradient in enumerate(gradients):
        leaf.grad = gradient.clone()
        taken.take(smoothness, 1.0 - 0.05 * index)
    return leaf.detach()


@settings(max_examples=20, deadline=None)
@given(
    shape=st.sampled_from([(), (1,), (3,), (4,)]), rank=st.integers(0, 3), seed=st.integers(0, 999)
)
def test_the_kernel_is_torch(shape, rank: int, seed: int, smoothness) -> None:
    random = torch.Generator().manual_seed(seed)
    count = scene().template.count
    anchors = (count, *shape)
    value = torch.randn(*((rank,) if rank else ()), *anchors, generator=random)
    confidence = torch.rand(count, *(1,) * len(shape), generator=random).round(decimals=1)
    if rank and seed % 3 == 0:  # each row at a pace of its own
        confidence = confidence * torch.rand(rank, 1, *(1,) * len(shape), generator=random)
    gradients = torch.randn(6, *value.shape, generator=random) ** 3
    limits = (-0.5, torch.rand(count, *(1,) * len(shape), generator=random)) if seed % 2 else None
    held = Regularity(3.0, 2.0) if value.shape == (count, 3) else None
    arguments = value, confidence, gradients, smoothness, limits, held
    fast = _walk(*arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "kernel_step", steps.plain_step)
        patch.setattr(steps, "kernel_hold", steps.plain_hold)
        slow = _walk(*arguments)
    torch.testing.assert_close(fast, slow, atol=2e-5, rtol=2e-5)
    assert not torch.equal(slow, value)


def test_it_is_adam_in_units_of_confidence(smoothness) -> None:
    """x = start + confidence * step, and torch.optim.Adam on the steps."""
    random = torch.Generator().manual_seed(1)
    count = scene().template.count
    start = torch.randn(count, 3, generator=random)
    confidence = torch.rand(count, 1, generator=random)
    gradients = torch.randn(5, count, 3, generator=random)
    gradients[1:] *= 0.5  # so that the usual size is the first one's
    step = torch.zeros(count, 3, requires_grad=True)
    usual = 0.1 * float((confidence * gradients[0]).norm()) / math.sqrt(3 * count)
    adam = torch.optim.Adam([step], betas=(steps.KEEP, steps.KEEP_SQUARES), eps=usual)
    for index, gradient in enumerate(gradients):
        step.grad = confidence * gradient
        adam.param_groups[0]["lr"] = 0.05 * (1.0 - 0.05 * index)
        adam.step()
    expected = start + confidence * step.detach()
    torch.testing.assert_close(
        _walk(start, confidence, gradients, smoothness), expected, atol=1e-5, rtol=1e-5
    )


def test_what_is_not_seen_does_not_move(smoothness) -> None:
    count = scene().template.count
    confidence = torch.ones(count, 1)
    confidence[::3] = 0.0
    value = torch.zeros(count, 3)
    gradients = torch.randn(4, count, 3, generator=torch.Generator().manual_seed(2))
    moved = _walk(value, confidence, gradients, smoothness, regularity=Regularity(1.0, 1.0)).abs()
    assert not moved[::3].any()
    assert (moved[1::3] > 0).all()


def test_quiet_anchors_step_less_than_loud_ones(smoothness) -> None:
    """Below a tenth of the usual gradient the step shrinks; above, Adam's steps are all as long."""
    count = scene().template.count
    gradient = torch.ones(1, count, 3)
    gradient[0, 0], gradient[0, 1] = 1e-4, 0.5
    moved = _walk(torch.zeros(count, 3), torch.ones(count, 1), gradient, smoothness).abs()
    assert float(moved[0].max()) < 0.01 * float(moved[2].min())
    assert float(moved[1].min()) > 0.8 * float(moved[2].max())
