"""What the prior is told of every anchor: what the frames showed there, and where it lies."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from avatar3d.light import irradiance, sh_basis
from recon.fit.start import Start
from recon.prior.expressions import MOVEMENTS
from recon.prior.regions import REGIONS
from recon.prior.surface import Surface

_CENTRE_M, _RADIUS_M = (0.0, -0.03, -0.06), 0.12
_FREQUENCIES = (1.0, 2.0, 4.0)
_USUAL_SCALE_M = 0.0013
_MAX_SHOTS = 32


def anchor_features(start: Start, surface: Surface, coefficients: Tensor) -> Tensor:
    """[N, FEATURE_COUNT], of the order of one, on the device of start and surface; from support frames
    with coefficients [F, E].

    Colours are told relative to the face's own, so that what is learned on one skin serves another.
    """
    attributes, confidence = start.attributes, start.confidence
    colors = attributes.colors
    normals = start.normals
    skin = usual_skin(start, surface)
    shade = torch.ones_like(colors) if start.light is None else irradiance(start.light, normals)
    scale = torch.from_numpy(np.maximum(start.footprint_m, 1e-5)).to(colors.device)[:, None]
    place = (surface.points - surface.points.new_tensor(_CENTRE_M)) / _RADIUS_M
    waves = [
        wave(math.pi / 2 * frequency * place)
        for frequency in _FREQUENCIES
        for wave in (torch.sin, torch.cos)
    ]
    count = len(colors)
    movements = surface.movements
    told = coefficients.mean(0)[: len(movements)] @ movements
    columns = [
        colors - skin,
        skin.expand(count, 3),
        shade - 1,
        sh_basis(normals)[:, 1:],
        start.facing[:, None],
        confidence.look,
        confidence.geometry,
        attributes.opacity_logits[:, None] / 4,
        (attributes.log_scales - math.log(_USUAL_SCALE_M)) / 2,
        (scale / _USUAL_SCALE_M).log() / 2,
        attributes.offsets[:, 2:] / 0.02,
        colors.new_full((count, 1), math.log(len(coefficients)) / math.log(_MAX_SHOTS)),
        place,
        *waves,
        torch.nn.functional.one_hot(surface.region, len(REGIONS)).float(),
        told.expand(count, -1),
    ]
    return torch.cat(columns, dim=1)


def usual_skin(start: Start, surface: Surface) -> Tensor:
    """Median colour of the face where it is seen, [3]."""
    face = surface.region == REGIONS.index("face")
    seen = face & (start.confidence.look[:, 0] > 0.5)
    chosen = seen if int(seen.sum()) > 100 else face
    return start.attributes.colors[chosen].median(0).values


FEATURE_COUNT = (
    3
    + 3
    + 3
    + 8
    + 1
    + 2
    + 1
    + 3
    + 1
    + 1
    + 1
    + 3
    + 3 * 2 * len(_FREQUENCIES)
    + len(REGIONS)
    + len(MOVEMENTS)
)
