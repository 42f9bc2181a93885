"""Eyes that look about: each eyeball has one iris, round and whole, whatever the photos show of it.

An open eye shows a strip of its ball, and the lid covers the top of its iris. Unprojected, lid and
lashes end up on the ball and half of the iris is guessed; refinement then draws what is missing with
Gaussians that one looks through, and as soon as the gaze leaves the photo's, a ghost of the old iris
stays behind. But eyes are known: a sphere, white beyond the iris, and within it nearly one colour at
equal distance from the pupil's middle (Bérard et al. 2014, "High-Quality Capture of Eyes"). So that
profile is measured on the pictures, both eyes together. What is not seen well takes it; what is seen
well keeps a share of its own look, glints and all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from avatar3d.codes import ExpressionCode
from avatar3d.heads.model import LandmarkRig
from avatar3d.heads.skinning import LEFT_EYE, RIGHT_EYE
from avatar3d.smooth import smoothstep
from avatar3d.template import Template
from recon.fit.behind import clear_view, held, weighted_quantile, with_own_look
from recon.fit.observation import Sighting, a_few
from recon.fit.start import Start

# MediaPipe's iris landmarks: the centre and its ring, as embedded in the head.
_IRIS = {"left": (473, (474, 475, 476, 477)), "right": (468, (469, 470, 471, 472))}
_JOINT = {"left": LEFT_EYE, "right": RIGHT_EYE}

_MIN_SAMPLES = 40
# Where the profile is measured, in radii of the iris; its values are joined by straight lines.
_KNOTS = np.array([0.0, 0.25, 0.5, 0.7, 0.85, 1.0, 1.15, 1.35, 1.7])
_REACH = 0.12  # of a knot, the same unit, one standard deviation
# A person's iris in radii of the head's, and by how much the tracked gaze may be off, in the same;
# the likeliest first, which stands where nothing can be told.
_RADII = sorted(np.linspace(0.8, 1.12, 9), key=lambda radius: abs(radius - 1.0))
_REACHED = 0.35
_STEPS = np.linspace(-_REACHED, _REACHED, 7)
_SHIFTS = sorted((np.array([x, y]) for x in _STEPS for y in _STEPS), key=np.linalg.norm)
_SHIFT_COST = 0.05  # of brightness, for the farthest
_RIM = 0.22  # radii: so far on both sides of the iris' rim white and iris are compared
_MIN_RIM = 2.0  # anchors, counted by how clearly they are seen
_KEEP_IRIS, _KEEP_WHITE = 0.6, 0.4  # of what is seen well
_OWN_LOOK = (-0.08, 0.4)  # brighter is a glint; much darker is a lash
_SHADED = (-0.2, 0.8)  # radii above the pupil: there a lid's shade takes this share of the trust
_SHADE = 0.7


class _Ball(NamedTuple):
    """One eyeball's anchors and where each lies about the gaze's axis."""

    anchors: np.ndarray  # [M]
    across: np.ndarray  # [M, 2] to the subject's left and up: angles, in those of the head's iris


class _Look(NamedTuple):
    """One eyeball in one frame."""

    colors: np.ndarray  # [M, 3]
    clear: np.ndarray  # [M] how well the frame shows each anchor, 0..1
    across: np.ndarray  # [M, 2] as the ball's, but about the iris that the frame shows


def with_whole_eyes(template: Template, start: Start, sightings: Sequence[Sighting]) -> Start:
    """The start, a prior's answer or the first one, with eyeballs that are opaque and whole.

    Where no frame shows enough of an iris, the colours stay.
    """
    landmarks = LandmarkRig(template.head, None).pose(ExpressionCode.neutral()).numpy()
    balls = [_ball(template, landmarks, side) for side in _IRIS]
    start = held(start, np.concatenate([ball.anchors for ball in balls]), len(sightings))
    looks = [[_look(sighting, ball) for sighting in a_few(sightings)] for ball in balls]
    own, clear, where = (
        np.concatenate(part) for part in zip(*(look for row in looks for look in row))
    )
    if (clear > 0).sum() < _MIN_SAMPLES:
        return start
    radius = max(_RADII, key=lambda radius: _contrast(where / radius, own, clear))
    profile = _profile(where / radius, own, clear)
    colors = start.attributes.colors.clone()
    for ball, row in zip(balls, looks):
        distance = np.linalg.norm(ball.across, axis=1) / radius
        plain = np.stack([np.interp(distance, _KNOTS, channel) for channel in profile.T], axis=1)
        keep = np.where(distance < 1.0, _KEEP_IRIS, _KEEP_WHITE)[:, None]
        views = [(look.colors, look.clear) for look in row]
        colors[ball.anchors] = with_own_look(plain, views, keep, _OWN_LOOK)
    return start._replace(attributes=replace(start.attributes, colors=colors))


def _ball(template: Template, landmarks: np.ndarray, side: str) -> _Ball:
    anchors = np.where(template.is_part(f"{side}_eyeball").numpy())[0]
    points = template.neutral_points().numpy()[anchors]
    middle = template.head.joints[_JOINT[side]].numpy()
    centre, ring = _IRIS[side]
    axis = _unit(landmarks[centre] - middle)
    left = _unit(np.cross([0.0, 1.0, 0.0], axis))
    up = np.cross(axis, left)

    def about_axis(positions: np.ndarray) -> np.ndarray:
        """Angle from the axis, as a vector [..., 2]."""
        direction = _unit(positions - middle)
        flat = np.stack([direction @ left, direction @ up], axis=-1)
        sine = np.linalg.norm(flat, axis=-1, keepdims=True)
        return flat / np.maximum(sine, 1e-9) * np.arctan2(sine, (direction @ axis)[..., None])

    unit = np.linalg.norm(about_axis(landmarks[list(ring)]), axis=1).mean()
    return _Ball(anchors, about_axis(points) / unit)


def _look(sighting: Sighting, ball: _Ball) -> _Look:
    colors, clear = clear_view(sighting, ball.anchors)
    return _Look(colors, clear, _centred(ball.across, colors, clear))


def _centred(across: np.ndarray, colors: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Where the anchors lie about the iris that a frame shows: the tracked gaze, corrected so that
    the rim between iris and white is as sharp as can be."""
    seen = clear > 0
    if seen.sum() < _MIN_SAMPLES // 2:
        return across

    def sharpness(shift: np.ndarray) -> float:
        far = float(shift @ shift) / _REACHED**2
        return _contrast(across[seen] - shift, colors[seen], clear[seen]) - _SHIFT_COST * far

    return across - max(_SHIFTS, key=sharpness)


