"""Hair that no frame shows: the colour of what is seen of it, as strands that hang from the crown.

Filled in from its neighbours, as skin is, the back of a head becomes a smooth cap with the colour of
what lies at its border, which is often forehead. What is hair is told from where it is and from its
colour against the skin's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes
from avatar3d.binding import Frames
from avatar3d.template import HAIR_INNER, HAIR_OUTER, SHEET, Template
from recon.fit.colors import MAX_ALBEDO
from recon.fit.membrane import membrane
from recon.fit.neighbours import detail, nearest

_SEEN, _UNSEEN = 0.5, 0.1  # of the confidence in an anchor's colour
_FROM_FACE_M = (0.005, 0.025)  # hair begins somewhere there behind the face's own anchors
_FROM_SKIN = (0.05, 0.15)  # distance between colours: so unlike skin, it is hair
_TOWARD_HAIR = (0.25, 0.6)  # of the way from the usual skin to the usual hair
_MIN_HAIR = 25.0  # anchors, each counted by how surely it shows hair
_NAPE_Y = -0.08  # head frame, metres: below it the sheet shows clothes as well
_PULL = 1e-3  # of the usual colour against 1 of seen hair: felt two centimetres away
_CROWN = np.array([0.0, 0.12, -0.11])  # head frame, metres
_OUTWARD = 0.7  # how far strands fall away from the crown, against down
_STRAY_RAD = 0.3  # standard deviation of a strand's direction
_STRAND = (1.9, 0.5)  # length and width, in the sizes that they had
_CONTRAST = 0.9  # of seen hair's variety
_MAX_CONTRAST = 0.2  # a highlight is no strand
_SCALP = 0.8  # under the hair it is darker
_VARIETY_NEIGHBOURS = 24
_TEMPLES_Z = -0.03  # head frame, metres: before it the face has no hair
_SIDEBURNS_Y = -0.035
_HELD = 0.02  # of the unseen scalp, against 1 of what is seen
_EDGE = (0.35, 0.65)  # the hairline is soft


def with_hair_all_round(
    template: Template, attributes: Attributes, frames: Frames, look: Tensor, shade: Tensor
) -> Attributes:
    """Attributes whose unseen hair goes with the seen; as they were, where no hair is seen.

    frames: of the anchors on the neutral head. look: [N, 1] confidence in the anchors' colours,
    0..1, by how well the frames show them. shade: [N, 3] what the light does to each anchor.
    """
    points = template.neutral_points().double().numpy()
    layer, trust = template.layer.numpy(), look[:, 0].double().numpy()
    colors = attributes.colors.double().numpy()
    hair = (layer == HAIR_INNER) | (layer == HAIR_OUTER)
    seen = _seen_hair(template, points, colors, trust, attributes)
    if seen is None:
        return attributes
    shown, usual = seen
    unseen = hair & (trust < _SEEN)
    share = np.clip((_SEEN - trust) / (_SEEN - _UNSEEN), 0.0, 1.0)[:, None]

    members = np.where(hair)[0]
    hold = np.where(trust >= _SEEN, shown, 0.0)[members]
    total = hold + _PULL
    wanted = (hold[:, None] * colors[members] + _PULL * usual) / total[:, None]
    smooth = np.zeros_like(colors)
    smooth[members] = membrane(points[members], wanted, total)
    painted = colors.copy()
    variety = _variety(points, colors, shown, hair, np.where(unseen)[0])
    painted[unseen] += share[unseen] * (smooth[unseen] + variety - colors[unseen])
    below = np.where(template.is_part("face", "scalp").numpy() & (trust < _SEEN))[0]
    grown = _hairline(template, points, colors, trust, usual)[below, None]
    near = nearest(points[members], points[below])[1][:, 0]
    under = _SCALP * smooth[members[near]] + _variety(points, colors, shown, hair, below)
    under /= shade.double().numpy()[below].clip(0.05)
    painted[below] += share[below] * grown * (under - painted[below])
    result = attributes.colors.clone()
    result[:] = torch.from_numpy(painted.clip(0.0, MAX_ALBEDO)).to(result)
    return _as_strands(
        replace(attributes, colors=result), frames, points, unseen & (trust < _UNSEEN)
    )


def usual_hair(template: Template, attributes: Attributes, look: Tensor) -> np.ndarray | None:
    """The usual colour [3] of what is seen of the hair; None where too little is seen."""
    points, colors = template.neutral_points().double().numpy(), attributes.colors.double().numpy()
    seen = _seen_hair(template, points, colors, look[:, 0].double().numpy(), attributes)
    return None if seen is None else seen[1]


def _seen_hair(
    template: Template,
    points: np.ndarray,
    colors: np.ndarray,
    trust: np.ndarray,
    attributes: Attributes,
) -> tuple[np.ndarray, np.ndarray] | None:
    """How surely each anchor shows hair, [N], and its usual colour [3]; None where too little does."""
    shown = _shows_hair(template, points, colors, trust, attributes)
    return None if shown.sum() < _MIN_HAIR else (shown, _weighted_median(colors, shown))


def _shows_hair(
    template: Template,
    points: np.ndarray,
    colors: np.ndarray,
    trust: np.ndarray,
    attributes: Attributes,
) -> np.ndarray:
    """How surely each anchor shows hair, [N], 0..1."""
    layer = template.layer.numpy()
    face = template.is_part("face").numpy()
    skin = np.median(colors[face & (trust >= _SEEN)], axis=0) if face.any() else np.zeros(3)
    unlike = _rise(np.linalg.norm(colors - skin, axis=1), _FROM_SKIN)
    away = _rise(nearest(points[face], points)[0][:, 0], _FROM_FACE_M)
    opaque = attributes.opacity_logits.sigmoid().double().numpy()
    layers = (layer == HAIR_INNER) | (layer == HAIR_OUTER)
    beside = (layer == SHEET) & (points[:, 1] > _NAPE_Y)
    seen = (layers | beside) * (trust >= _SEEN) * opaque
    sure = seen * unlike * away
    return sure if sure.sum() >= _MIN_HAIR else seen * unlike


def _hairline(
    template: Template, points: np.ndarray, colors: np.ndarray, trust: np.ndarray, usual: np.ndarray
) -> np.ndarray:
    """How surely hair grows on each anchor of face and scalp, [N], 0..1; 0 elsewhere.

    At the temples the photographs end on skin, and the scalp begins behind them; in between the
    line lies where the two are equally near.
    """
    scalp, face = template.is_part("scalp").numpy(), template.is_part("face").numpy()
    seen = trust >= _SEEN
    skin = np.median(colors[face & seen], axis=0)
    # A cheek in the light is unlike the rest of the skin too, but no nearer to hair.
    to_hair = usual - skin
    nearer = (colors - skin) @ to_hair / max(float(to_hair @ to_hair), 1e-6)
    unlike = _rise(np.linalg.norm(colors - skin, axis=1), _FROM_SKIN)
    value = np.where(seen, np.minimum(unlike, _rise(nearer, _TOWARD_HAIR)), scalp)
    # What is seen of the face before the temples is skin, brows and lips; below the ears is none.
    front = face & (points[:, 2] > _TEMPLES_Z)
    value = np.where(front, 0.0, value)
    hold = np.where(seen | front, 1.0, np.where(scalp, _HELD, 1e-6))
    low = face & (points[:, 1] < _SIDEBURNS_Y)
    value, hold = np.where(low, 0.0, value), np.where(low, 1.0, hold)
    members = np.where(scalp | face)[0]
    result = np.zeros(len(points))
    spread = membrane(points[members], value[members, None], hold[members])
    result[members] = _rise(spread.reshape(-1), _EDGE)  # one column comes back flat
    return result


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each column of [N, C]."""
    result = []
    for column in values.T:
        order = np.argsort(column)
        total = np.cumsum(weights[order])
        result.append(column[order][np.searchsorted(total, total[-1] / 2)])
    return np.array(result)


