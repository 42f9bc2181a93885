"""What the three networks are built of: residual blocks, adaptive normalisation, self-attention.

Convolutions and projections carry spectral normalisation (Miyato et al. 2018) throughout.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

_EPSILON = 1e-5  # under the root of a variance, as torch's InstanceNorm2d


def conv(had: int, gives: int, side: int = 3) -> nn.Module:
    """A convolution that keeps the picture's size."""
    return spectral_norm(nn.Conv2d(had, gives, side, padding=side // 2))


class Down(nn.Module):
    """A residual block that halves the picture. Only the generator's are normalised; the first of
    a network sees the picture itself, so nothing comes before its convolution."""

    def __init__(self, had: int, gives: int, *, first: bool, normalised: bool) -> None:
        super().__init__()
        self._first = first
        self.norm_1 = _instance_norm(had) if normalised and not first else nn.Identity()
        self.norm_2 = _instance_norm(gives) if normalised else nn.Identity()
        self.conv_1, self.conv_2, self.skip = (
            conv(had, gives),
            conv(gives, gives),
            conv(had, gives, 1),
        )

    def forward(self, value: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        inner = value if self._first else F.relu(self.norm_1(value))
        inner = self.conv_2(F.relu(self.norm_2(self.conv_1(inner))))
        return F.avg_pool2d(inner, 2) + self.skip(F.avg_pool2d(value, 2))


class Residual(nn.Module):
    """A residual block that changes no size: the discriminator's last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_1, self.conv_2 = conv(channels, channels), conv(channels, channels)

    def forward(self, value: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return value + self.conv_2(F.relu(self.conv_1(F.relu(value))))


class Adaptive(nn.Module):
    """Two convolutions, each after an instance normalisation whose affine coefficients are given
    (AdaIN, Huang and Belongie 2017); with `up` the picture is doubled between them."""

    def __init__(self, had: int, gives: int, *, up: bool) -> None:
        super().__init__()
        self.widths = (had, gives)  # of the two normalisations
        self._up = up
        self.conv_1, self.conv_2 = conv(had, gives), conv(gives, gives)
        self.skip = conv(had, gives, 1) if had != gives else nn.Identity()

    def forward(
        self,
        value: Float[Tensor, "B C H W"],
        first: Float[Tensor, "B 2 C"],
        second: Float[Tensor, "B 2 D"],
    ) -> Float[Tensor, "B D h w"]:
        inner = F.relu(adaptive_norm(value, first))
        inner = self.conv_1(_doubled(inner) if self._up else inner)
        inner = self.conv_2(F.relu(adaptive_norm(inner, second)))
        skipped = self.skip(value)
        return inner + (_doubled(skipped) if self._up else skipped)


def adaptive_norm(
    value: Float[Tensor, "B C H W"], affine: Float[Tensor, "B 2 C"]
) -> Float[Tensor, "B C H W"]:
    """Every channel brought to mean 0 and spread 1 over the picture, then scaled by 1 + the first
    of `affine` and shifted by the second."""
    normal = F.instance_norm(value, eps=_EPSILON)
    scale, shift = affine[:, 0, :, None, None], affine[:, 1, :, None, None]
    return normal * (1 + scale) + shift


class SelfAttention(nn.Module):
    """Every place of the picture looks at all others (Zhang et al. 2019; keys and values at half
    the size, as in Brock et al. 2019). It begins silent."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.query, self.key = conv(channels, narrow, 1), conv(channels, narrow, 1)
        self.value, self.back = conv(channels, half, 1), conv(half, channels, 1)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, value: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        query = self.query(value).flatten(2)
        key = F.max_pool2d(self.key(value), 2).flatten(2)
        seen = F.max_pool2d(self.value(value), 2).flatten(2)
        weights = torch.einsum("bcq,bck->bqk", query, key).softmax(-1)
        gathered = torch.einsum("bqk,bck->bcq", weights, seen).unflatten(2, value.shape[2:])
        return value + self.gain * self.back(gathered)


def _instance_norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, eps=_EPSILON, affine=True)


def _doubled(value: Tensor) -> Tensor:
    return F.interpolate(value, scale_factor=2, mode="nearest")
