"""The avatar before any refinement: unprojected colours on the tracked head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes
from avatar3d.template import HAIR_INNER, HAIR_OUTER, SHEET, SKIN, Template
from recon.fit.colors import unproject
from recon.fit.hair import hair_heights
from recon.fit.observation import Sighting
from recon.fit.sheet import start_sheet

# Standard deviations in units of the anchors' spacing: along the surface, and across it.
_FOOTPRINT = {SKIN: (0.80, 0.30), HAIR_INNER: (0.95, 0.50), HAIR_OUTER: (0.95, 0.50), SHEET: (0.62, 0.20)}  # fmt: skip
_SPACING_LIMITS_M = (0.0004, 0.006)
_HAIR_OPACITY = {HAIR_INNER: 0.85, HAIR_OUTER: 0.45}
_BALD_M = 0.0035  # hair lower than this fades into the skin
_MAX_HAIR_SIGHTINGS = 8


class Start(NamedTuple):
    attributes: Attributes
    seen: np.ndarray  # [N] bool
    footprint_m: np.ndarray  # [N] the scale that refinement keeps to
    light: Tensor | None  # [9, 3]


def start_attributes(
    template: Template,
    sightings: Sequence[Sighting],
    reference: int,
    light_ridge: float | None = None,
) -> Start:
    """First attributes from the sightings; `reference` is the most frontal of them."""
    few = sightings[:: max(1, len(sightings) // _MAX_HAIR_SIGHTINGS)]
    heights = hair_heights(template, few)
    first = unproject(template, sightings, heights, light_ridge)
    colors, seen = first.colors, first.seen
    layer = template.layer.numpy()
    opacity = np.full(template.count, 0.95, np.float32)
    for number, usual in _HAIR_OPACITY.items():
        inside = layer == number
        opacity[inside] = usual * np.clip(heights[inside] / _BALD_M, 0.05, 1.0)
    offsets = np.zeros((template.count, 3), np.float32)
    offsets[:, 2] = heights

    sheet = start_sheet(template, few, sightings[reference])
    colors[sheet.anchors], opacity[sheet.anchors] = sheet.colors, sheet.opacities
    offsets[sheet.anchors, 2] = -sheet.push_back
    seen[sheet.anchors] = sheet.opacities > 0

    spacing = np.clip(template.spacing.numpy(), *_SPACING_LIMITS_M)
    along = np.array([_FOOTPRINT[number][0] for number in range(4)])[layer] * spacing
    across = np.array([_FOOTPRINT[number][1] for number in range(4)])[layer] * spacing
    rotations = np.zeros((template.count, 4), np.float32)
    rotations[:, 0] = 1.0
    tensor = torch.from_numpy
    opacity = np.clip(opacity, 0.0025, 0.9975)
    attributes = Attributes(
        offsets=tensor(offsets),
        rotations=tensor(rotations),
        log_scales=tensor(np.log(np.stack([along, along, across], axis=1)).astype(np.float32)),
        opacity_logits=tensor(np.log(opacity / (1 - opacity)).astype(np.float32)),
        colors=tensor(colors),
    )
    return Start(attributes, seen, along.astype(np.float32), first.light)
