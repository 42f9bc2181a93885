"""Colours for what no frame shows: mirrored, spread without seams, and with the texture of hair."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from avatar3d.heads.model import PART_INDEX
from avatar3d.template import HAIR_INNER, HAIR_OUTER, SKIN, Template
from recon.fit.membrane import membrane
from recon.fit.neighbours import detail, nearest, reflected

_MIRROR_REACH_M = 0.005
_SURE = 0.9  # trust of what is hardly aslant
_MIRROR_TRUST = 0.5  # a face is nearly symmetric, its light and its hair are not
_SIDES_DIFFER = 0.1  # more than that is hair on one side, not shade
_SIDES_AGREE = 3e-4  # pull toward agreement, against 1 where both sides are seen: far away they do
_USUAL = 3e-4  # pull toward the part's usual colour, felt only far from anything seen
_MIN_KNOWN = 8
_TWIN_M = 0.002
_LID_REACH_M = 0.025  # a neighbourhood of the eye that is mostly skin
_EARS_Z = -0.092  # head frame: the plane that mirrors the front of the hair to its back
_NAPE_Y = -0.04
_TEXTURE_NEIGHBOURS = 24
_TEXTURE_REACH_M = 0.02
_STRIDE = 619  # a prime, so that neighbours take strands from far apart
_MAX_STRAND = 0.08  # a hairline's step from skin to hair is no strand


def fill_unseen(
    template: Template, colors: np.ndarray, trust: np.ndarray, folded: np.ndarray
) -> np.ndarray:
    """Colours [N, 3] everywhere, from those [N, 3] with a trust [N] of 0 (unseen) to 1 (seen well).

    folded: mask [N] of the lid skin that open eyes hide.
    """
    points = template.neutral_points().numpy()
    hair = _hair(template)
    # Beside the neck the hair layers meet the collar, and a frame sees now one, now the other.
    trust = np.where(hair & (points[:, 1] < _NAPE_Y), 0.0, trust)
    filled, known_anywhere = colors.copy(), trust > 0
    for group in _groups(template, hair, _skin_beside_hair(template, hair, colors, trust)):
        members = np.where(group)[0]
        known = trust[members] > 0
        if known.sum() < _MIN_KNOWN:  # nothing to go by here: the rest of the skin decides
            skin = known_anywhere & (template.layer.numpy() == SKIN)
            if skin.any():
                filled[members] = np.median(colors[skin], axis=0)
            continue
        value, belief = _mirrored(points[members], colors[members], trust[members])
        usual = np.median(colors[members][known], axis=0)
        filled[members] = _spread(points[members], value, belief**2, usual)
    _cover_lids(template, points, filled, trust, folded)
    _texture_hair(points, filled, colors, trust, hair)
    return filled


def _hair(template: Template) -> np.ndarray:
    layer = template.layer.numpy()
    return (layer == HAIR_INNER) | (layer == HAIR_OUTER)


def _skin_beside_hair(
    template: Template, hair: np.ndarray, colors: np.ndarray, trust: np.ndarray
) -> np.ndarray:
    """Mask [N] of seen anchors of the hair layers, on forehead and temples, that show skin.

    They lie where hair may hang; where it does not, what they saw must not spread over the scalp.
    The scalp's own seen anchors tell what hair is; of a bald head none is told apart.
    """
    seen, scalp_part = trust > 0, template.part.numpy() == PART_INDEX["scalp"]
    on_scalp, on_face = hair & scalp_part & seen, template.is_part("face").numpy() & seen
    if on_scalp.sum() < _MIN_KNOWN or on_face.sum() < _MIN_KNOWN:
        return np.zeros(len(colors), bool)
    usual, skin = np.median(colors[on_scalp], axis=0), np.median(colors[on_face], axis=0)
    to_hair, to_skin = (np.linalg.norm(colors - own, axis=1) for own in (usual, skin))
    return hair & ~scalp_part & seen & (to_skin < to_hair)


def _groups(template: Template, hair: np.ndarray, skin: np.ndarray) -> list[np.ndarray]:
    """Masks [N] of what spreads its colours among itself; `skin`: of hair's anchors that show it."""

    def parts(*names: str) -> np.ndarray:
        return template.is_part(*names).numpy()

    return [
        parts("face", "eyelids", "ears") | skin,
        parts("neck", "bust"),
        parts("left_eyeball", "right_eyeball"),
        parts("upper_teeth", "lower_teeth"),
        (hair & ~skin) | parts("scalp"),
    ]


