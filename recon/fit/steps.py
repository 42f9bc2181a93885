"""Adam (Kingma and Ba 2015) on an avatar's attributes, in units of each anchor's confidence.

With x = start + confidence * step, Adam moves the steps: an anchor which is hardly seen moves little
however steady its gradient (a diagonal prior). On a CPU one kernel makes a step, in half the time
of the torch operations that say what it does, and that run on a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar3d.numba_threads import in_parallel
from recon.fit.regularity import Smoothness

KEEP, KEEP_SQUARES = 0.9, 0.99
# Below this share of the usual gradient Adam's step shrinks with it: a Gaussian that only shines
# through others has nothing to learn from how it does.
_QUIET, _TINY = 0.1, 1e-15

Limits = tuple[Tensor | float, Tensor | float]


@dataclass(frozen=True)
class Regularity:
    """Weights of two quadratic energies, each a mean over the anchors."""

    smoothness: float  # neighbours move alike
    prior: float  # stay near the start


class Steps:
    """One kind of attribute, moved in place by the gradient that backward() leaves with it."""

    def __init__(
        self,
        value: Tensor,
        confidence: Tensor,
        rate: float,
        limits: Limits | None = None,
        regularity: Regularity | None = None,
    ) -> None:
        """`value` [..., N, C] or [N], confidence [N, 1], [N] or [..., N, 1], limits that broadcast as
        it does."""
        self._leaf, self._value = value, value.detach()
        anchors = value.shape[-confidence.ndim :]
        self._confidence = confidence.expand(anchors).contiguous()
        self._limits = limits and tuple(
            torch.as_tensor(limit, dtype=value.dtype, device=value.device)
            .expand(anchors)
            .contiguous()
            for limit in limits
        )
        self._rate, self._regularity = rate, regularity
        self._start = None if regularity is None else self._value.clone()
        self._moments = torch.zeros_like(self._value), torch.zeros_like(self._value)
        self._usual, self._count = 0.0, 0

    @torch.no_grad()
    def take(self, smoothness: Smoothness, decay: float) -> None:
        """The next step, `decay` times as long as the first ones."""
        gradient, self._leaf.grad = self._leaf.grad, None
        assert gradient is not None
        gradient = gradient.contiguous()
        kernels = self._value.device.type == "cpu" and self._value.dtype == torch.float32
        hold, step = (kernel_hold, kernel_step) if kernels else (plain_hold, plain_step)
        if self._regularity is not None:
            assert self._start is not None
            hold(gradient, self._value - self._start, smoothness, self._regularity)
        if self._count == 0:
            self._usual = usual_size(gradient, self._confidence)
        self._count += 1
        rate = self._rate * decay / (1 - KEEP**self._count)
        spread = math.sqrt(1 - KEEP_SQUARES**self._count)
        size = step(
            self._value, gradient, self._confidence, self._moments, self._limits, rate, spread,
            max(_QUIET * self._usual, _TINY),
        )  # fmt: skip
        # For the next step: so one pass over the numbers does.
        self._usual = max(self._usual, size)


def plain_hold(
    gradient: Tensor, moved: Tensor, smoothness: Smoothness, weights: Regularity
) -> None:
    """Adds to the gradient [N, 3] that of the two energies; moved [N, 3] from the start."""
    energy = weights.prior * moved + weights.smoothness * smoothness.gradient(moved)
    gradient.add_(energy, alpha=2.0 / len(moved))


def kernel_hold(
    gradient: Tensor, moved: Tensor, smoothness: Smoothness, weights: Regularity
) -> None:
    from recon.fit import step_kernels

    share, matrix = 2.0 / len(moved), smoothness.neighbours
    in_parallel(
        step_kernels.hold, gradient.numpy(), moved.numpy(),
        smoothness.degree.view(-1).numpy(), matrix.crow_indices().numpy(),
        matrix.col_indices().numpy(), matrix.values().numpy(), np.float32(share * weights.prior),
        np.float32(share * weights.smoothness),
    )  # fmt: skip


def plain_step(
    value: Tensor,
    gradient: Tensor,
    confidence: Tensor,
    moments: tuple[Tensor, Tensor],
    limits: tuple[Tensor, ...] | None,
    rate: float,
    spread: float,
    epsilon: float,
) -> float:
    """Adam's step of `value` in place; `rate` and `spread` correct the moments' start at zero.
    Returns the gradient's usual size."""
    mean, square = moments
    scaled = confidence * gradient
    mean.lerp_(scaled, 1 - KEEP)
    square.lerp_(scaled * scaled, 1 - KEEP_SQUARES)
    value -= rate * confidence * mean / (square.sqrt() / spread + epsilon)
    if limits is not None:
        torch.clamp(value, *limits, out=value)
    return usual_size(gradient, confidence)


def usual_size(gradient: Tensor, confidence: Tensor) -> float:
    """The root of the mean square of the steps' gradient."""
    norm = float(torch.linalg.vector_norm(confidence * gradient))
    return norm / math.sqrt(gradient.numel())


def kernel_step(
    value: Tensor,
    gradient: Tensor,
    confidence: Tensor,
    moments: tuple[Tensor, Tensor],
    limits: tuple[Tensor, ...] | None,
    rate: float,
    spread: float,
    epsilon: float,
) -> float:
    """`plain_step` on a CPU, in float32."""
    from recon.fit import step_kernels

    known = confidence.view(-1).numpy()
    rows = (-1, len(known))  # views: what the kernel writes must not land in a copy
    low, high = limits or (value.new_empty(0), value.new_empty(0))
    numbers = (np.float32(n) for n in (KEEP, KEEP_SQUARES, rate, spread, epsilon))
    sums = np.empty(-(-len(known) // step_kernels.CHUNK), np.float32)
    in_parallel(
        step_kernels.adam, gradient.view(rows).numpy(), known,
        *(moment.view(rows).numpy() for moment in moments), value.view(rows).numpy(),
        low.view(-1).numpy(), high.view(-1).numpy(), *numbers, sums,
    )  # fmt: skip
    return math.sqrt(float(sums.sum(dtype=np.float64)) / value.numel())
