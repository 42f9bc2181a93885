"""Where a photograph ends on the skin, what was filled in beside it goes on in its colours.

Cheeks and temples that hair hides, or the head's other side, start as smooth as what is seen; then a
prior answers differently for the two, refinement moves the seen alone, and an edge is left.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes
from avatar3d.template import Template
from recon.fit.inpaint import membrane
from recon.fit.neighbours import nearest

_SIDES_Z = -0.01  # head frame: behind the eyes; lids and lips, which open, are before it
_SEEN = 0.5  # of the confidence in an anchor's colour
_KEPT = 3e-4  # hold of the colour filled in, against 1 of a seen one: felt a centimetre away
_RIM_M = 0.01  # skin so near to what covers it lies in its shadow, and has some of its colour
_MIN_SEEN = 8


def without_seams(template: Template, attributes: Attributes, look: Tensor) -> Attributes:
    """Unseen skin at the sides of the face, joined to the seen.

    look: [N, 1] confidence in the anchors' colours, 0..1, by how well the frames show them.
    """
    side = template.is_part("face", "ears") & (template.neutral_points()[:, 2] < _SIDES_Z)
    members = torch.where(side)[0]
    trust = look[members, 0].double().numpy()
    seen = trust >= _SEEN
    if seen.sum() < _MIN_SEEN or seen.all():
        return attributes
    points = template.neutral_points()[members].numpy()
    colors = attributes.colors[members].double().numpy()
    to_unseen = nearest(points[~seen], points)[0][:, 0]
    inner = np.clip(to_unseen / _RIM_M, 0.0, 1.0)
    hold = np.where(seen, (trust * inner) ** 2, 0.0)
    joined = membrane(points, colors, np.maximum(hold, _KEPT))
    own = np.where(seen, inner, 0.0)[:, None]
    result = attributes.colors.clone()
    result[members] = torch.from_numpy(own * colors + (1 - own) * joined).to(result)
    return replace(attributes, colors=result)
