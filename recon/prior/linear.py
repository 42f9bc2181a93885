"""The cheapest prior: how far starts from one picture were from fits to many, on average and in
proportion to what the picture shows of skin, hair and light.

A ridge regression over people at the template's first anchors, after the study that went before
this project: no network, no renders in its training. It is what a network has to beat.
`recon.prior.learn_linear` makes it from stored episodes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor

from avatar3d.errors import UserError
from avatar3d.light import irradiance, neutral_light
from avatar3d.template import Template
from recon.fit.colors import MAX_ALBEDO
from recon.fit.start import Confidence, Start
from recon.prior.features import usual_skin
from recon.prior.regions import REGIONS
from recon.prior.surface import Surface, lift_from, surface_of

KIND, FORMAT = "linear", 1
SHOTS = (1, 3, 8)  # at which the share of the residual that is left was measured
FIELDS = 8  # colour 3, opacity 1, scale 1, offset 3
FEATURES = 1 + 3 + 3 + 3  # one, skin, hair, light's direction
_MAX_LOGIT = 6.0
_HAIR = ("scalp", "hair_inner", "hair_outer")


class Line(NamedTuple):
    """The regression at M anchors; what one unit is worth is said beside each."""

    weights: Tensor  # [FEATURES, M, FIELDS] colour, logit, log, m, by standardised features
    middle: Tensor  # [FEATURES] of the features over people
    spread: Tensor  # [FEATURES]
    freedom: Tensor  # [M, 3] factors on refinement's steps: look, opacity, geometry
    shares: Tensor  # [len(SHOTS)] of the answer that is left with so many support frames


@dataclass(frozen=True)
class LinearPrior:
    """`Line` applied to the start of one."""

    line: Line
    name: str = KIND

    def start(self, start: Start, template: Template, coefficients: Tensor) -> Start:
        """The start moved by what a person of such colours would have been moved by."""
        line, surface = self.line, surface_of(template)
        asked = (summary_of(start, surface) - line.middle) / line.spread
        coarse = torch.einsum("k,kmf->mf", asked, line.weights)
        few = min(len(coarse), template.count)
        lift = lift_from(template, few)
        moved = share_at(len(coefficients), line.shares) * lift(coarse[:few])
        freedom = lift(line.freedom[:few])
        return apply(start, moved, freedom)


def summary_of(start: Start, surface: Surface) -> Tensor:
    """What a start says of a person as a whole, [FEATURES]."""
    colors = start.attributes.colors
    hair = torch.isin(surface.region, torch.tensor([REGIONS.index(name) for name in _HAIR]))
    seen = hair & (start.confidence.look[:, 0] > 0.5)
    chosen = seen if int(seen.sum()) > 100 else hair
    light = neutral_light() if start.light is None else start.light
    return torch.cat(
        [
            torch.ones(1),
            usual_skin(start, surface),
            colors[chosen].median(0).values,
            light[1:4].mean(1),
        ]
    )


def residual(start: Start, fitted: Start) -> Tensor:
    """What moves a start to a fit of the same anchors, [M, FIELDS]; the fit's colours are told
    under the start's light, at the start's pose."""
    own, goal = start.attributes, fitted.attributes
    light, other = (
        neutral_light() if given is None else given for given in (start.light, fitted.light)
    )
    shade = irradiance(other, start.normals) / irradiance(light, start.normals)
    return torch.cat(
        [
            goal.colors * shade.clamp(0.5, 2.0) - own.colors,
            (goal.opacity_logits - own.opacity_logits)[:, None],
            (goal.log_scales - own.log_scales).mean(1, keepdim=True),
            goal.offsets - own.offsets,
        ],
        dim=1,
    )


def apply(start: Start, moved: Tensor, freedom: Tensor) -> Start:
    """A start moved by [N, FIELDS], with refinement's steps scaled by [N, 3]."""
    own = start.attributes
    colors, opacity, scale, offsets = moved.split([3, 1, 1, 3], dim=1)
    attributes = replace(
        own,
        colors=(own.colors + colors).clamp(0.0, MAX_ALBEDO),
        opacity_logits=(own.opacity_logits + opacity[:, 0]).clamp(-_MAX_LOGIT, _MAX_LOGIT),
        log_scales=own.log_scales + scale,
        offsets=own.offsets + offsets,
    )
    confidence = Confidence(
        *(value * freedom[:, index : index + 1] for index, value in enumerate(start.confidence))
    )
    # Not `learned`: held as fast as to the network's answer, refinement lost .1 to .6 dB.
    return start._replace(attributes=attributes, confidence=confidence)


def share_at(shots: int, shares: Tensor) -> float:
    """Interpolated in the logarithm of the number of frames; the last share holds beyond it."""
    place = math.log(max(shots, 1))
    ends = [math.log(count) for count in SHOTS]
    for index in range(len(ends) - 1):
        if place <= ends[index + 1]:
            mix = (place - ends[index]) / (ends[index + 1] - ends[index])
            return float(torch.lerp(shares[index], shares[index + 1], mix))
    return float(shares[-1])


def read_linear(path: Path) -> LinearPrior:
    """A file that `recon.prior.learn_linear` wrote; `UserError` where it is none."""
    from safetensors import safe_open

    wanted = {name: None for name in Line._fields}
    try:
        with safe_open(str(path), "pt") as file:
            facts = file.metadata() or {}
            found = {name: file.get_tensor(name).float() for name in wanted if name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path} must be a linear prior's safetensors file, but cannot be read ({error}); "
            f"choose another file"
        ) from error
    anchors = found["freedom"].shape[0] if "freedom" in found and found["freedom"].ndim else 0
    shapes = {
        "weights": (FEATURES, anchors, FIELDS), "middle": (FEATURES,), "spread": (FEATURES,),
        "freedom": (anchors, 3), "shares": (len(SHOTS),),
    }  # fmt: skip
    got = {name: tuple(value.shape) for name, value in found.items()}
    if facts.get("format") != str(FORMAT) or got != shapes or anchors == 0:
        raise UserError(
            f"{path} must hold a linear prior of format {FORMAT}, but its tensors are {got}; "
            f"make it again with `python -m recon.prior.learn_linear`"
        )
    if not all(bool(torch.isfinite(value).all()) for value in found.values()):
        raise UserError(f"{path} must hold finite numbers, got others; make it again")
    return LinearPrior(Line(**found), path.stem)
