"""A mesh under construction: the half x >= 0, mirrored at the end."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avatar3d.heads.model import PARTS

SWAPPED_PARTS = {"left_eyeball": "right_eyeball", "right_eyeball": "left_eyeball"}
Points = NDArray[np.float64]
Indices = NDArray[np.int64]


class FullMesh(NamedTuple):
    vertices: Points  # [V, 3] metres
    names: Points  # [V, 3] directions of the skin (see surface.py); NaN elsewhere
    triangles: Indices  # [F, 3] counter-clockwise seen from outside
    parts: Indices  # [F] index into PARTS
    mirror: Indices  # [V]
    pieces: dict[str, Indices]  # vertices by the piece that made them, both sides


class HalfMesh:
    def __init__(self) -> None:
        self.vertices = np.zeros((0, 3))
        self.names = np.zeros((0, 3))
        self.triangles: list[Indices] = []
        self.parts: list[Indices] = []
        self.pieces: dict[str, Indices] = {}

    def add(self, piece: str, vertices: Points, names: Points | None = None) -> Indices:
        """Appends vertices [N, 3] (or a grid [R, C, 3]); their indices in the same shape."""
        shape = vertices.shape[:-1]
        flat = vertices.reshape(-1, 3)
        named = np.full_like(flat, np.nan) if names is None else names.reshape(-1, 3)
        indices = np.arange(len(self.vertices), len(self.vertices) + len(flat))
        self.vertices = np.concatenate([self.vertices, flat])
        self.names = np.concatenate([self.names, named])
        self.pieces[piece] = np.concatenate([self.pieces.get(piece, indices[:0]), indices])
        return indices.reshape(shape)

    def connect(self, triangles: Indices, part: str) -> None:
        """Adds triangles that wind alike; on the skin they are turned to wind like the sphere of
        its names."""
        triangles = np.asarray(triangles).reshape(-1, 3)
        a, b, c = (self.names[triangles[:, k]] for k in range(3))
        if (np.cross(b - a, c - a) * a).sum() < 0:  # NaN, beyond the skin, compares false
            triangles = triangles[:, ::-1]
        self.triangles.append(triangles)
        self.parts.append(np.full(len(triangles), PARTS.index(part)))

    def connect_grid(self, grid: Indices, part: str, closed: bool = False) -> None:
        """Two triangles a cell of a grid of indices [R, C]."""
        if closed:
            grid = np.concatenate([grid, grid[:, :1]], axis=1)
        a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
        flip = (np.add.outer(np.arange(a.shape[0]), np.arange(a.shape[1])) % 2).astype(bool)
        one = np.where(flip[..., None], np.stack([a, b, d], -1), np.stack([a, b, c], -1))
        two = np.where(flip[..., None], np.stack([a, d, c], -1), np.stack([b, d, c], -1))
        triangles = np.concatenate([one.reshape(-1, 3), two.reshape(-1, 3)])
        distinct = (
            (triangles[:, 0] != triangles[:, 1])
            & (triangles[:, 1] != triangles[:, 2])
            & (triangles[:, 2] != triangles[:, 0])
        )
        self.connect(triangles[distinct], part)

    def fan(self, ring: Indices, tip: int | np.integer, part: str, closed: bool = False) -> None:
        nxt = np.roll(ring, -1) if closed else ring[1:]
        here = ring if closed else ring[:-1]
        self.connect(np.stack([here, nxt, np.full(len(here), tip)], axis=1), part)

    def mirrored(self) -> FullMesh:
        own = len(self.vertices)
        on_midline = np.abs(self.vertices[:, 0]) < 1e-9
        self.vertices[on_midline, 0] = 0.0
        partner = np.arange(own)
        off = np.flatnonzero(~on_midline)
        partner[off] = own + np.arange(len(off))
        flip = np.array([-1.0, 1.0, 1.0])
        triangles = np.concatenate(self.triangles)
        parts = np.concatenate(self.parts)
        swap = np.array([PARTS.index(SWAPPED_PARTS.get(name, name)) for name in PARTS])
        return FullMesh(
            np.concatenate([self.vertices, self.vertices[off] * flip]),
            np.concatenate([self.names, self.names[off] * flip]),
            np.concatenate([triangles, partner[triangles][:, ::-1]]),
            np.concatenate([parts, swap[parts]]),
            np.concatenate([partner, off]),
            {k: np.unique(np.concatenate([v, partner[v]])) for k, v in self.pieces.items()},
        )
