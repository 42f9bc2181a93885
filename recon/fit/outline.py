"""Hair, neck and shoulders that no support frame shows end where the person does.

What is seen learns from the frames where it ends. What is hidden there is made up, from neighbours or
by a prior, and at the outline it is soft Gaussians whose tails reach past it: a halo a pixel or two
wide, and smudges beneath the ears.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from avatar3d.avatar import Attributes
from avatar3d.geometry import quaternion_to_matrix
from avatar3d.template import HAIR_INNER, HAIR_OUTER, Template
from recon.fit.observation import Sighting, sample, signed_distance

_PARTS = ("scalp", "neck", "bust")
_SEEN = 0.5  # of the confidence in an anchor's colour
_REACH = 2.8  # standard deviations: tails of many Gaussians add up
_MOST_M = 0.008  # the hull is seen from few sides: the rest of what is farther out stays
_HOLE = 0.03  # of the picture's side: a square as wide is as large as a hole that is no outline
_RIM = np.ones((5, 5), np.uint8)  # mattes fade in the last two pixels before the picture's edge
_FAR = 0.08  # of the picture's side: so far out it is another pose's


def within_outline(
    template: Template,
    attributes: Attributes,
    look: np.ndarray,
    sightings: Sequence[Sighting],
) -> Attributes:
    """Attributes whose unseen hair, neck and bust are moved in until their tails end where the person
    does, by 8 mm at most.

    Each Gaussian moves in the plane of a frame's picture, away from the nearest outline; over several
    frames by the mean of what those ask for that show an outline about it, since hair swings.
    look: [N] confidence in the anchors' colours, 0..1. sightings: in the poses that the attributes
    were fitted in.
    """
    layer = template.layer.numpy()
    part = template.is_part(*_PARTS).numpy() | (layer == HAIR_INNER) | (layer == HAIR_OUTER)
    index = np.flatnonzero(part & (look < _SEEN))
    offsets = attributes.offsets[index].double().numpy()
    turned = quaternion_to_matrix(
        torch.nn.functional.normalize(attributes.rotations[index], dim=-1)
    )
    axes = (turned * attributes.log_scales[index, None].exp()).double().numpy()
    moves, told = zip(*(_inward(sighting, index, offsets, axes) for sighting in sightings))
    mean = np.sum(moves, axis=0) / np.maximum(np.sum(told, axis=0), 1)[:, None]
    result = attributes.offsets.clone()
    result[index] += torch.from_numpy(mean).to(result)
    return replace(attributes, offsets=result)


def _inward(
    sighting: Sighting, index: np.ndarray, offsets: np.ndarray, axes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How the Gaussians [M] of these anchors should move in one frame, metres in their own frames, 0
    where they may stay; and a mask [M] of those about which the frame tells anything.

    offsets: [M, 3] metres. axes: [M, 3, 3], columns as long as the standard deviations.
    """
    observation = sighting.observation
    # Beyond the picture's edge the person may go on: there is no outline, and shoulders that stand
    # out beside it may lie there.
    person = _without_holes(observation.matte > 0.5)
    person |= cv2.erode(observation.valid.astype(np.uint8), _RIM) == 0
    if person.all() or not person.any():
        return np.zeros_like(offsets), np.zeros(len(index), bool)
    depth_px = signed_distance(person)
    down, right = np.gradient(depth_px)
    rotations = sighting.rotations[index]
    means = sighting.positions[index] + np.einsum("mij,mj->mi", rotations, offsets)
    pixels, distance_m = sighting.project(means)
    room_px = sample(depth_px, pixels)
    direction = np.stack([sample(right, pixels), sample(down, pixels)], axis=1)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True).clip(1e-6)
    inward = np.einsum("mij,mi->mj", rotations, direction @ sighting.viewmat[:2, :3])
    spread_m = np.linalg.norm(np.einsum("mij,mi->mj", axes, inward), axis=1)
    lacking = _REACH * spread_m - room_px * distance_m / sighting.K[0, 0]
    size = observation.size_px
    told = ((pixels >= 0) & (pixels < size)).all(1) & (room_px > -_FAR * size)
    return np.where(told, np.clip(lacking, 0.0, _MOST_M), 0.0)[:, None] * inward, told


def _without_holes(person: np.ndarray) -> np.ndarray:
    """A mask without small holes and cracks, from whose edges inward would lead out of the person."""
    hole = _HOLE * len(person)
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~person).astype(np.uint8))
    small = stats[:, cv2.CC_STAT_AREA] < hole**2
    small[0] = False  # the person
    crack = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    # The border is a background that closing must not reach across.
    padded = np.pad(person | small[labels], 2).astype(np.uint8)
    return cv2.morphologyEx(padded, cv2.MORPH_CLOSE, crack)[2:-2, 2:-2] > 0
