"""Movements of the face that change how its skin looks: what the prior's expression basis follows.

They are told by what the head model's landmarks do, not by coefficients: several of those move a lip
alike, and a tracker that takes one for another from frame to frame would make the look flicker. So
they mean the same on every head, and as much on the left as on the right. Each changes the skin about
what moves and no more: people smile with their eyes, and weights that learned so would make them
stare at every pout. Blinks are not among them: `recon.fit.lids` draws shut eyes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from avatar3d.avatar import ExpressionBasis
from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.heads import HeadModel
from avatar3d.heads.model import LandmarkRig
from avatar3d.smooth import smoothstep
from recon.prior.regions import REGIONS

_X, _Y, _Z = range(3)  # of the head frame: outward on either side, up, forward


class Movement(NamedTuple):
    """How far landmarks move along an axis, less how far others do."""

    landmarks: tuple[int, ...]  # MediaPipe's
    axis: int
    unit_m: float  # has the weight 1: about as much as people who speak move
    about: tuple[int, ...]  # landmarks whose surroundings change their look with it
    without: tuple[int, ...] = ()


_MOUTH, _BROWS = (0, 17, 61, 291, 152), (105, 334, 107, 336)
MOVEMENTS: dict[str, Movement] = {
    "jaw_down": Movement((152,), _Y, -0.004, _MOUTH),
    "lips_apart": Movement((13,), _Y, 0.004, _MOUTH, without=(14,)),
    "corners_out": Movement((61, 291), _X, 0.0025, _MOUTH),
    "corners_up": Movement((61, 291), _Y, 0.0025, _MOUTH),
    "lips_forward": Movement((0, 17), _Z, 0.002, _MOUTH),
    "brows_up": Movement(_BROWS, _Y, 0.0025, _BROWS),
}
_ABOUT_M = (0.020, 0.035)  # of the nearest of those landmarks: a look changes wholly to not at all
_EYES_M = (0.014, 0.021)  # of an eyeball's centre, across: not at all to wholly
_MOST = 2.5  # weights beyond which nothing was learned


def movements_of(head: HeadModel) -> Tensor:
    """What each of ARKit's coefficients does to each of MOVEMENTS, in their units, [52, K]."""
    count = len(ARKIT_NAMES)
    code = ExpressionCode.neutral(count + 1, coefficient_count=count)
    code.coefficients[1:] = torch.eye(count)
    points = LandmarkRig(head, None).pose(code)
    still, moved = points[0], points[1:] - points[0]
    outward = torch.where(still[:, _X] < 0, -1.0, 1.0)
    moved = torch.stack([moved[..., _X] * outward, moved[..., _Y], moved[..., _Z]], dim=-1)

    def mean(landmarks: tuple[int, ...], axis: int) -> Tensor:
        return moved[:, list(landmarks), axis].mean(1)

    columns = []
    for landmarks, axis, unit_m, _about, without in MOVEMENTS.values():
        way = mean(landmarks, axis)
        columns.append((way - mean(without, axis) if without else way) / unit_m)
    return torch.stack(columns, dim=1)


def stirred_by(head: HeadModel, region: Tensor, points: Tensor) -> Tensor:
    """How far each of MOVEMENTS changes the look of anchors at points [N, 3], [N, K] 0..1: of the
    face's skin about what moves, but not about the eyes."""
    places = LandmarkRig(head, None).pose(ExpressionCode.neutral(1))[0]
    eyes = points[region == REGIONS.index("eyes")]
    left = eyes[:, :1] < 0
    centres = torch.stack([(eyes * side).sum(0) / side.sum() for side in (left, ~left)])
    off_eyes = smoothstep(torch.cdist(points[:, :2], centres[:, :2]).min(1).values, *_EYES_M)
    skin = (region == REGIONS.index("face")) * off_eyes
    columns = []
    for movement in MOVEMENTS.values():
        near = torch.cdist(points, places[list(movement.about)]).min(1).values
        columns.append(skin * (1.0 - smoothstep(near, *_ABOUT_M)))
    return torch.stack(columns, dim=1)


def movement_basis(
    coefficients: Tensor, movements: Tensor, offsets: Tensor, colors: Tensor
) -> ExpressionBasis:
    """What movements [52, K] change, [K, N, 3] each, of a look that frames with coefficients [F, E]
    taught: at their mean it changes nothing."""
    limit = movements.new_full((movements.shape[1],), _MOST)
    own = coefficients.shape[-1] - len(movements)  # a head's own coefficients follow ARKit's
    return ExpressionBasis(
        mean=coefficients.mean(0),
        projection=torch.cat([movements, movements.new_zeros(own, movements.shape[1])]),
        offsets=offsets,
        colors=colors,
        limits=torch.stack([-limit, limit]),
    )
