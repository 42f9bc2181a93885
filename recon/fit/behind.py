"""What stands behind lids and lips: eyeballs and teeth, of which a photo shows a strip.

The strip ends at an edge that the tracker knows to a pixel or so. What lies on the wrong side of it
comes along as soon as the gaze turns or the mouth opens, so only what is surely seen is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

from recon.fit.observation import Sighting, in_picture, sample
from recon.fit.start import Confidence, Start

_NEARER_M = 0.0012  # what stands nearer to the camera than an anchor by more covers it
_EDGE_PX = 1  # of the fit's picture: so near to what covers it nothing is surely seen
_OPAQUE = 4.0  # logit
_HOLD = 7.0  # with one frame anchors move a quarter as freely as elsewhere, with many as freely


def clear_view(sighting: Sighting, anchors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours [M, 3] of anchors [M] in one frame, and how surely it shows each, [M] 0..1."""
    observation, points = sighting.observation, sighting.positions[anchors]
    pixels, depth = sighting.project(points)
    width = 2 * _EDGE_PX + 1
    surface = np.minimum(sighting.depth, 1e3).astype(np.float32)
    nearest = cv2.erode(surface, np.ones((width, width), np.uint8))
    column, row = np.clip(pixels.astype(np.int64), 0, observation.size_px - 1).T
    seen = (depth < nearest[row, column] + _NEARER_M) & in_picture(observation, pixels)
    facing = sighting.facing(points, sighting.normals[anchors])
    detail = observation.detail or observation
    colors = sample(detail.colors, pixels * (detail.size_px / observation.size_px))
    return colors, np.where(seen, np.clip(2.0 * facing - 0.4, 0.0, 1.0), 0.0)


def with_own_look(
    plain: np.ndarray,
    views: Sequence[tuple[np.ndarray, np.ndarray]],
    keep: float | np.ndarray,
    limits: tuple[float, float],
) -> Tensor:
    """Plain colours [3] or [M, 3] with a share, `keep` (of each, [M, 1]), of how those differ which
    the `views` of the anchors surely show, within `limits`: [M, 3]."""
    shown, clear = (np.stack(part) for part in zip(*views))
    clear = clear[..., None]
    seen = (clear * shown).sum(0) / np.maximum(clear.sum(0), 1e-6)
    own = np.clip(seen - plain, *limits)
    return torch.from_numpy(plain + keep * clear.max(0) * own).float()


def held(start: Start, anchors: np.ndarray, frames: int) -> Start:
    """Refinement may not look through these, whatever it would gain in the photos' own pose, and few
    frames move them little: what those show on them is an edge as soon as the tracker is off."""
    logits = start.attributes.opacity_logits.clone()
    logits[anchors] = logits[anchors].clamp(min=_OPAQUE)
    look, opacity, geometry = (values.clone() for values in start.confidence)
    share = (1.0 + frames) / (_HOLD + frames)
    look[anchors] *= share
    geometry[anchors] *= share
    opacity[anchors] = 0.0
    return start._replace(
        attributes=replace(start.attributes, opacity_logits=logits),
        confidence=Confidence(look, opacity, geometry),
    )


def weighted_quantile(values: np.ndarray, weights: np.ndarray, quantile: float = 0.5) -> np.ndarray:
    """Of values [P, 3] by channel, with weights [P]."""
    order = np.argsort(values, axis=0)
    below = np.cumsum(weights[order], axis=0)
    at = np.minimum((below < quantile * below[-1]).sum(0), len(values) - 1)
    return np.take_along_axis(values, np.take_along_axis(order, at[None], 0), 0)[0]
