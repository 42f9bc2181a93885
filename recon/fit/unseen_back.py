"""The back of neck and shoulders, which hardly any picture shows: skin above a collar, cloth below.

Filled in from what is nearest, it repeats the chest: the opening of a shirt, a tie, hair that hangs
before a shoulder, as blotches on a nape. Cloth goes on round the shoulders instead, each side's own,
and a neck is of its own skin up to where the front says that a collar begins. Hair that hangs on both
sides of a neck hangs behind it too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes
from avatar3d.smooth import smoothstep
from avatar3d.template import SHEET, Template
from recon.fit.colors import MAX_ALBEDO
from recon.fit.membrane import membrane
from recon.fit.unseen_hair import usual_hair

_SEEN = 0.5  # of the confidence in an anchor's colour
_BEHIND_Z = (-0.07, -0.10)  # head frame, metres: from there on the back is what this makes it
_ASIDE_M = 0.07  # farther out on the chest is cloth, where there is any
_SHOULDERS_Y = -0.15
# How high cloth reaches behind a neck that shows none of it, and that shows only it.
_BARE_COLLAR_Y, _HIGH_COLLAR_Y = -0.135, -0.09
_COLLAR_EDGE_M = 0.004
_HANGING_X, _HANGING_Y = (0.05, 0.14), (-0.19, -0.125)  # beside the neck, lower than any haircut
_FALLS_TO_Y = -0.17
_HAIR_ALIKE = 0.15  # distance between colours
_ACROSS_M = 0.05  # one side's cloth becomes the other's in so much on both sides of the spine
_HELD = 2e-3  # of what this wants, against 1 of what is seen: felt a centimetre away
_OPAQUE_LOGIT = 1.0
_MIN_KNOWN = 12


def with_plain_back(
    template: Template, attributes: Attributes, look: Tensor, shade: Tensor
) -> Attributes:
    """Attributes whose unseen nape and back go with the seen neck and shoulders.

    look: [N, 1] confidence in the anchors' colours, 0..1, by how well the frames show them.
    shade: [N, 3] what the light does to each anchor.
    """
    place, trust = template.neutral_points().double().numpy(), look[:, 0].double().numpy()
    light = shade.double().numpy().clip(0.05)
    lit = attributes.colors.double().numpy() * light
    cloth = _cloth(template, place, lit, trust, attributes)
    skin = _neck_skin(template, place, lit, trust)
    if cloth is None or skin is None:
        return attributes
    torso = np.where(template.is_part("neck", "bust").numpy())[0]
    own, seen = place[torso], trust[torso] >= _SEEN
    collar_y = _collar_height(template, lit, trust, skin, cloth)
    hair = usual_hair(template, attributes, look)
    if hair is not None and _hangs(template, place, lit, trust, attributes, hair):
        skin, collar_y = hair, _FALLS_TO_Y
    dressed = smoothstep(collar_y - own[:, 1], -_COLLAR_EDGE_M, _COLLAR_EDGE_M)[:, None]
    left = smoothstep(own[:, 0], -_ACROSS_M, _ACROSS_M)[:, None]
    wanted = (1 - dressed) * skin + dressed * (left * cloth[0] + (1 - left) * cloth[1])

    hold = np.where(seen, trust[torso], _HELD)
    joined = membrane(own, np.where(seen[:, None], lit[torso], wanted), hold)
    near_z, far_z = _BEHIND_Z
    behind = np.where(seen, 0.0, smoothstep(-own[:, 2], -near_z, -far_z))[:, None]
    mixed = ((1 - behind) * lit[torso] + behind * joined) / light[torso]
    result = attributes.colors.clone()
    result[torso] = torch.from_numpy(mixed.clip(0.0, MAX_ALBEDO)).to(result)
    return replace(attributes, colors=result)


def _cloth(
    template: Template,
    place: np.ndarray,
    lit: np.ndarray,
    trust: np.ndarray,
    attributes: Attributes,
) -> tuple[np.ndarray, np.ndarray] | None:
    """The usual colour [3] of the left shoulder and of the right; None where too little is seen."""
    carrier = template.is_part("bust").numpy() | _sheet(template, attributes)
    shown = carrier & (trust >= _SEEN) & (place[:, 1] < _SHOULDERS_Y)
    sides = [shown & (sign * place[:, 0] > _ASIDE_M) for sign in (1, -1)]
    known = [side for side in sides if side.sum() >= _MIN_KNOWN]
    if not known:
        return None
    left, right = (side if side.sum() >= _MIN_KNOWN else known[0] for side in sides)
    return np.median(lit[left], axis=0), np.median(lit[right], axis=0)


def _hangs(
    template: Template,
    place: np.ndarray,
    lit: np.ndarray,
    trust: np.ndarray,
    attributes: Attributes,
    hair: np.ndarray,
) -> bool:
    """Whether most of what is seen of the sheet on each side of the neck has the hair's colour."""
    beside, height = np.abs(place[:, 0]), place[:, 1]
    near = (beside > _HANGING_X[0]) & (beside < _HANGING_X[1])
    near &= (height > _HANGING_Y[0]) & (height < _HANGING_Y[1])
    near &= _sheet(template, attributes) & (trust >= _SEEN)
    alike = np.linalg.norm(lit - hair, axis=1) < _HAIR_ALIKE
    sides = [near & (sign * place[:, 0] > 0) for sign in (1, -1)]
    return all(side.sum() >= _MIN_KNOWN and alike[side].mean() > 0.5 for side in sides)


def _sheet(template: Template, attributes: Attributes) -> np.ndarray:
    """Mask [N] of the sheet where it is not empty."""
    opaque = (attributes.opacity_logits > _OPAQUE_LOGIT).numpy()
    return (template.layer.numpy() == SHEET) & opaque


def _neck_skin(
    template: Template, place: np.ndarray, lit: np.ndarray, trust: np.ndarray
) -> np.ndarray | None:
    """The usual colour of skin beside and under the jaw, [3]."""
    jaw = template.is_part("face").numpy() & (place[:, 1] < -0.04) & (trust >= _SEEN)
    return np.median(lit[jaw], axis=0) if jaw.sum() >= _MIN_KNOWN else None


def _collar_height(
    template: Template,
    lit: np.ndarray,
    trust: np.ndarray,
    skin: np.ndarray,
    cloth: tuple[np.ndarray, np.ndarray],
) -> float:
    """How high cloth reaches behind, metres: by how much of the seen neck is nearer to it."""
    neck = lit[template.is_part("neck").numpy() & (trust >= _SEEN)]
    if len(neck) < _MIN_KNOWN:
        return _BARE_COLLAR_Y
    to_skin = np.linalg.norm(neck - skin, axis=1)
    to_cloth = np.minimum(*(np.linalg.norm(neck - side, axis=1) for side in cloth))
    covered = float((to_cloth < to_skin).mean())
    return _BARE_COLLAR_Y + covered * (_HIGH_COLLAR_Y - _BARE_COLLAR_Y)
