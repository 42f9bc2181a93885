"""Eyelids that slide on the eyeball."""

from __future__ import annotations

import numpy as np

from avatar3d.heads.build import anthropometry as body
from avatar3d.heads.build.assemble import Head
from avatar3d.heads.build.eyes import LEFT_EYE, outside_eyeball
from avatar3d.heads.build.halfmesh import Points
from avatar3d.smooth import smoothstep

UPPER_FOLD, LOWER_FOLD = np.radians(31.0), np.radians(38.0)  # skin that gives way beyond a border


class Lids:
    """The lids of the left eye, moved by how far each border travels.

    A point has an elevation about the eyeball's horizontal axis; a border's travel fades over the
    fold above or below it; whatever would enter the eyeball is pushed out along the radius.
    """

    def __init__(self, head: Head):
        mesh = head.mesh
        self.points = mesh.vertices
        loop = head.half_rows["eye"][0]
        offset = mesh.vertices[loop] - LEFT_EYE
        elevation = np.arctan2(offset[:, 1], offset[:, 2])
        inner = int(np.argmin(mesh.vertices[loop, 0]))
        outer = int(np.argmax(mesh.vertices[loop, 0]))
        order = np.arange(len(loop))
        # The loop runs from the outer corner under the eye to the inner one and back above it.
        lower = (order - outer) % len(loop) <= (inner - outer) % len(loop)
        upper = ~lower | (order == inner) | (order == outer)
        self.loop_lower, self.loop_upper = lower, upper
        self.borders = []
        for chosen in (lower, upper):
            x, e = mesh.vertices[loop[chosen], 0], elevation[chosen]
            sort = np.argsort(x)
            self.borders.append((x[sort], e[sort]))
        self.lining_rows = mesh.pieces["lid_lining"]
        self.clearance = np.full(len(self.points), body.EYEBALL_RADIUS + 0.0)
        self.region = np.zeros(len(self.points), bool)
        skin = mesh.pieces["skin"]
        near = np.abs(self.points - LEFT_EYE) < (0.030, 0.035, 0.030)
        self.region[skin] = (near.all(1) & (self.points[:, 2] > -0.012))[skin]
        self.clearance[skin] += body.LID_CLEARANCE
        own_lining = self.lining_rows[self.points[self.lining_rows, 0] > 0]
        self.region[own_lining] = True
        self.clearance[own_lining] += 0.00040
        # A lining point moves with the border point of its column, less the deeper it lies.
        columns = len(loop)
        self.column = np.full(len(self.points), -1)
        self.depth = np.zeros(len(self.points), int)
        self.column[own_lining] = np.arange(len(own_lining)) % columns
        self.depth[own_lining] = np.arange(len(own_lining)) // columns
        self.loop = loop
        self.side = np.zeros(len(self.points))  # +1 upper lid, -1 lower lid, of every point
        offset = self.points - LEFT_EYE
        self.elevation = np.arctan2(offset[:, 1], offset[:, 2])
        low, high = self._borders_at(self.points[:, 0])
        self.side = np.where(self.elevation > 0.5 * (low + high), 1.0, -1.0)
        self.side[loop[lower]], self.side[loop[upper]] = -1.0, 1.0
        lined = self.column >= 0
        self.side[lined] = self.side[loop[self.column[lined]]]

    def _borders_at(self, x: Points) -> tuple[Points, Points]:
        (xl, el), (xu, eu) = self.borders
        return np.interp(x, xl, el), np.interp(x, xu, eu)

    def moved(self, upper: float, lower: float) -> Points:
        """Displacements [V, 3] when the upper border travels down by `upper` and the lower up by
        `lower`, in shares of the eye's opening at each place (negative opens)."""
        x = self.points[:, 0].copy()
        lined = self.column >= 0
        x[lined] = self.points[self.loop[self.column[lined]], 0]
        low, high = self._borders_at(x)
        opening = high - low
        beyond_upper = np.clip((self.elevation - high) / UPPER_FOLD, 0.0, 1.0)
        beyond_lower = np.clip((low - self.elevation) / LOWER_FOLD, 0.0, 1.0)
        fade = np.where(self.side > 0, (1 - beyond_upper) ** 2, (1 - beyond_lower) ** 2)
        fade = np.where(lined, np.array([1.0, 0.85, 0.45])[self.depth], fade)
        lateral = 1.0 - smoothstep(np.abs(self.points[:, 0] - LEFT_EYE[0]), 0.012, 0.028)
        turn = np.where(self.side > 0, -upper, lower) * opening * fade
        turn *= np.where(lined, 1.0, np.maximum(lateral, 0.0))
        offset = self.points - LEFT_EYE
        c, s = np.cos(turn), np.sin(turn)
        y = offset[:, 1] * c + offset[:, 2] * s
        z = offset[:, 2] * c - offset[:, 1] * s
        new = LEFT_EYE + np.stack([offset[:, 0], y, z], axis=1)
        pushed = outside_eyeball(new, self.clearance[:, None])
        result = np.zeros_like(self.points)
        moves = self.region & (np.abs(turn) > 1e-6)
        result[moves] = (pushed - self.points)[moves]
        return result
