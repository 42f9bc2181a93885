"""A set of 3D Gaussians in the world, ready to be rasterized."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

SH_C0 = 0.28209479177387814  # the constant spherical harmonic: color = 0.5 + SH_C0 * coefficient


class Gaussians(NamedTuple):
    """Activated values, in the order and meaning of gsplat's `rasterization`.

    Files and optimisers hold logs of scales and logits of opacities; they are activated once,
    where the avatar is posed.
    """

    means: Tensor  # [..., N, 3] metres, world frame
    quaternions: Tensor  # [..., N, 4] wxyz; length is ignored
    scales: Tensor  # [..., N, 3] metres, standard deviations along the local axes
    opacities: Tensor  # [..., N] in 0..1
    colors: Tensor  # [..., N, C] channels, or [..., N, K, 3] SH coefficients (3DGS convention)

    @property
    def count(self) -> int:
        return self.means.shape[-2]

    def detach(self) -> Gaussians:
        return Gaussians(*(value.detach() for value in self))
