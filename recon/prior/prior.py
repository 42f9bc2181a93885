"""`Prior`: what many people have in common, applied to the start of one.

The start holds what the frames show. The network, which saw many people from few frames and was
judged on others of the same people, says how that differs from what they look like in other poses:
how colours move under the light, how hair stands, what lies where nothing was seen. It also says how
freely refinement may then leave its answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes, ExpressionBasis
from avatar3d.geometry import quaternion_multiply
from avatar3d.light import neutral_light
from avatar3d.smooth import smoothstep
from avatar3d.template import Template
from recon.fit.colors import MAX_ALBEDO
from recon.fit.start import Confidence, Start
from recon.prior.expressions import MOVEMENTS, movement_basis
from recon.prior.features import anchor_features
from recon.prior.network import AnchorNetwork, Residuals
from recon.prior.regions import REGIONS
from recon.prior.surface import Surface, surface_of

# What one unit of the network's output is worth.
# Scales move little: wide Gaussians please every squared error and nobody's eye.
_COLOR, _LOGIT, _LOG_SCALE, _LIGHT = 0.2, 2.0, 0.2, 0.3
_OFFSET_IN_FOOTPRINTS = 1.0
_ROTATION = 0.3  # radians
_BASIS_COLOR, _BASIS_OFFSET_IN_FOOTPRINTS = 0.1, 0.5
_MAX_OFFSET_IN_FOOTPRINTS = 12.0
_MAX_LOGIT = 6.0
_TURNED_AWAY = (-0.3, 0.1)  # cosines to the camera between which the prior falls silent


class LearnedSteps(NamedTuple):
    """Natural logarithms of factors on refinement's steps, by region: Meta-SGD's learning rates.

    Li et al. 2017, "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning".
    """

    look: Tensor  # [REGIONS]
    opacity: Tensor  # [REGIONS]
    geometry: Tensor  # [REGIONS]


@dataclass(frozen=True)
class Prior:
    """A network with the steps learned beside it."""

    network: AnchorNetwork
    steps: LearnedSteps
    name: str = "untrained"

    def start(self, start: Start, template: Template, coefficients: Tensor) -> Start:
        """The prior's answer to a start from support frames with coefficients [F, E]."""
        surface = surface_of(template)
        with torch.no_grad():
            residuals = self.network(anchor_features(start, surface, coefficients), surface)
        answer = apply_residuals(start, residuals, surface, self.steps, coefficients)
        basis = answer.basis
        if basis is not None and not (basis.offsets.any() or basis.colors.any()):
            return answer._replace(basis=None)  # weights of before know none
        return answer


def apply_residuals(
    start: Start,
    residuals: Residuals,
    surface: Surface,
    steps: LearnedSteps,
    coefficients: Tensor,
) -> Start:
    """A start moved by the network's residuals; differentiable in them."""
    attributes, heard = start.attributes, _reach(start, surface)
    footprint = torch.from_numpy(start.footprint_m).to(heard.device)[:, None]
    reach = _MAX_OFFSET_IN_FOOTPRINTS * footprint
    offsets = _OFFSET_IN_FOOTPRINTS * footprint * heard * residuals.offsets
    logits = attributes.opacity_logits + _LOGIT * (heard * residuals.opacity)[:, 0]
    log_scales = attributes.log_scales + _LOG_SCALE * heard * torch.tanh(residuals.log_scales)
    moved = Attributes(
        offsets=attributes.offsets + torch.minimum(torch.maximum(offsets, -reach), reach),
        rotations=_turned(attributes.rotations, _ROTATION * heard * residuals.rotations),
        log_scales=log_scales,
        opacity_logits=logits.clamp(-_MAX_LOGIT, _MAX_LOGIT),
        colors=(attributes.colors + _COLOR * heard * residuals.colors).clamp(0.0, MAX_ALBEDO),
    )
    light = neutral_light().to(heard) if start.light is None else start.light
    grown = log_scales.detach()[:, :2].mean(1) - attributes.log_scales[:, :2].mean(1)
    freedom = 0.7 * torch.tanh(residuals.confidence)
    confidence = Confidence(
        *(
            own * (learned[surface.region][:, None] + freedom[:, index : index + 1]).exp()
            for index, (own, learned) in enumerate(zip(start.confidence, steps))
        )
    )
    return start._replace(
        attributes=moved,
        confidence=confidence,
        footprint_m=_times(start.footprint_m, grown.exp()),
        light=light + _LIGHT * residuals.light,
        learned=True,
        basis=_basis(residuals, heard, footprint, surface, coefficients),
    )


def _turned(rotations: Tensor, angles: Tensor) -> Tensor:
    """Quaternions [N, 4] after turns by small angles about the anchor's axes, [N, 3] radians."""
    turns = torch.cat([torch.ones_like(angles[:, :1]), 0.5 * angles], dim=1)
    return quaternion_multiply(torch.nn.functional.normalize(turns, dim=1), rotations)


def _basis(
    residuals: Residuals,
    heard: Tensor,
    footprint: Tensor,
    surface: Surface,
    coefficients: Tensor,
) -> ExpressionBasis:
    heard_of = (heard * surface.stirred)[:, :, None]

    def rows(values: Tensor, unit: Tensor | float) -> Tensor:
        each = values.view(-1, len(MOVEMENTS), 3)
        return (unit * heard_of * each).transpose(0, 1).contiguous()

    return movement_basis(
        coefficients,
        surface.movements,
        rows(residuals.basis_offsets, _BASIS_OFFSET_IN_FOOTPRINTS * footprint[:, :, None]),
        rows(residuals.basis_colors, _BASIS_COLOR),
    )


def _times(values: np.ndarray, factors: Tensor) -> np.ndarray:
    return (values * factors.cpu().numpy()).astype(np.float32)


def _reach(start: Start, surface: Surface) -> Tensor:
    """How far the prior is to be heard at every anchor, [N, 1] 0..1.

    Clips seldom show the back of a head, so nobody ever told the network that it was wrong there;
    nor on the sheet where no support frame showed anything.
    """
    facing = smoothstep(start.facing, *_TURNED_AWAY)
    sheet = surface.region == REGIONS.index("sheet")
    seen = torch.where(sheet, start.confidence.look[:, 0].clamp(max=1.0), 1.0)
    return (facing * seen)[:, None]


def untrained() -> Prior:
    """A prior that changes nothing: where training starts."""
    zero = torch.zeros(len(REGIONS))
    network = AnchorNetwork().eval()
    return Prior(network, LearnedSteps(zero, zero.clone(), zero.clone()))
