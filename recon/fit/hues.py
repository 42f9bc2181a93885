"""Hair has one hue about each place, whatever its strands' brightness.

Where frames disagree on strands, refinement makes up detail in each channel by itself: of the
brightness that looks like hair, of the hue it is green and violet leaves.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from avatar3d.avatar import Attributes
from avatar3d.template import SKIN, Template
from recon.fit.colors import MAX_ALBEDO
from recon.fit.neighbours import neighbours
from render.metrics.sharpness import LUMA

_NEIGHBOURS = 16  # about a centimetre
_MOST = 0.03  # how far a hue may be from its surroundings', in colour less brightness


def with_even_hues(template: Template, attributes: Attributes) -> Attributes:
    """Attributes whose hair and sheet differ from what is around by brightness more than by hue."""
    index = np.flatnonzero((template.layer != SKIN).numpy())
    places = template.neutral_points()[index].numpy()
    colors = attributes.colors[index].double().numpy()
    luma = np.array(LUMA)
    brightness = (colors @ luma)[:, None]
    hue = colors - brightness
    usual = np.median(hue[neighbours(places, _NEIGHBOURS)], axis=1)
    even = usual + np.clip(hue - usual, -_MOST, _MOST)
    even += brightness - (even @ luma)[:, None]
    result = attributes.colors.clone()
    result[index] = torch.from_numpy(even.clip(0.0, MAX_ALBEDO)).to(result)
    return replace(attributes, colors=result)
