"""Components of the expression basis that are told, not learned: what shutting an eye changes."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Avatar, ExpressionBasis

# The lid's look takes over from this share of the way between how far the eye is usually shut and
# shut: earlier, an iris that is still seen would be painted over.
_ONSET, _WHOLE = 0.5, 0.9
_USUALLY = 0.6  # shut at the most: a blink of whoever looks down must still be one


class Change(NamedTuple):
    """What shutting one eye adds."""

    coefficient: int
    helpers: dict[int, float]  # coefficients that close it as well, and by which share of the blink
    colors: np.ndarray  # [N, 3]
    offsets: np.ndarray  # [N, 3] metres


def calmed(avatar: Avatar, anchors: Tensor, most: float) -> Avatar:
    """The avatar whose basis changes the colours of some anchors, a mask [N], by `most` at the most,
    over all weights that it allows.

    Skin hardly changes more; components that together add ten times that cancel in the support
    frames' expressions, and are specks in others.
    """
    basis = avatar.basis
    if basis is None:
        return avatar
    greatest = basis.limits.abs().max(0).values
    reach = torch.einsum("k,knc->nc", greatest, basis.colors.abs()).max(-1).values
    share = torch.where(anchors, (most / reach.clamp(min=1e-6)).clamp(max=1.0), 1.0)
    return replace(avatar, basis=replace(basis, colors=share[:, None] * basis.colors))


def with_changes(avatar: Avatar, coefficients: Tensor, changes: list[Change]) -> Avatar:
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
    usual = coefficients.median(0).values
    for index, change in enumerate(changes):
        # Together they may shut an eye that none of them would alone.
        shares = {change.coefficient: 1.0, **change.helpers}
        shown = sum(share * float(usual[number]) for number, share in shares.items())
        shown = min(shown, _USUALLY)
        onset = shown + _ONSET * (1.0 - shown)
        others = sum(share * float(mean[helper]) for helper, share in change.helpers.items())
        mean[change.coefficient] = onset - others
        for number, share in shares.items():
            projection[number, index] = share / (_WHOLE - onset)
    moved = (mean - basis.mean) @ basis.projection  # what the older weights are less by
    colors, offsets = (
        torch.from_numpy(np.stack(gains).astype(np.float32))
        for gains in zip(*((change.colors, change.offsets) for change in changes))
    )
    limits = torch.tensor([[0.0], [1.0]]).expand(2, len(changes))
    extended = ExpressionBasis(
        mean=mean,
        projection=torch.cat([basis.projection, projection], dim=1),
        offsets=torch.cat([basis.offsets, offsets]),
        colors=torch.cat([basis.colors, colors]),
        limits=torch.cat([basis.limits - moved, limits], dim=1),
    )
    lacking = basis.change(moved)
    base = replace(
        attributes, offsets=attributes.offsets + lacking[0], colors=attributes.colors + lacking[1]
    )
    return replace(avatar, attributes=base, basis=extended)
