"""Metrics on pictures whose answer is known, and against other implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from render.metrics.akd import IRIS, LIPS, akd
from render.metrics.flip import flip, flip_map
from render.metrics.psnr import psnr
from render.metrics.sharpness import sharpness
from render.metrics.ssim import ssim, ssim_map


def noisy_pair(size=48, sigma=0.1):
    generator = torch.Generator().manual_seed(4)
    truth = torch.rand(size, size, 3, generator=generator)
    noise = torch.randn(size, size, 3, generator=generator)
    return (truth + sigma * noise).clamp(0, 1), truth


def test_psnr_of_a_constant_error():
    truth = torch.full((8, 8, 3), 0.5)
    assert psnr(truth + 0.1, truth) == pytest.approx(20, abs=1e-4)
    assert psnr(truth, truth) == math.inf
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:4] = True
    image = truth.clone()
    image[:4] += 0.01
    image[4:] += 0.3
    assert psnr(image, truth, mask) == pytest.approx(40, abs=1e-3)
    with pytest.raises(ValueError, match="empty"):
        psnr(image, truth, torch.zeros(8, 8))
    with pytest.raises(ValueError, match="size"):
        psnr(image, truth[:4])


def test_ssim_follows_scikit_image_inside_the_border():
    structural_similarity = pytest.importorskip("skimage.metrics").structural_similarity
    image, truth = noisy_pair()
    _, expected = structural_similarity(
        truth.numpy(), image.numpy(), channel_axis=2, data_range=1.0, gaussian_weights=True,
        sigma=1.5, use_sample_covariance=False, full=True,
    )  # fmt: skip
    inner = (slice(5, -5), slice(5, -5))  # scikit-image mirrors at the border
    np.testing.assert_allclose(ssim_map(image, truth)[inner], expected[inner], atol=1e-4)


def test_ssim_is_one_for_equal_pictures_and_symmetric():
    image, truth = noisy_pair()
    assert ssim(truth, truth).item() == pytest.approx(1)
    assert ssim(image, truth).item() == pytest.approx(ssim(truth, image).item())
    mask = torch.zeros(48, 48)
    mask[:10, :10] = 2
    expected = ssim_map(image, truth)[:10, :10].mean()
    torch.testing.assert_close(ssim(image, truth, mask), expected)
    with pytest.raises(ValueError, match="one size"):
        ssim(image, truth[:8])


def test_flip_is_zero_for_equal_pictures_and_grows_with_the_error():
    pytest.importorskip("flip_evaluator")
    slight, truth = noisy_pair(sigma=0.03)
    strong, _ = noisy_pair(sigma=0.2)
    assert flip(truth, truth) == 0
    assert 0 < flip(slight, truth) < flip(strong, truth) < 1
    assert flip_map(slight, truth).shape == (48, 48)
    black, white = torch.zeros(16, 16, 3), torch.ones(16, 16, 3)
    assert flip(black, white) == pytest.approx(1, abs=0.05)
    mask = torch.zeros(48, 48, dtype=torch.bool)
    mask[:, :9] = True
    assert flip(slight, truth, mask) == pytest.approx(flip_map(slight, truth)[:, :9].mean().item())


def test_sharpness_is_the_ratio_of_contrast_and_one_at_best():
    _, truth = noisy_pair()
    assert sharpness(truth, truth) == pytest.approx(1)
    assert sharpness(0.5 * truth + 0.2, truth) == pytest.approx(0.5)
    blurred = torch.nn.functional.avg_pool2d(truth.permute(2, 0, 1), 3, 1, 1).permute(1, 2, 0)
    assert sharpness(blurred, truth) < 0.5
    half = truth.clone()
    half[:, 24:] = 0.5
    mask = torch.zeros(48, 48, dtype=torch.bool)
    mask[:, :20] = True
    assert sharpness(half, truth, mask) == pytest.approx(1)
    assert math.isnan(sharpness(truth, torch.zeros_like(truth)))


def test_akd_is_the_mean_distance_of_a_subset():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 256, (478, 2))
    moved = truth.copy()
    moved[list(LIPS)] += [3, 4]
    moved[list(IRIS)] += [0, 1]
    assert akd(moved, truth, "lips") == pytest.approx(5)
    assert akd(moved, truth, "iris") == pytest.approx(1)
    assert akd(moved, truth) == pytest.approx((5 * len(LIPS) + len(IRIS)) / 478)
    with pytest.raises(ValueError, match="478"):
        akd(moved[:468], truth)
    with pytest.raises(ValueError, match="subset"):
        akd(moved, truth, "nose")  # pyright: ignore[reportArgumentType]
