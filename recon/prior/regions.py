"""Regions of the template that the prior tells apart: each learns its own steps."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar3d.template import HAIR_INNER, HAIR_OUTER, SHEET, Template

_SKIN_REGIONS: dict[str, tuple[str, ...]] = {
    "face": ("face",),
    "eyelids": ("eyelids",),
    "scalp": ("scalp",),
    "ears": ("ears",),
    "neck": ("neck",),
    "bust": ("bust",),
    "eyes": ("left_eyeball", "right_eyeball"),
    "teeth": ("upper_teeth", "lower_teeth"),
    "mouth": ("gums", "tongue", "mouth"),
}
_LAYER_REGIONS = {"hair_inner": HAIR_INNER, "hair_outer": HAIR_OUTER, "sheet": SHEET}
REGIONS = (*_SKIN_REGIONS, *_LAYER_REGIONS)

# What may exchange messages on the surface: skin with skin, hair with hair.
_GROUPS = (
    ("face", "eyelids", "scalp", "ears", "neck", "bust"),
    ("eyes",),
    ("teeth",),
    ("mouth",),
    ("hair_inner", "hair_outer"),
    ("sheet",),
)


def regions_of(template: Template) -> Tensor:
    """Index into REGIONS of every anchor, [N] int64."""
    region = torch.zeros(template.count, dtype=torch.int64)
    for name, parts in _SKIN_REGIONS.items():
        region[template.is_part(*parts)] = REGIONS.index(name)
    for name, layer in _LAYER_REGIONS.items():
        region[template.layer == layer] = REGIONS.index(name)
    return region


def groups_of(region: Tensor) -> Tensor:
    """Which anchors are connected: index of the group of regions, [N] int64."""
    group = torch.zeros(len(REGIONS), dtype=torch.int64)
    for index, names in enumerate(_GROUPS):
        for name in names:
            group[REGIONS.index(name)] = index
    return group[region]