def _contrast(where: np.ndarray, colors: np.ndarray, clear: np.ndarray) -> float:
    """How much brighter it is just outside the unit circle than just inside."""
    outside = np.linalg.norm(where, axis=1) - 1.0
    dark, white = (
        clear * (np.abs(outside - middle) < _RIM / 2) for middle in (-_RIM / 2, _RIM / 2)
    )
    if min(dark.sum(), white.sum()) < _MIN_RIM:
        return -np.inf
    bright = colors.mean(1)
    return float(bright @ white / white.sum() - bright @ dark / dark.sum())


def _profile(where: np.ndarray, colors: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """The colour [K, 3] at each of _KNOTS: a median, which glints and lashes do not move."""
    distance = np.minimum(np.linalg.norm(where, axis=1), _KNOTS[-1])
    # A lid's shade falls on the upper half of an eye: the lower one shows its colour better.
    trusted = clear * (1.0 - _SHADE * smoothstep(where[:, 1], *_SHADED))
    weights = trusted * np.exp(-0.5 * ((distance - _KNOTS[:, None]) / _REACH) ** 2)  # [K, P]
    known = weights.sum(1) > 1.0
    if not known.any():
        known = weights.sum(1) >= weights.sum(1).max()
    rows = np.stack([weighted_quantile(colors, own) for own in weights[known]])
    return np.stack([np.interp(_KNOTS, _KNOTS[known], channel) for channel in rows.T], axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
