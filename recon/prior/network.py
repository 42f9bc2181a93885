"""The network: a small U-Net over the template's anchors.

Points of one level exchange with their neighbours' mean and with their mirror image; levels
exchange by pooling and interpolation; the coarsest is joined by its mean, from which the light is
corrected. The last layers start at zero: an untrained prior changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avatar3d.binding import SparseMap
from recon.prior.expressions import MOVEMENTS
from recon.prior.features import FEATURE_COUNT
from recon.prior.surface import LEVEL_COUNT, Level, Surface

WIDTHS = (32, 48, 64, 64)
_BASIS = 3 * len(MOVEMENTS)
_FIELDS = {
    "colors": 3, "opacity": 1, "log_scales": 3, "offsets": 3, "confidence": 3,
    "rotations": 3, "basis_offsets": _BASIS, "basis_colors": _BASIS,
}  # fmt: skip
LIGHT_COUNT = 27
_DROPOUT = 0.1  # some tens of people are soon known by heart


class Residuals(NamedTuple):
    """What the network says, in units of the order of one; `prior.py` turns it into attributes."""

    colors: Tensor  # [N, 3]
    opacity: Tensor  # [N, 1]
    log_scales: Tensor  # [N, 3]
    offsets: Tensor  # [N, 3]
    confidence: Tensor  # [N, 3] for look, opacity, geometry
    rotations: Tensor  # [N, 3] axis times angle, in the anchor's frame
    basis_offsets: Tensor  # [N, 3 K] by MOVEMENTS
    basis_colors: Tensor  # [N, 3 K]
    light: Tensor  # [9, 3]


class _Block(nn.Module):
    """Messages along one graph, added to what is there."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(3 * width, width)
        self.forget = nn.Dropout(_DROPOUT)
        self.out = nn.Linear(width, width)

    def forward(self, value: Tensor, level: Level) -> Tensor:
        """[n, width] -> [n, width]."""
        told = _told(self.norm(value), level)
        return value + self.out(self.forget(nn.functional.silu(self.mix(told))))


class AnchorNetwork(nn.Module):
    """Features of the anchors [N, FEATURE_COUNT] -> residuals of their attributes."""

    def __init__(self) -> None:
        super().__init__()
        first = WIDTHS[0]
        self.enter = nn.Sequential(nn.Linear(FEATURE_COUNT, first), nn.SiLU())
        self.near = nn.Linear(3 * first, first)
        coarse = range(1, LEVEL_COUNT)
        self.down = nn.ModuleList(nn.Linear(WIDTHS[k - 1], WIDTHS[k]) for k in coarse)
        self.descend = nn.ModuleList(_Block(WIDTHS[k]) for k in coarse)
        last = WIDTHS[-1]
        self.whole = nn.Sequential(nn.Linear(last, last), nn.SiLU())
        self.up = nn.ModuleList(nn.Linear(WIDTHS[k], WIDTHS[k - 1]) for k in coarse)
        self.ascend = nn.ModuleList(_Block(WIDTHS[k]) for k in coarse)
        self.leave = nn.Sequential(nn.Linear(2 * first, 48), nn.SiLU())
        self.attributes = nn.Linear(48, sum(_FIELDS.values()))
        self.light = nn.Linear(last, LIGHT_COUNT)
        for head in (self.attributes, self.light):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, features: Tensor, surface: Surface) -> Residuals:
        """One person's residuals, float32; under autocast the linear layers are what is faster."""
        entered = self.enter(features)
        fine = surface.levels[0]
        value = nn.functional.silu(self.near(_told(entered, fine)))
        passed = [value]
        for index in range(LEVEL_COUNT - 1):
            value = self.down[index](_exact(surface.pool[index], value))
            value = self.descend[index](value, surface.levels[index + 1])
            passed.append(value)
        whole = self.whole(value.mean(0, keepdim=True))
        value = value + whole
        for index in reversed(range(LEVEL_COUNT - 1)):
            value = self.ascend[index](value, surface.levels[index + 1])
            lifted = _exact(surface.lift[index], self.up[index](value))
            value = torch.cat([passed[0], lifted], -1) if index == 0 else passed[index] + lifted
        fields = self.attributes(self.leave(value)).split([*_FIELDS.values()], dim=-1)
        residuals = Residuals(*fields, light=self.light(whole).view(9, 3))
        return Residuals(*(value.float() for value in residuals))


def _told(value: Tensor, level: Level) -> Tensor:
    """What every point knows of itself, its neighbours and its mirror image, [n, 3 * width]."""
    value = value.float()
    parts = [value, _exact(level.average, value), _exact(level.mirror, value)]
    return torch.cat(parts, dim=-1)


def _exact(sparse: SparseMap, value: Tensor) -> Tensor:
    """In float32 whatever precision is chosen: sparse products know no other on every device."""
    with torch.autocast(value.device.type, enabled=False):
        return sparse(value.float())
