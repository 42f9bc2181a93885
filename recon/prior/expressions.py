"""Movements of the face that change how its skin looks: what the prior's expression basis follows.

Each is a mean of ARKit coefficients of both sides, so that what was learned of one person's smile is
told of another's. Blinks are not among them: `recon.fit.lids` draws shut eyes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar3d.avatar import ExpressionBasis
from avatar3d.codes import ARKIT_INDEX

_SIDES = ("Left", "Right")


def _sided(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}{side}" for name in names for side in _SIDES)


MOVEMENTS: dict[str, tuple[str, ...]] = {
    "jaw": ("jawOpen",),
    "smile": _sided("mouthSmile"),
    "frown": _sided("mouthFrown"),
    "stretch": _sided("mouthStretch", "mouthDimple"),
    "pucker": ("mouthPucker",),
    "funnel": ("mouthFunnel",),
    "upper_lip": _sided("mouthUpperUp", "noseSneer"),
    "lower_lip": _sided("mouthLowerDown"),
    "pressed": (*_sided("mouthPress"), "mouthRollLower", "mouthRollUpper"),
    "brows_up": ("browInnerUp", *_sided("browOuterUp")),
    "brows_down": _sided("browDown"),
    "cheeks": _sided("cheekSquint", "eyeSquint"),
}
_UNIT = 0.3  # of a movement, has the weight 1: as much as people who speak move
_MOST = 2.0  # weights beyond which nothing was learned


def movements(coefficients: Tensor) -> Tensor:
    """How far each of MOVEMENTS is made, in their units: [..., E] -> [..., K]."""
    return coefficients @ _projection(coefficients.shape[-1]).to(coefficients)


def movement_basis(coefficients: Tensor, offsets: Tensor, colors: Tensor) -> ExpressionBasis:
    """What movements change, [K, N, 3] each, of a look that frames with coefficients [F, E] taught:
    at their mean it changes nothing."""
    limit = coefficients.new_full((len(MOVEMENTS),), _MOST)
    return ExpressionBasis(
        mean=coefficients.mean(0),
        projection=_projection(coefficients.shape[-1]).to(coefficients),
        offsets=offsets,
        colors=colors,
        limits=torch.stack([-limit, limit]),
    )


def _projection(width: int) -> Tensor:
    """[E, K]"""
    projection = torch.zeros(width, len(MOVEMENTS))
    for column, names in enumerate(MOVEMENTS.values()):
        for name in names:
            projection[ARKIT_INDEX[name], column] = 1.0 / (_UNIT * len(names))
    return projection
