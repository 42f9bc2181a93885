"""The fused loss against the readable torch one: values, gradients and what may be passed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from render.losses import photometric_loss, plain_loss, prepare_target
from render.metrics.ssim import ssim_map


def readable_loss(image, target, weight, ssim_weight):
    weight = torch.ones(image.shape[:2]).to(image) if weight is None else weight
    weight = weight / (weight.sum() * image.shape[-1])
    l1 = ((image - target).abs() * weight[..., None]).sum()
    ssim = (ssim_map(image, target) * weight[..., None]).sum()
    return (1 - ssim_weight) * l1 + ssim_weight * (1 - ssim)


def pictures(height, width, channels=3, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(height, width, channels, generator=generator, dtype=dtype)
    noise = torch.randn(height, width, channels, generator=generator, dtype=dtype)
    weight = torch.rand(height, width, generator=generator, dtype=dtype)
    weight[: height // 3] = 0
    return (target + 0.2 * noise).clamp(0, 1), target, weight


@settings(deadline=None, max_examples=12)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3, 4]),
    ssim_weight=st.sampled_from([0.0, 0.2, 1.0]),
    weighted=st.booleans(),
)
def test_value_and_gradient_follow_the_readable_loss(
    height, width, channels, ssim_weight, weighted
):
    image, target, weight = pictures(height, width, channels)
    weight = weight if weighted else None
    fused_image = image.clone().requires_grad_()
    fused = photometric_loss(fused_image, prepare_target(target, weight), ssim_weight)
    (fused_gradient,) = torch.autograd.grad(3.0 * fused, fused_image)
    # The truth in double precision; float32 windows lose about 1e-6 of the variance, and the
    # gradient divides by variances as small as C2.
    truth_image = image.double().requires_grad_()
    truth = readable_loss(
        truth_image, target.double(), None if weight is None else weight.double(), ssim_weight
    )
    (gradient,) = torch.autograd.grad(3.0 * truth, truth_image)
    assert fused.item() == pytest.approx(truth.item(), abs=2e-5)
    assert (fused_gradient - gradient).abs().max() < 1e-3 * gradient.abs().max()


@pytest.mark.parametrize("weighted", [False, True])
def test_the_torch_loss_of_gpus_is_the_fused_one(weighted):
    image, target, weight = pictures(23, 31)
    prepared = prepare_target(target, weight if weighted else None)
    values, gradients = [], []
    for loss in (photometric_loss, plain_loss):
        pixels = image.clone().requires_grad_()
        values.append(loss(pixels, prepared, 0.3))
        gradients.append(torch.autograd.grad(3.0 * values[-1], pixels)[0])
    assert values[0].item() == pytest.approx(values[1].item(), abs=2e-6)
    assert (gradients[0] - gradients[1]).abs().max() < 1e-3 * gradients[1].abs().max()


def test_gradcheck_in_double_precision():
    image, target, weight = pictures(7, 9, dtype=torch.float64, seed=3)
    prepared = prepare_target(target, weight)
    assert torch.autograd.gradcheck(
        lambda pixels: photometric_loss(pixels, prepared), image.requires_grad_()
    )


def test_equal_pictures_have_no_loss_and_no_gradient():
    image, _, _ = pictures(24, 31)
    image.requires_grad_()
    loss = photometric_loss(image, prepare_target(image.detach()))
    (gradient,) = torch.autograd.grad(loss, image)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-6


@settings(deadline=None, max_examples=12)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 60),
    left=st.integers(0, 59),
    top=st.integers(0, 199),
    columns=st.integers(1, 30),
    rows=st.integers(1, 80),
)
def test_what_is_the_same_in_both_may_be_left_out(height, width, left, top, columns, rows):
    """Only a rectangle differs, in any band of the kernel: value and gradient stay the whole ones."""
    image, target, _ = pictures(height, width)
    outside = torch.ones(height, width, 1, dtype=torch.bool)
    outside[top : top + rows, left : left + columns] = False
    image = torch.where(outside, target, image)
    fused_image = image.clone().requires_grad_()
    fused = photometric_loss(fused_image, prepare_target(target))
    (fused_gradient,) = torch.autograd.grad(fused, fused_image)
    truth_image = image.double().requires_grad_()
    truth = readable_loss(truth_image, target.double(), None, 0.2)
    (gradient,) = torch.autograd.grad(truth, truth_image)
    assert fused.item() == pytest.approx(truth.item(), abs=2e-5)
    scale = max(gradient.abs().max().item(), 1e-3 / image.numel())
    assert (fused_gradient - gradient).abs().max() < 1e-3 * scale


def test_masked_pixels_do_not_count_when_no_window_reaches_them():
    image, target, _ = pictures(40, 40)
    weight = torch.zeros(40, 40)
    weight[:10] = 1
    changed = image.clone()
    changed[20:] = 0
    prepared = prepare_target(target, weight)
    assert photometric_loss(image, prepared) == photometric_loss(changed, prepared)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prepare_target(torch.zeros(4, 4)), "float32 or float64"),
        (lambda: prepare_target(torch.zeros(4, 4, 3, dtype=torch.int32)), "int32"),
        (lambda: prepare_target(torch.zeros(4, 4, 3), torch.zeros(4, 5)), "weight must be"),
        (lambda: prepare_target(torch.zeros(4, 4, 3), torch.zeros(4, 4)), "positive somewhere"),
        (
            lambda: photometric_loss(torch.zeros(4, 5, 3), prepare_target(torch.zeros(4, 4, 3))),
            "as its target",
        ),
        (
            lambda: photometric_loss(
                torch.zeros(4, 4, 3).double(), prepare_target(torch.zeros(4, 4, 3))
            ),
            "float32 as its target",
        ),
    ],
)
def test_wrong_inputs_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
