"""How far the hair stands off the skull, from silhouettes.

A point above the scalp that falls outside a frame's matte is no hair: the largest height that the
frames allow is the visual hull along the anchor's normal (Laurentini 1994). Only anchors near a
silhouette know their height from it; the others take it from their neighbours. Beside a forehead the
outline is that of the skull farther back: there it tells of the temple that hair is no higher, not how
high.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from avatar3d.template import HAIR_INNER, HAIR_OUTER, Template
from recon.fit.membrane import membrane
from recon.fit.observation import Sighting, in_picture, sample, signed_distance

_STEP_M = 0.0025
_MAX_M = 0.055
_MIN_M = -0.02  # the tracked skull, which no landmark pins, may be larger than the person's
_TYPICAL_M = 0.005  # where no silhouette speaks; 9 mm made heads too wide in other poses
_SILHOUETTE_COSINE = 0.3
_OWN_OUTLINE_M = 0.004  # another part of the head is nearer to the outline than the anchor by more
_TRUST_TYPICAL = 0.003  # against 1 for an anchor at a silhouette
_SMOOTHNESS = 0.15
# The layers lie within the hull, not on it: a Gaussian is as thick as its scale.
_LAYER_DEPTH = {HAIR_INNER: 0.80, HAIR_OUTER: 0.97}


def hair_heights(template: Template, sightings: Sequence[Sighting]) -> np.ndarray:
    """Height of the hair's outside above every anchor, [N] metres; 0 for those not on the scalp.

    Negative where the head's own scalp reaches out of the person's silhouette.
    """
    layer = template.layer.numpy()
    scalp = template.is_part("scalp").numpy()
    hair = np.where((layer == HAIR_INNER) | (layer == HAIR_OUTER) | scalp)[0]
    reached, outlined = zip(*(_outline(sighting, hair) for sighting in sightings))
    reached, outlined = np.stack(reached), np.stack(outlined)  # [F, M]
    # The least over all frames would be the hull of a rigid head tracked without error; real hair
    # swings, and every frame that disagrees would cut into it. The middle one is robust.
    allowed = np.median(reached, axis=0)
    known = outlined.any(0)
    seen = np.ma.median(np.ma.array(reached, mask=~outlined), axis=0).filled(_TYPICAL_M)
    trust = np.where(known, 1.0, _TRUST_TYPICAL)
    seen = np.where(known, np.minimum(seen, 0.045), _TYPICAL_M)
    heights = membrane(template.neutral_points().numpy()[hair], seen, trust, _SMOOTHNESS)
    heights = np.clip(np.minimum(heights, allowed), _MIN_M, _MAX_M)
    depth = np.array([_LAYER_DEPTH.get(number, 0.0) for number in range(int(layer.max()) + 1)])
    result = np.zeros(template.count, np.float32)
    result[hair] = np.where(heights > 0, heights * depth[layer[hair]], heights)
    return result


def _outline(sighting: Sighting, anchors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height that the matte allows [M], and whether the anchor lies at the outline and tells it."""
    reached = _reach(sighting, anchors)
    positions, normals = sighting.positions[anchors], sighting.normals[anchors]
    pixels, _ = sighting.project(positions + normals * np.minimum(reached, 0.05)[:, None])
    # A matte that ends at the picture's edge tells nothing about the hair beyond it.
    known = in_picture(sighting.observation, pixels, border_px=2.0)
    aslant = np.abs(sighting.facing(positions, normals)) < _SILHOUETTE_COSINE
    own = reached - _off_the_head(sighting, pixels, positions) < _OWN_OUTLINE_M
    return reached, aslant & known & own & (reached < _MAX_M - _STEP_M)


def _off_the_head(sighting: Sighting, pixels: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """How far [M] pixels [M, 2] lie from the bare head in the picture, metres at `positions` [M, 3];
    negative within it."""
    beyond = -signed_distance(np.isfinite(sighting.depth)).astype(np.float32)
    _, distance_m = sighting.project(positions)
    return sample(beyond, pixels) * distance_m / sighting.K[0, 0]


def _reach(sighting: Sighting, anchors: np.ndarray) -> np.ndarray:
    """The height up to which every point along the normal stays in this frame's matte, [M]."""
    matte = cv2.GaussianBlur(sighting.observation.matte, (0, 0), 1.0)
    positions, normals = sighting.positions[anchors], sighting.normals[anchors]
    reached, alive = np.full(len(anchors), _MIN_M), np.ones(len(anchors), bool)
    for height in np.arange(_MIN_M, _MAX_M + 1e-6, _STEP_M):
        pixels, _ = sighting.project(positions + normals * height)
        outside = in_picture(sighting.observation, pixels) & (sample(matte, pixels) <= 0.5)
        alive &= ~outside
        reached[alive] = height
    return reached
