"""The sheet behind the head: pixels of the person that neither mesh nor hair layers reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avatar3d.template import SHEET, Template
from recon.fit.neighbours import nearest
from recon.fit.observation import Sighting, in_picture, sample

_ASIDE = (0.26, 0.45)  # sines of the angle between gaze and camera: 15 to 27 degrees
_MAX_MOVE_M = 0.12
_SKULL_Y = -0.05  # head frame, metres: above it the sheet turns with the skull alone
_EDGE = 0.06  # of the picture's side: what ends so near to its lower edge is cut off by it
_COLUMN_M = 0.012  # twice the anchors' distance where they are fewest
_OF_A_COLUMN = 6
_NOBODY = 0.35  # of the matte
_BEHIND_M = 0.015  # what only continues behind the head stands a little farther back


class SheetStart(NamedTuple):
    anchors: np.ndarray  # [M] indices of the sheet's anchors
    colors: np.ndarray  # [M, 3]
    opacities: np.ndarray  # [M] 0 where the person is not
    offsets: np.ndarray  # [M, 3] metres in the anchors' frames
    continued: np.ndarray  # [M] bool: below the pictures, where cloth merely goes on


def start_sheet(
    template: Template, sightings: Sequence[Sighting], reference: Sighting
) -> SheetStart:
    """Opacity from the mattes where the sheet is seen beside the head, colours from the frames.

    Behind the head's rim, and below the chin, it continues for a few centimetres with the nearest
    colours, so that no gap opens when the head turns.
    """
    anchors = np.where(template.layer.numpy() == SHEET)[0]
    colors, mattes = zip(*(_look(sighting, anchors) for sighting in sightings))
    color, known = _nan_median(np.stack(colors))
    matte = np.stack(mattes)
    watched = ~np.isnan(matte)
    opacity = np.where(watched, matte, 0).sum(0) / np.maximum(watched.sum(0), 1)
    keep = (opacity > 0.5) & known

    offsets, turned = _toward_the_head(template, reference, anchors)
    continued = np.zeros(len(anchors), bool)
    if keep.sum() > 20:
        points, seen = template.neutral_points().numpy()[anchors], watched.any(0)
        hidden = np.where(~keep & (~seen | (~known & (opacity > _NOBODY))))[0]
        distance, near = nearest(points[keep], points[hidden], 6)
        reach = np.where(points[hidden, 1] < -0.115, 0.05, 0.02)
        behind = _covered_by_head(reference, anchors[hidden])
        # What a turned head hides there lies in front of it when it turns back.
        fill = (distance[:, 0] < reach) & behind & (turned < 0.5)
        filled = hidden[fill]
        color[filled] = np.median(color[np.where(keep)[0][near[fill]]], axis=1)
        opacity[filled] = 0.9
        offsets[filled] = (0.0, 0.0, -_BEHIND_M)
        keep[filled] = True
        below, above = _about_the_lower_edge(template, sightings, anchors)
        # At the very edge, where colours are mixtures, the matte alone tells that somebody is there.
        told = above & seen & (keep | (opacity < _NOBODY))
        continued, source = _column_above(points, told, keep, below & ~seen & ~keep)
        color[continued] = np.median(color[source], axis=1)
        offsets[continued] = np.median(offsets[source], axis=1)
        opacity[continued] = 0.9
        keep |= continued
    return SheetStart(
        anchors,
        np.where(keep[:, None], color, 0.5).astype(np.float32),
        np.where(keep, np.clip(opacity, 0.1, 0.9), 0.0).astype(np.float32),
        np.where(keep[:, None], offsets, 0.0).astype(np.float32),
        continued,
    )


def _about_the_lower_edge(
    template: Template, sightings: Sequence[Sighting], anchors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Masks [M] of what lies beneath every picture's lower edge, as far down as the bust goes, and of
    what some picture shows just above it."""
    below, above = np.ones(len(anchors), bool), np.zeros(len(anchors), bool)
    for sighting in sightings:
        pixels, _ = sighting.project(sighting.positions[anchors])
        valid = sighting.observation.valid
        if not valid.any():
            continue
        columns, bottom = np.flatnonzero(valid.any(0)), np.flatnonzero(valid.any(1))[-1] + 1
        beside = (pixels[:, 0] > columns[0]) & (pixels[:, 0] < columns[-1] + 1)
        below &= beside & (pixels[:, 1] > bottom)
        edge = _EDGE * sighting.observation.size_px
        above |= beside & (pixels[:, 1] <= bottom) & (pixels[:, 1] > bottom - edge)
    points, bust = template.neutral_points().numpy(), template.is_part("bust").numpy()
    lowest = points[bust, 1].min() if bust.any() else -np.inf
    return below & (points[anchors, 1] > lowest), above


