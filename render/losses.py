"""The photometric loss, L1 + SSIM, as one fused kernel with its gradient.

A torch SSIM costs more than rasterizing the picture that it judges; this one costs a fraction.
The readable truth is `render.metrics.ssim`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar3d.numba_threads import in_parallel
from render.metrics.ssim import WindowStatistics, ssim_with


@dataclass(frozen=True)
class PreparedTarget:
    """A target picture with all that the loss needs of it; make it with `prepare_target`."""

    pixels: np.ndarray  # [H, W * C] interleaved channels
    mean: np.ndarray  # [H, W * C] windowed mean
    variance: np.ndarray  # [H, W * C] windowed variance
    weight: np.ndarray  # [H, W * C], sums to 1; [1, W * C] if each row has the same
    shape: tuple[int, int, int]  # H, W, C

    def on(self, device: torch.device) -> tuple[Tensor, ...]:
        """Pixels, mean, variance and weight as tensors [H or 1, W, C]; copied to a device once."""
        if device not in self._copies:
            arrays = (self.pixels, self.mean, self.variance, self.weight)
            self._copies[device] = tuple(
                torch.from_numpy(array).view(len(array), *self.shape[1:]).to(device)
                for array in arrays
            )
        return self._copies[device]

    @cached_property
    def _copies(self) -> dict[torch.device, tuple[Tensor, ...]]:
        return {}


def prepare_target(
    target: Float[Tensor, "H W C"], weight: Float[Tensor, "H W"] | None = None
) -> PreparedTarget:
    """Precompute the target's share of the loss, in its dtype (float32 or float64).

    `weight` (>= 0, not all zero; any scale) makes both terms weighted means over the pixels, so
    that 0 removes a pixel's own L1 and SSIM and the value does not depend on the mask's area. A
    window centred on a kept pixel still sees its neighbours, weighted or not.
    """
    if target.ndim != 3 or target.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"a target is float32 or float64 [H, W, C], got {target.dtype} {tuple(target.shape)}"
        )
    height, width, channels = target.shape
    pixels = _rows(target)
    if weight is None:
        weights = np.full_like(pixels[:1], 1.0 / pixels.size)
    else:
        if weight.shape != (height, width):
            raise ValueError(f"weight must be [{height}, {width}], got {tuple(weight.shape)}")
        total = float(weight.sum(dtype=torch.float64)) * channels
        if not total > 0:
            raise ValueError("weight must be positive somewhere, all of it is 0")
        weights = (weight.detach().to(target.dtype) / total).repeat_interleave(channels, 1).numpy()
    mean, variance = np.empty_like(pixels), np.empty_like(pixels)
    from render import loss_kernels

    planes = loss_kernels.padded_planes(2, height, width * channels, pixels.dtype)
    loss_kernels.target_statistics(pixels, channels, planes, mean, variance)
    return PreparedTarget(pixels, mean, variance, weights, (height, width, channels))


def photometric_loss(
    image: Float[Tensor, "H W C"], target: PreparedTarget, ssim_weight: float = 0.2
) -> Float[Tensor, ""]:
    """(1 - ssim_weight) * L1 + ssim_weight * (1 - SSIM), each the weighted mean over the pixels.

    3DGS's loss (Kerbl et al. 2023, equation 7). Differentiable once, in `image`, which may lie on a
    GPU: there it is made of torch operations.
    """
    if tuple(image.shape) != target.shape:
        raise ValueError(f"image must be {target.shape} as its target, got {tuple(image.shape)}")
    if str(image.dtype) != f"torch.{target.pixels.dtype}":
        raise ValueError(f"image must be {target.pixels.dtype} as its target, got {image.dtype}")
    if image.device.type != "cpu":
        return plain_loss(image, target, ssim_weight)
    return _PhotometricLoss.apply(image, target, ssim_weight)


def plain_loss(
    image: Float[Tensor, "H W C"], target: PreparedTarget, ssim_weight: float
) -> Float[Tensor, ""]:
    """The same as torch operations, where the image lies."""
    truth, truth_mean, truth_variance, weight = target.on(image.device)
    statistics = WindowStatistics(truth_mean, truth_variance)
    dissimilar = 1 - ssim_with(image, truth, statistics)
    values = (1 - ssim_weight) * (image - truth).abs() + ssim_weight * dissimilar
    return (values * weight).sum()


class _PhotometricLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image: Tensor, target: PreparedTarget, ssim_weight: float) -> Tensor:
        from render import loss_kernels

        pixels, channels = _rows(image), image.shape[-1]
        lambda_ssim = pixels.dtype.type(ssim_weight)
        height, width = pixels.shape
        row_loss = np.empty(height, pixels.dtype)
        wanted = ctx.needs_input_grad[0]
        gradient = np.empty((height, width) if wanted else (0, 0), pixels.dtype)
        in_parallel(
            loss_kernels.loss_and_gradient,
            pixels, target.pixels, target.mean, target.variance, target.weight, channels,
            lambda_ssim, loss_kernels.WINDOW.astype(pixels.dtype), row_loss, gradient,
        )  # fmt: skip
        if wanted:
            ctx.save_for_backward(torch.from_numpy(gradient).view(image.shape))
        return image.new_tensor(row_loss.sum(dtype=np.float64))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        factor = grad_outputs[0].item()
        return gradient if factor == 1.0 else gradient * factor, None, None


def _rows(image: Tensor) -> np.ndarray:
    """[H, W, C] -> [H, W * C] without a copy where the memory allows it."""
    return image.detach().contiguous().view(image.shape[0], -1).numpy()
