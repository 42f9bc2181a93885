"""Closed eyes show lids: how the skin around an eye looks once it is shut, which few photos show.

With the eye open, the lid's crease, its lashes and whatever of the eye a tracker's error puts on
skin lie where the shut eye has nothing but skin. So shutting it changes the look, by a component of
the expression basis for each eye: toward the skin beside the eye, with the lashes where the lids
meet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Avatar, ExpressionBasis
from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.heads.model import LandmarkRig
from avatar3d.smooth import smoothstep
from avatar3d.template import Template
from recon.fit.light import shading
from recon.fit.start import Start

_SHUT_IN_PHOTO = 0.6  # a frame with the eye so far shut shows the lid: nothing has to be made up
# The lid's look takes over from this share of the way between how far the eye is usually shut and
# shut: earlier, an iris that is still seen would be painted over.
_ONSET, _WHOLE = 0.5, 0.9
# Around the line where the lids meet: all of the lid is repainted, brow and cheek are not.
_ABOVE_M, _BROW_M = 0.008, 0.013
_BELOW_M, _CHEEK_M = 0.003, 0.009
_ASIDE_M = 0.007  # beyond the eye's corners
_BESIDE_M = (0.009, 0.030)  # where the skin is that the lid resembles
_SMOOTH_M = 0.012
_NOT_SKIN = 0.18  # farther from the usual colour there: lashes, brow, glasses
_LASHES_M = 0.0015  # half of the width of the dark line; less than the anchors' spacing is dashes
_LASHES = 0.65  # its strength
_SHADOW = 0.25  # share of what the open eye's surroundings look like, lashes and make-up and all
_AROUND_M = 0.019  # of the eyeball's centre, across
_MIN_KNOWN = 30
_SEEN = 0.5  # of the confidence in a colour

# MediaPipe's landmarks along the lower lid, from corner to corner.
_LOWER_LIDS = {
    "Right": (33, 7, 163, 144, 145, 153, 154, 155, 133),
    "Left": (362, 382, 381, 380, 374, 373, 390, 249, 263),
}


class Change(NamedTuple):
    """What shutting one eye adds to the colours."""

    coefficient: int
    colors: np.ndarray  # [N, 3]


def with_opaque_eyes(template: Template, learned: Start, start: Start) -> Start:
    """What a prior answered, with lids and the skin about the eyes as opaque as they were.

    Renders of open eyes taught it to see through them, for an open eye hides most of its lids; a
    shut one would be seen through its lid.
    """
    skin = template.is_part("eyelids") | (template.is_part("face") & _around_eyes(template))
    logits = learned.attributes.opacity_logits
    opaque = torch.maximum(logits, start.attributes.opacity_logits)
    attributes = replace(learned.attributes, opacity_logits=torch.where(skin, opaque, logits))
    return learned._replace(attributes=attributes)


def _around_eyes(template: Template) -> Tensor:
    points = template.neutral_points()
    centres = [points[template.is_part(f"{side}_eyeball")].mean(0) for side in ("left", "right")]
    return torch.stack(
        [(points - centre)[:, :2].norm(dim=1) < _AROUND_M for centre in centres]
    ).any(0)


def with_lids(avatar: Avatar, codes: ExpressionCode, look: np.ndarray) -> Avatar:
    """The avatar with a component of its basis for each eye that no frame shows shut.

    look: [N] confidence in the anchors' colours, 0..1. codes: [F, ...] of the support frames.
    """
    changes = []
    for side in _LOWER_LIDS:
        blink = ARKIT_INDEX[f"eyeBlink{side}"]
        if float(codes.coefficients[:, blink].max()) > _SHUT_IN_PHOTO:
            continue
        colors = _shut(avatar, look, side)
        if colors is not None:
            changes.append(Change(blink, colors))
    return _extended(avatar, codes.coefficients, changes) if changes else avatar


def _shut(avatar: Avatar, look: np.ndarray, side: str) -> np.ndarray | None:
    """Difference [N, 3] between the shut eye's colours and the open one's; None if none is known."""
    template = avatar.template
    code = ExpressionCode.from_named(**{f"eyeBlink{side}": 1.0})
    frames = avatar.binding.frames(code)
    points = frames.positions.numpy()
    # Lids have an inner side too, which no light falls on: both shall look alike.
    light = shading(avatar.light, frames.rotations[:, :, 2].numpy(), template.lit.numpy())
    colors = avatar.attributes.colors.numpy() * light
    seam = LandmarkRig(template.head, avatar.identity).pose(code).numpy()[list(_LOWER_LIDS[side])]
    seam = seam[np.argsort(seam[:, 0])]
    above = points[:, 1] - np.interp(points[:, 0], seam[:, 0], seam[:, 1])
    aside = np.maximum(np.maximum(seam[0, 0] - points[:, 0], points[:, 0] - seam[-1, 0]), 0.0)
    skin = template.is_part("face", "eyelids").numpy() & (points[:, 2] > seam[:, 2].min() - 0.02)
    upright = np.where(
        above > 0, _falling(above, _ABOVE_M, _BROW_M), _falling(-above, _BELOW_M, _CHEEK_M)
    )
    share = np.where(skin, np.minimum(upright, _falling(aside, 0.0, _ASIDE_M)), 0.0)
    distance = np.hypot(aside, above)
    beside = skin & (look > _SEEN) & (share < 0.2) & (above < _ABOVE_M)
    beside &= (distance > _BESIDE_M[0]) & (distance < _BESIDE_M[1])
    if beside.sum() < _MIN_KNOWN:
        return None
    usual = np.median(colors[beside], axis=0)
    known = np.where(beside)[0]
    known = known[np.linalg.norm(colors[known] - usual, axis=1) < _NOT_SKIN]
    changed = np.where(share > 0)[0]
    if len(known) < _MIN_KNOWN:
        return None
    apart = ((points[changed, None] - points[None, known]) ** 2).sum(-1)
    weight = np.exp(-apart / (2 * _SMOOTH_M**2)) + 1e-6
    shut = weight @ colors[known] / weight.sum(1, keepdims=True)
    ring = np.where((share > 0.5) & (look > _SEEN))[0]
    if len(ring):
        dark = colors[ring][np.argsort(colors[ring].mean(1))[: max(1, len(ring) // 20)]].mean(0)
        shut += _SHADOW * (np.median(colors[ring], axis=0) - shut)
        line = np.exp(-((above[changed] / _LASHES_M) ** 2)) * _falling(aside[changed], 0.0, 0.002)
        shut += _LASHES * line[:, None] * np.minimum(dark - shut, 0.0)
    result = np.zeros_like(colors)
    result[changed] = share[changed, None] * (shut - colors[changed]) / light[changed]
    return result


def _falling(value: np.ndarray, start: float, end: float) -> np.ndarray:
    """1 up to `start`, 0 from `end` on, smooth between."""
    return smoothstep(value, end, start)


def _extended(avatar: Avatar, coefficients: Tensor, changes: list[Change]) -> Avatar:
    """The avatar with further components in its basis, whose weights are 0 up to an onset.

    All components share one mean, so the onset becomes the mean of its coefficient; the older ones'
    limits move by what that changes in their weights, and the base by what they now lack.
    """
    attributes, basis = avatar.attributes, avatar.basis
    count, width = attributes.colors.shape[0], coefficients.shape[-1]
    if basis is None:
        nothing = torch.zeros(0, count, 3)
        basis = ExpressionBasis(
            torch.zeros(width), torch.zeros(width, 0), nothing, nothing, torch.zeros(2, 0)
        )
    mean = basis.mean.clone()
    projection = torch.zeros(width, len(changes))
    for index, change in enumerate(changes):
        shown = float(coefficients[:, change.coefficient].median())
        onset = shown + _ONSET * (1.0 - shown)
        mean[change.coefficient] = onset
        projection[change.coefficient, index] = 1.0 / max(_WHOLE - onset, 0.1)
    moved = (mean - basis.mean) @ basis.projection  # what the older weights are less by
    colors = torch.stack([torch.from_numpy(change.colors).float() for change in changes])
    limits = torch.tensor([[0.0], [1.0]]).expand(2, len(changes))
    extended = ExpressionBasis(
        mean=mean,
        projection=torch.cat([basis.projection, projection], dim=1),
        offsets=torch.cat([basis.offsets, torch.zeros_like(colors)]),
        colors=torch.cat([basis.colors, colors]),
        limits=torch.cat([basis.limits - moved, limits], dim=1),
    )
    base = replace(
        attributes,
        offsets=attributes.offsets + torch.einsum("k,knc->nc", moved, basis.offsets),
        colors=attributes.colors + torch.einsum("k,knc->nc", moved, basis.colors),
    )
    return replace(avatar, attributes=base, basis=extended)
