"""Where a photograph ends on the skin, what was filled in beside it goes on as what is seen.

Cheeks and temples that hair hides, or the head's other side, start as smooth as what is seen; then a
prior answers differently for the two, refinement moves the seen alone, and an edge is left. The rim
itself, seen aslant, is dark and mixed with what lies behind it: a little inward the photograph knows
better what goes on, in colour, in shade and in detail.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes
from avatar3d.template import Template
from recon.fit.colors import MAX_ALBEDO
from recon.fit.membrane import membrane
from recon.fit.neighbours import detail, nearest, reflected

_SIDES_Z = -0.01  # head frame: behind the eyes; lids and lips, which open, are before it
_SEEN = 0.5  # of the confidence in an anchor's colour
_KEPT = 3e-4  # hold of the colour filled in, against 1 of a seen one: felt a centimetre away
_PULL = 2e-3  # and of what goes on: felt some millimetres away
_DARKER = (0.5, 1.2)
_BEYOND_M = (0.01, 0.025)  # from the seen: where what goes on takes over from what was filled in
_RIM_M = 0.01  # skin so near to what covers it lies in its shadow, and has some of its colour
_INSIDE_M, _INWARD_M = 0.012, 0.035  # where what goes on is looked for: so far from the unseen
_GOES_ON = 60  # anchors of those whose median goes on
_DETAIL_NEIGHBOURS = 16
_MAX_DETAIL = 0.08  # a step from skin to hair is no detail
_DETAIL_LIMIT = 1.5  # of the median one
_MIRROR_M = 0.005
_MIN_SEEN = 8


def without_seams(
    template: Template, attributes: Attributes, look: Tensor, shade: Tensor
) -> Attributes:
    """Unseen skin at the sides of the face and of the neck, joined to the seen.

    look: [N, 1] confidence in the anchors' colours, 0..1, by how well the frames show them.
    shade: [N, 3] what the light does to each anchor in the most frontal frame; what goes on is the
    colour that one sees, for the light on skin that no frame shows is a guess.
    """
    points = template.neutral_points()
    skin = template.is_part("face", "ears", "neck")
    side = (points[:, 2] < _SIDES_Z) | template.is_part("neck")
    members = torch.where(skin & side)[0]
    trust = look[members, 0].double().numpy()
    seen = trust >= _SEEN
    if seen.sum() < _MIN_SEEN or seen.all():
        return attributes
    light = shade.double().numpy().clip(0.05)
    lit = attributes.colors.double().numpy() * light
    place = points.double().numpy()
    own_place, colors = place[members], lit[members]
    to_unseen = nearest(own_place[~seen], own_place)[0][:, 0]
    inner = np.clip(to_unseen / _RIM_M, 0.0, 1.0)

    shown = np.where((skin & (look[:, 0] >= _SEEN)).numpy())[0]
    apart = nearest(own_place[~seen], place[shown])[0][:, 0]
    band = shown[(apart > _INSIDE_M) & (apart < _INWARD_M)]
    if len(band) < _MIN_SEEN:
        return attributes
    near = nearest(place[band], own_place, min(_GOES_ON, len(band)))[1]
    # The other half of the face, where that is seen, knows better yet, and has been mirrored.
    mirrored = nearest(place[shown], reflected(own_place))[0][:, 0] < _MIRROR_M
    alone = ~seen & ~mirrored
    to_seen = nearest(own_place[seen], own_place)[0][:, 0]
    near_m, far_m = _BEYOND_M
    beyond = np.where(alone, np.clip((to_seen - near_m) / (far_m - near_m), 0.0, 1.0), 0.0)[:, None]
    goes_on = np.median(lit[band][near], axis=1)
    # Colour goes on; how light or dark it is there, what was filled in has half a say.
    darker = colors.mean(1, keepdims=True) / np.maximum(goes_on.mean(1, keepdims=True), 1e-3)
    goes_on *= np.sqrt(np.clip(darker, *_DARKER))
    wanted = (1 - beyond) * colors + beyond * goes_on

    hold = np.where(seen, (trust * inner) ** 2, 0.0)
    pull = _KEPT + (_PULL - _KEPT) * beyond[:, 0]
    joined = membrane(own_place, wanted, np.maximum(hold, pull))
    joined += beyond * _detail(place, lit, band, own_place)
    own = np.where(seen, inner, 0.0)[:, None]
    result = attributes.colors.clone()
    blended = (own * colors + (1 - own) * joined).clip(0.0) / light[members]
    result[members] = torch.from_numpy(blended.clip(max=MAX_ALBEDO)).to(result)
    return replace(attributes, colors=result)


def _detail(place: np.ndarray, lit: np.ndarray, band: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Fine detail [U, 3] for unseen places: that of the seen ones, mirrored at the border."""
    if len(band) <= _DETAIL_NEIGHBOURS:
        return np.zeros_like(unseen)
    fine = detail(place[band], lit[band], _DETAIL_NEIGHBOURS)
    border = place[band][nearest(place[band], unseen)[1][:, 0]]
    source = nearest(place[band], 2 * border - unseen)[1][:, 0]
    # A brow's or a nostril's edge is none either: mirrored onto a cheek it would be a stain.
    most = min(_DETAIL_LIMIT * float(np.median(np.abs(fine))), _MAX_DETAIL)
    return np.clip(fine[source], -most, most)