def _mirrored(
    points: np.ndarray, colors: np.ndarray, trust: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Unseen members take the colour of their mirror image where that is seen.

    By how much the two sides differ where both are seen, as one lies in shade, is spread from there,
    so that no edge is left (Perez et al. 2003, "Poisson Image Editing").
    """
    known = np.where(trust > 0)[0]
    distance, near = nearest(points[known], reflected(points), 3)
    paired = distance[:, 0] < _MIRROR_REACH_M
    use = (trust == 0) & paired
    value, belief = colors.copy(), trust.copy()
    if not use.any():
        return value, belief
    mirror, mirror_trust = colors[known[near]].mean(1), trust[known[near]].mean(1)
    both = paired & (np.minimum(trust, mirror_trust) > _SURE)
    differ = np.where(both[:, None], np.clip(colors - mirror, -_SIDES_DIFFER, _SIDES_DIFFER), 0.0)
    hold = np.where(both, np.minimum(trust, mirror_trust) ** 2, _SIDES_AGREE)
    between = membrane(points, differ, hold)
    value[use] = np.clip(mirror + between, 0.0, None)[use]
    belief[use] = _MIRROR_TRUST * mirror_trust[use]
    return value, belief


def _spread(
    points: np.ndarray, colors: np.ndarray, weight: np.ndarray, usual: np.ndarray
) -> np.ndarray:
    """The smoothest colours that keep to the data as far as it is trusted, [M, 3]."""
    total = weight + _USUAL
    blended = (weight[:, None] * colors + _USUAL * usual) / total[:, None]
    return membrane(points, blended, total)


def _cover_lids(
    template: Template,
    points: np.ndarray,
    filled: np.ndarray,
    trust: np.ndarray,
    folded: np.ndarray,
) -> None:
    """Lid skin that open eyes hide is skin: not the lashes, brow and iris nearest to it."""
    face = template.is_part("face", "eyelids").numpy()
    eye = np.minimum(
        *(
            np.linalg.norm(points - np.array([side * 0.031, 0.002, 0.012]), axis=1)
            for side in (1, -1)
        )
    )
    shown = np.where(face & (trust > 0))[0]
    if len(shown) < _MIN_KNOWN:
        return
    # Where the other side shows its twin, no lid hides it: the head is turned away.
    twin = nearest(points[shown], reflected(points))[0][:, 0] < _TWIN_M
    hidden = np.where(face & (trust == 0) & (folded | ~twin) & (eye < _LID_REACH_M))[0]
    if not len(hidden):
        return
    for anchor, near in zip(
        hidden, KDTree(points[shown]).query_ball_point(points[hidden], _LID_REACH_M)
    ):
        if near:
            filled[anchor] = np.median(filled[shown[near]], axis=0)


def _texture_hair(
    points: np.ndarray,
    filled: np.ndarray,
    colors: np.ndarray,
    trust: np.ndarray,
    hair: np.ndarray,
) -> None:
    """Unseen hair gets the strands of seen hair, mirrored from front to back, on its own colour."""
    known, unknown = np.where(hair & (trust > 0.3))[0], np.where(hair & (trust == 0))[0]
    if len(known) <= _TEXTURE_NEIGHBOURS or not len(unknown):
        return
    strands = detail(points[known], colors[known], _TEXTURE_NEIGHBOURS)
    front = points[unknown].copy()
    front[:, 2] = 2 * _EARS_Z - front[:, 2]
    distance, mirrored = nearest(points[known], front)
    # Where the front shows no hair, as at the nape, any strand does; one for all would be a patch.
    anywhere = np.arange(len(unknown)) * _STRIDE % len(known)
    source = np.where(distance[:, 0] < _TEXTURE_REACH_M, mirrored[:, 0], anywhere)
    filled[unknown] += np.clip(strands[source], -_MAX_STRAND, _MAX_STRAND)