def _column_above(
    points: np.ndarray, told: np.ndarray, keep: np.ndarray, cut: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shoulders that a picture's lower edge cuts off go straight down, each column as it ends there:
    beside a bust narrower than they are they would end in the air as soon as it moves up.

    points: [M, 3] of the sheet. told, keep, cut: masks [M] of what is known just above the edge, of
    what shows the person, and of what lies below. Which of `cut` go on, as a mask [M], and for each
    of these the anchors [C, K] that it goes on from.
    """
    goes_on = np.zeros(len(points), bool)
    ends, shown = np.flatnonzero(told), np.flatnonzero(told & keep)
    if not cut.any() or not len(shown):
        return goes_on, np.zeros((0, 1), int)
    foot = points[cut, :2].copy()
    foot[:, 1] = points[ends, 1].min()
    beside = ends[nearest(points[ends, :2], foot)[1][:, 0]]
    near = np.abs(points[beside, 0] - points[cut, 0]) < _COLUMN_M
    goes_on[np.flatnonzero(cut)[near & keep[beside]]] = True
    columns = points[:, :1]
    count = min(_OF_A_COLUMN, len(shown))
    return goes_on, shown[nearest(columns[shown], columns[goes_on], count)[1]]


def _look(sighting: Sighting, anchors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour [M, 3] and matte [M] where the head does not hide the sheet; nan elsewhere."""
    observation = sighting.observation
    pixels, _ = sighting.project(sighting.positions[anchors])
    free = in_picture(observation, pixels, 0.0) & ~_covered_by_head(sighting, anchors)
    matte = sample(observation.matte, pixels)
    visible = free & (sample(observation.core, pixels) > 0.7)
    return (
        np.where(visible[:, None], sample(observation.colors, pixels), np.nan),
        np.where(free, matte, np.nan),
    )


def _toward_the_head(
    template: Template, sighting: Sighting, anchors: np.ndarray
) -> tuple[np.ndarray, float]:
    """Offsets [M, 3] that leave the picture as it is, and bring what it shows near to the head; and
    how far the head is turned, 0..1.

    The sheet stands in the plane of the ears. Seen from aside, hair that hangs before that plane is
    found far out on it, and would stand off the face once the head turns back. Along its ray it is
    where the ray comes nearest to the head's upright axis.
    """
    frames, places = sighting.rotations[anchors], sighting.positions[anchors].astype(np.float64)
    axis = sighting.positions[template.is_part("scalp", "ears").numpy()].mean(0)
    camera = -sighting.viewmat[:3, :3].T @ sighting.viewmat[:3, 3]
    skull = template.neutral_points().numpy()[anchors, 1] > _SKULL_Y
    gaze, view = frames[skull, :, 2].mean(0), axis - camera
    ahead = -float(gaze @ view) / float(np.linalg.norm(gaze) * np.linalg.norm(view))
    aside = float(np.sqrt(1 - min(max(ahead, 0.0), 1.0) ** 2))
    turned = min(max((aside - _ASIDE[0]) / (_ASIDE[1] - _ASIDE[0]), 0.0), 1.0)
    away = places - camera
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    across = [0, 2]  # upright heads: y is up in the world
    to_axis, flat = (places - axis)[:, across], away[:, across]
    along = -(to_axis * flat).sum(1) / np.maximum((flat**2).sum(1), 1e-6)
    moved = turned * np.clip(along, -_MAX_MOVE_M, 0.0)[:, None] * away
    return np.einsum("mij,mi->mj", frames, moved), turned


def _covered_by_head(sighting: Sighting, anchors: np.ndarray) -> np.ndarray:
    pixels, _ = sighting.project(sighting.positions[anchors])
    inside = in_picture(sighting.observation, pixels, 0.0)
    return inside & (sample(np.isfinite(sighting.depth).astype(np.float32), pixels) > 0.3)


def _nan_median(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median over frames [F, M, 3] ignoring nan, and which of the M have any value."""
    known = np.isfinite(values[..., 0])
    masked = np.ma.array(np.nan_to_num(values), mask=np.repeat(~known[..., None], 3, axis=-1))
    return np.ma.median(masked, axis=0).filled(0.0), known.any(0)
