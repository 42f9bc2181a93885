"""What a rasterizer backend is, and the constants that make all backends draw one picture."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from avatar3d.gaussians import Gaussians
from render.eight_bit import to_uint8

# gsplat 1.5's limits (its cuda/_constants.py and ProjectionEWA3DGSFused.cu give the reasons).
ALPHA_THRESHOLD = 1.0 / 255.0  # a fainter contribution does not change an 8-bit picture
MAX_ALPHA = 0.999  # keeps 1 / (1 - alpha) finite in the backward pass
TRANSMITTANCE_THRESHOLD = 1e-4  # a pixel is done before its transmittance would fall to this
NEAR_PLANE_M = 0.01
DILATION_PX2 = 0.3  # added to the 2D covariance: no splat is thinner than about half a pixel
# The projection's linearisation is evaluated at most this share of the picture's size outside it.
FRUSTUM_MARGIN = 0.15
# Antialiased mode scales opacity by sqrt(det without / det with dilation). Below 1e-3 the splat is
# under ALPHA_THRESHOLD anyway; the floor keeps the root's slope finite.
MIN_COMPENSATION_SQUARED = 1e-6
# A splat whose centre or edge lies further out than this is not drawn: float32 and int32 hold the
# rest of the way without overflow.
MAX_EXTENT_PX = 1e8
# Shorter quaternions have no direction: they count as no rotation, and get no gradient.
MIN_QUATERNION_LENGTH = 1e-10
MAX_QUATERNION_LENGTH = 1e18  # the square of a longer one is no float32: not drawn


class Backend(Protocol):
    """Draws one set of Gaussians into one camera; differentiable in every tensor."""

    name: str

    def why_unavailable(self) -> str | None:
        """None if it can run on this machine, else the reason in a few words."""
        ...

    def render(
        self,
        gaussians: Gaussians,
        viewmat: Tensor,
        K: Tensor,
        width: int,
        height: int,
        background: Tensor,
        antialiased: bool,
    ) -> tuple[Tensor, Tensor]:
        """gaussians [N, ...] with plain colors [N, C], viewmat [4, 4], K [3, 3], background [C]
        -> colors [H, W, C] over the background, alpha [H, W].

        A Gaussian with a number that is not finite is not drawn and gets no gradient."""
        ...

    def render_batch(
        self,
        gaussians: Gaussians,
        viewmat: Tensor,
        K: Tensor,
        width: int,
        height: int,
        background: Tensor,
        antialiased: bool,
    ) -> tuple[Tensor, Tensor]:
        """As `render`, with one more leading dimension everywhere; not of size 0."""
        pictures = [
            self.render(Gaussians(*values), viewmat_, K_, width, height, background_, antialiased)
            for *values, viewmat_, K_, background_ in zip(*gaussians, viewmat, K, background)
        ]
        colors, alphas = zip(*pictures)
        return torch.stack(colors), torch.stack(alphas)

    def render_8_bit(
        self,
        gaussians: Gaussians,
        viewmat: Tensor,
        K: Tensor,
        width: int,
        height: int,
        background: Tensor,
        antialiased: bool,
    ) -> np.ndarray:
        """The colours, three channels, as `to_uint8` makes them: uint8 [H, W, 3]."""
        colors, _ = self.render(gaussians, viewmat, K, width, height, background, antialiased)
        return to_uint8(colors)