def _variety(
    points: np.ndarray, colors: np.ndarray, shown: np.ndarray, hair: np.ndarray, unseen: np.ndarray
) -> np.ndarray:
    """How the strands at the unseen places differ from their surroundings, [U, 3]: as some seen
    ones do.

    Where a photograph's edge cuts the crown off, what is seen of the hair hangs on the sheet.
    """
    for known in (np.where(shown * hair > 0.3)[0], np.where(shown > 0.3)[0]):
        if len(known) > _VARIETY_NEIGHBOURS:
            differ = detail(points[known], colors[known], _VARIETY_NEIGHBOURS)
            differ = differ.clip(-_MAX_CONTRAST, _MAX_CONTRAST)
            drawn = np.random.default_rng(0).integers(len(known), size=len(unseen))
            return _CONTRAST * differ[drawn]
    return np.zeros((len(unseen), 3))


def _as_strands(
    attributes: Attributes, frames: Frames, points: np.ndarray, unseen: np.ndarray
) -> Attributes:
    """Long and narrow Gaussians that fall from the crown."""
    index = np.where(unseen)[0]
    axes = frames.rotations[index].double().numpy()
    outward = (points[index] - _CROWN) * [1.0, 0.0, 1.0]
    outward /= np.linalg.norm(outward, axis=1, keepdims=True).clip(1e-3)
    fall = _OUTWARD * outward - [0.0, 1.0, 0.0]
    along, across = ((axes[:, :, axis] * fall).sum(1) for axis in (0, 1))
    angle = np.arctan2(across, along)
    angle += np.random.default_rng(1).normal(0.0, _STRAY_RAD, len(index))
    rotations, log_scales = attributes.rotations.clone(), attributes.log_scales.clone()
    turn = np.zeros((len(index), 4))
    turn[:, 0], turn[:, 3] = np.cos(angle / 2), np.sin(angle / 2)
    rotations[index] = torch.from_numpy(turn).to(rotations)
    log_scales[index, :2] += torch.log(torch.tensor(_STRAND)).to(log_scales)
    return replace(attributes, rotations=rotations, log_scales=log_scales)


def _rise(values: np.ndarray, between: tuple[float, float]) -> np.ndarray:
    low, high = between
    return np.clip((values - low) / (high - low), 0.0, 1.0)
