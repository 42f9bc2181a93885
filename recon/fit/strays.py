"""Hair that hangs in the air alone is none, and no more is cloth.

Where the photograph shows skin, refinement makes the hair before it transparent, all but the dots
that happen to look like hair from there. From aside they stand off the head with nothing around.
Of shoulders that rise and sink from frame to frame dots are left above them. Single pieces of a scalp
stand above it, or are clouds as wide as a finger, where the outline asked for hair that was not there.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes
from avatar3d.template import HAIR_INNER, HAIR_OUTER, SHEET, Template
from recon.fit.neighbours import neighbours

_NEIGHBOURS = 8
_COMPANY = 0.35  # mean opacity around an anchor of hair that has nothing odd, in one photo
_FRAMES = 6  # so many more frames see half as much of it as wisps that are there
_CLOTH_COMPANY = 0.3  # of the sheet below the chin, where nothing is as thin as a wisp
_CLOTH_Y = -0.11  # head frame, metres
_SCALP_STEP_M, _SCALP_WIDER = 0.003, 1.2
_ROUNDS = 2  # those at the rim of a cloud of dots are alone when the rim is gone


def without_strays(
    template: Template, positions: Tensor, attributes: Attributes, frame_count: int
) -> Attributes:
    """Opacities of hair, and of the sheet below the chin, lowered where the anchors around, of
    whatever layer, are transparent.

    positions: [N, 3] metres, the Gaussians' means in a neutral pose. frame_count: support frames;
    what several frames left standing alone is a wisp more likely than a dot.
    """
    enough = _COMPANY * _FRAMES / (_FRAMES + frame_count - 1)
    layer = template.layer.numpy()
    hair = (layer == HAIR_INNER) | (layer == HAIR_OUTER)
    cloth = (layer == SHEET) & (template.neutral_points()[:, 1].numpy() < _CLOTH_Y)
    needed = np.where(cloth, _CLOTH_COMPANY, enough)
    near = neighbours(positions.numpy(), _NEIGHBOURS)
    opacity = attributes.opacity_logits.sigmoid().double().numpy()
    for _ in range(_ROUNDS):
        company = np.minimum(opacity[near].mean(1) / needed, 1.0)
        opacity = np.where(hair | cloth, opacity * company, opacity)
    logits = torch.logit(torch.from_numpy(opacity), eps=1e-4).to(attributes.opacity_logits)
    lowered = torch.from_numpy(hair | cloth) & (logits < attributes.opacity_logits)
    return replace(
        attributes, opacity_logits=torch.where(lowered, logits, attributes.opacity_logits)
    )


def with_even_scalp(template: Template, attributes: Attributes) -> Attributes:
    """Attributes without a piece of the skull's skin that is much higher or wider than those about it.

    Offsets are held to the lower median of the nearest ones and a little more, scales to that of the
    nearest ones' widest axes, however they are turned.
    """
    index = torch.where(template.is_part("scalp"))[0]
    if len(index) <= _NEIGHBOURS:
        return attributes
    near = torch.from_numpy(neighbours(template.neutral_points()[index].numpy(), _NEIGHBOURS))
    heights, scales = attributes.offsets[index, 2], attributes.log_scales[index]
    highest = heights[near].median(1).values + _SCALP_STEP_M
    widest = scales.amax(1)[near].median(1).values + math.log(_SCALP_WIDER)
    offsets, log_scales = attributes.offsets.clone(), attributes.log_scales.clone()
    offsets[index, 2] = torch.minimum(heights, highest)
    log_scales[index] = torch.minimum(scales, widest[:, None])
    return replace(attributes, offsets=offsets, log_scales=log_scales)
