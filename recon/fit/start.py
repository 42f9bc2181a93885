"""The avatar before any refinement: unprojected colours on the tracked head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes, ExpressionBasis
from avatar3d.template import HAIR_INNER, HAIR_OUTER, SHEET, SKIN, Template
from recon.fit.colors import unproject
from recon.fit.hair import hair_heights
from recon.fit.neighbours import nearest
from recon.fit.observation import Sighting, a_few
from recon.fit.sheet import SheetStart, start_sheet

# Standard deviations in units of the anchors' spacing: along the surface where it is seen, where
# it is not, and across it. What is seen is sharpened by the refinement, which also closes the gaps
# that narrow Gaussians leave; what is not stays as it starts and must close them at once.
_FOOTPRINT = {
    SKIN: (0.64, 0.75, 0.30),
    HAIR_INNER: (0.52, 0.80, 0.45),
    HAIR_OUTER: (0.52, 0.80, 0.45),
    SHEET: (0.65, 0.65, 0.20),
}
_SPACING_LIMITS_M = (0.0004, 0.015)
# Far back in a mouth there are few anchors, which must not spread over what stands before them.
_WIDEST_M = {("upper_teeth", "lower_teeth"): 0.002, ("tongue", "gums", "mouth"): 0.004}
_THICKNESS = 1.0  # standard deviations
_COLLAR_Y = -0.14  # head frame, metres
_UNSEEN = 0.05  # what no frame shows stays nearly as it was filled in
_FRAMES_FOR_DEPTH = 6.0  # with as many frames geometry and opacity move half as freely as they may
_HAIR_OPACITY = {HAIR_INNER: 0.85, HAIR_OUTER: 0.45}
_BALD_M = 0.0035  # hair lower than this fades into the skin


class Confidence(NamedTuple):
    """How freely refinement may move an anchor, 0..1, by how well the frames show it."""

    look: Tensor  # [N, 1] for colour
    opacity: Tensor  # [N, 1]
    geometry: Tensor  # [N, 1] for offset, rotation and scale: one view does not tell depth


class Start(NamedTuple):
    attributes: Attributes
    confidence: Confidence
    footprint_m: np.ndarray  # [N] the scale that refinement keeps to
    light: Tensor | None  # [9, 3]
    normals: Tensor  # [N, 3] of the anchors as the reference frame has them, world
    facing: Tensor  # [N] cosine between them and the direction to the camera there
    learned: bool = False  # a prior has moved it
    basis: ExpressionBasis | None = None  # how the look changes with the code, as a prior has it


def start_attributes(
    template: Template,
    sightings: Sequence[Sighting],
    reference: int,
    light_ridge: float | None = None,
) -> Start:
    """First attributes from the sightings; `reference` is the most frontal of them."""
    few = a_few(sightings)
    heights = hair_heights(template, few)
    first = unproject(template, sightings, heights, light_ridge)
    colors, sighted = first.colors, first.sightings.copy()
    layer = template.layer.numpy()
    opacity = np.full(template.count, 0.95, np.float32)
    for number, usual in _HAIR_OPACITY.items():
        inside = layer == number
        opacity[inside] = usual * np.clip(heights[inside] / _BALD_M, 0.3, 1.0)
    along, across = _footprints(template, sighted)
    offsets = np.zeros((template.count, 3), np.float32)
    # The layers' Gaussians are thick: their outer side, not their middle, reaches the hull.
    hair = (layer == HAIR_INNER) | (layer == HAIR_OUTER)
    inward = np.minimum(heights, 0.0)
    offsets[:, 2] = np.where(hair, np.maximum(heights - _THICKNESS * along, inward), inward)

    sheet = start_sheet(template, few, sightings[reference])
    _dress(template, colors, sighted, sheet)
    colors[sheet.anchors], opacity[sheet.anchors] = sheet.colors, sheet.opacities
    offsets[sheet.anchors] = sheet.offsets
    sighted[sheet.anchors] = len(sightings) * ((sheet.opacities > 0) & ~sheet.continued)

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
    confidence = _confidence(sighted, template, len(sightings))
    shown = sightings[reference]
    return Start(
        attributes,
        confidence,
        along.astype(np.float32),
        first.light,
        normals=tensor(shown.normals.astype(np.float32)),
        facing=tensor(shown.facing(shown.positions, shown.normals).astype(np.float32)),
    )


def _footprints(template: Template, sighted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales [N] in metres along the surface and across it."""
    spacing = np.clip(template.spacing.numpy(), *_SPACING_LIMITS_M)
    seen, unseen, across = np.array([_FOOTPRINT[number] for number in range(4)]).T
    layer, clear = template.layer.numpy(), np.minimum(sighted, 1.0)
    along = (clear * seen[layer] + (1 - clear) * unseen[layer]) * spacing
    for parts, widest in _WIDEST_M.items():
        inside = template.is_part(*parts).numpy()
        if inside.any():
            # A coarse template's anchors all lie far apart, and must close the gaps.
            usual = _FOOTPRINT[SKIN][1] * np.median(spacing[inside])
            along[inside] = np.minimum(along[inside], max(widest, usual))
    return along, np.minimum(across[layer] * spacing, along)


def _dress(template: Template, colors: np.ndarray, sighted: np.ndarray, sheet: SheetStart) -> None:
    """Unseen shoulders take the colour of what is seen beside and above them, clothes and all."""
    points = template.neutral_points().numpy()
    chest = template.is_part("neck", "bust").numpy() & (points[:, 1] < _COLLAR_Y)
    bare = np.where(chest & (sighted == 0))[0]
    shown = (sheet.opacities > 0) & ~sheet.continued
    worn = sheet.anchors[shown & (points[sheet.anchors, 1] < _COLLAR_Y)]
    known = np.where(chest & (sighted > 0))[0]
    if not len(bare) or len(known) + len(worn) < 8:
        return
    where = np.concatenate([points[known], points[worn]])
    look = np.concatenate([colors[known], sheet.colors[np.isin(sheet.anchors, worn)]])
    near = nearest(where[:, :2], points[bare, :2], 8)[1]
    colors[bare] = np.median(look[near], axis=1)


def _confidence(sightings: np.ndarray, template: Template, frames: int) -> Confidence:
    look = np.clip(sightings, _UNSEEN, 1.0)
    # What sticks out of the silhouette, or through the lips, must be able to fade, seen or not;
    # lids must not, or closed eyes look through them. One photo would cut teeth to its pixels.
    free = frames / (frames + _FRAMES_FOR_DEPTH)
    opacity = free * np.where(template.is_part("face", "eyelids").numpy(), look, 1.0)
    geometry = look * sightings / (sightings + _FRAMES_FOR_DEPTH)
    columns = (look, opacity, geometry)
    return Confidence(*(torch.from_numpy(value.astype(np.float32))[:, None] for value in columns))
