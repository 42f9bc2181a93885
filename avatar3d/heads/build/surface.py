"""The skin as one smooth map from directions to space.

A point of the skin is named by a unit vector q: roughly its direction from a centre inside the head,
with the closed lips drawn apart so that upper and lower lip have different names. A thin-plate
spline over q passes through every control point: the measured landmarks on the face, points of the
cranium, the throat and the neck elsewhere. The same spline carries displacements from the controls
to the vertices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avatar3d.heads.build import anthropometry as body
from avatar3d.heads.build.landmarks import LOWER_LIP, UPPER_LIP

Points = NDArray[np.float64]

CENTRE = np.array([0.0, -0.030, -0.070])
LIP_GAP = 0.008  # how far the lips stand apart in the middle, in the space of names
LIP_BAND = 0.017  # the skin that makes room for the gap, above and below


def normalised(vectors: Points) -> Points:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def directions(points: Points) -> Points:
    return normalised(points - CENTRE)


def landmark_names(face: Points) -> Points:
    """q of the 468 landmarks [468, 3]."""
    opened = face.copy()
    half_width = face[308, 0]
    slit_x = np.abs(face[[78, 191, 80, 81, 82, 13]][:, 0])[::-1]
    slit_y = face[[78, 191, 80, 81, 82, 13]][:, 1][::-1]
    x = np.abs(face[:, 0])
    gap = LIP_GAP * np.clip(1.0 - (x / half_width) ** 2, 0.0, 1.0)
    height = face[:, 1] - np.interp(x, slit_x, slit_y)
    upper = height >= 0.0
    upper[UPPER_LIP], upper[LOWER_LIP] = True, False
    share = np.clip(1.0 - np.abs(height) / LIP_BAND, 0.0, 1.0)
    opened[:, 1] += np.where(upper, gap, -gap) * share
    # The lips' own relief would tangle their names near the corners: name them on a plain surface.
    near = np.exp(-((x / 0.040) ** 4) - ((face[:, 1] + 0.069) / 0.026) ** 4)
    terms = np.stack([np.ones_like(x), x**2, opened[:, 1], opened[:, 1] ** 2], axis=1)
    root = np.sqrt(near)[:, None]
    plain = terms @ np.linalg.lstsq(terms * root, face[:, 2] * root[:, 0], rcond=None)[0]
    opened[:, 2] += near * (plain - face[:, 2])
    return directions(opened)


def superellipsoid(directions_from_centre: Points) -> Points:
    """Points of the cranium in the given directions from its centre."""
    d = directions_from_centre
    n = body.CRANIUM_EXPONENT
    x = np.abs(d[:, 0]) / (0.5 * body.HEAD_BREADTH)
    y = np.abs(d[:, 1]) / np.where(d[:, 1] > 0, body.CRANIUM_UP, body.CRANIUM_DOWN)
    z = np.abs(d[:, 2]) / np.where(d[:, 2] > 0, body.CRANIUM_FRONT, body.CRANIUM_BACK)
    radius = (x**n + y**n + z**n) ** (-1.0 / n)
    return body.CRANIUM_CENTRE + d * radius[:, None]


def fibonacci_sphere(count: int) -> Points:
    k = np.arange(count) + 0.5
    z = 1.0 - 2.0 * k / count
    turn = np.pi * (1.0 + 5.0**0.5) * k
    r = np.sqrt(1.0 - z * z)
    return np.stack([r * np.cos(turn), r * np.sin(turn), z], axis=1)


def neck_ring(angle: Points, drop: float = 0.0) -> Points:
    """The border of head and neck at `angle` (0 front, pi back, sideways +X), `drop` metres lower."""
    front, side, back = body.NECK_TOP_FRONT, body.NECK_TOP_SIDE, body.NECK_TOP_BACK
    s, c = np.sin(angle), np.cos(angle)
    x = side[0] * np.sign(s) * np.abs(s) ** 0.9
    z = np.where(c > 0, side[2] + (front[2] - side[2]) * c, side[2] + (side[2] - back[2]) * c)
    along = np.where(c > 0, front[1] - side[1], back[1] - side[1])
    y = side[1] + along * np.abs(c) ** 1.3 - drop
    return np.stack([x, y, z], axis=-1)


def authored_points() -> Points:
    """Control points of the skin beyond the face, both sides [N, 3]."""
    d = fibonacci_sphere(330)
    d = d[d[:, 0] > 0.06]
    cranium = superellipsoid(d)
    y, z = cranium[:, 1], cranium[:, 2]
    # Keep the cranium where it is bare skull: above the ears, behind them, and not over the face.
    above = (y > 0.012) & (z < -0.034 + 1.9 * (y - 0.045)) | (y > 0.080)
    behind = (z < -0.115) & (y > -0.052)
    half = cranium[above | behind]
    midline_angle: Points = np.radians([48, 62, 78, 95, 112, 128, 143, 158, 173, 188, 203, 217])
    midline = superellipsoid(
        np.stack([np.zeros(12), np.sin(midline_angle), np.cos(midline_angle)], axis=1)
    )
    mastoid = np.array(
        [[0.0685, -0.040, -0.098], [0.0655, -0.062, -0.094], [0.0715, -0.020, -0.086]]
    )
    mastoid = np.concatenate([mastoid, [[0.0725, 0.000, -0.086], [0.070, -0.022, -0.068]]])
    jaw = np.array([[0.0655, -0.066, -0.066], [0.030, -0.1135, -0.018]])
    chin = np.array([[0.0, -0.1235, 0.006], [0.0, -0.1265, -0.012]])
    ring_angle = np.linspace(0.0, np.pi, 13)
    rings = np.concatenate([neck_ring(ring_angle), neck_ring(ring_angle, 0.014)])
    rings[np.abs(rings[:, 0]) < 1e-9, 0] = 0.0
    right = np.concatenate([half, mastoid, jaw, midline, chin, rings])
    return np.concatenate([right, right[right[:, 0] > 0] * (-1.0, 1.0, 1.0)])


class Spline:
    """Thin-plate spline on names: `operator(q) @ values_at_controls` are the values at q."""

    def __init__(self, controls: Points, smoothing: float = 0.0):
        self.controls = controls
        n = len(controls)
        system = np.zeros((n + 4, n + 4))
        system[:n, :n] = self._kernel(controls) - smoothing * np.eye(n)
        system[:n, n], system[:n, n + 1 :] = 1.0, controls
        system[n:, :n] = system[:n, n:].T
        self._solve = np.linalg.inv(system)[:, :n]

    def _kernel(self, q: Points) -> Points:
        squared = ((q[:, None] - self.controls[None]) ** 2).sum(-1)
        return 0.5 * squared * np.log(np.maximum(squared, 1e-18))

    def operator(self, q: Points) -> Points:
        rows = np.concatenate([self._kernel(q), np.ones((len(q), 1)), q], axis=1)
        return rows @ self._solve
