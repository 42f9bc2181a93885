"""The head as a mesh to export: one person's rest shape, texture coordinates in one square.

Heads come with UVs of their own. Where those fit a square they are kept as they are. Where they
use several tiles (UDIM) or lay parts over each other (both eyes on one picture), the pieces are
packed side by side; a triangle torn apart by a UV seam gets a small place of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from avatar3d.avatar import Avatar
from avatar3d.heads.model import PARTS

# What a material shows; a texel takes its colour from the Gaussians of its own group, so that a
# closed lid does not paint the eye behind it.
GROUPS = ("skin", "eyes", "teeth", "mouth")
GROUP_OF_PART = {
    **dict.fromkeys(("face", "scalp", "ears", "neck", "bust", "eyelids"), 0),
    **dict.fromkeys(("left_eyeball", "right_eyeball"), 1),
    **dict.fromkeys(("upper_teeth", "lower_teeth"), 2),
    **dict.fromkeys(("gums", "tongue", "mouth"), 3),
}
PART_GROUP = np.array([GROUP_OF_PART[part] for part in PARTS])

# Pieces that may lie over each other in a head's own UVs.
_PIECES = (
    ("face", "scalp", "ears", "neck", "bust", "eyelids", "mouth"),
    ("left_eyeball",), ("right_eyeball",), ("upper_teeth",), ("lower_teeth",), ("gums", "tongue"),
)  # fmt: skip
_TORN, _TORN_LENGTH = 6.0, 0.05  # torn: so many times as long as usual, and of the square's side
_MARGIN = 0.004  # between packed pieces, of the square's side
_FREE_STRIP = 0.1
_GRID = 64  # cells a side in which places for torn triangles are looked for


@dataclass(frozen=True)
class Surface:
    """A textured mesh; `source` tells which vertex of the head each one is."""

    source: np.ndarray  # [V] int64 into the head's vertices
    vertices: np.ndarray  # [V, 3] metres, the person's rest shape
    normals: np.ndarray  # [V, 3] unit
    uv: np.ndarray  # [V, 2] in 0..1, the origin at the lower left
    triangles: np.ndarray  # [F, 3] into the vertices above
    group: np.ndarray  # [F] index into GROUPS

    def replaced(self, vertices: np.ndarray, normals: np.ndarray) -> Surface:
        """The same mesh with its vertices elsewhere."""
        return replace(self, vertices=vertices, normals=normals)


def head_surface(avatar: Avatar) -> Surface:
    """The avatar's head at rest, without the sheet behind it."""
    head = avatar.head
    vertices = head.rig(avatar.identity).neutral.double().numpy()
    triangles = head.triangles.numpy()
    group = PART_GROUP[head.triangle_part.numpy()]
    normals = vertex_normals(vertices, triangles)
    uv, source, corners = _one_square(
        head.uv.double().numpy(), vertices, triangles, head.triangle_part.numpy()
    )
    return Surface(
        source=source,
        vertices=vertices[source],
        normals=normals[source],
        uv=uv,
        triangles=corners,
        group=group,
    )


def sheet_surface(avatar: Avatar) -> Surface:
    """The sheet behind the head that carries hanging hair and wide shoulders; flat UVs, group 0."""
    carrier, own = avatar.template.head, len(avatar.head.neutral)
    source = np.arange(own, len(carrier.neutral))
    vertices = carrier.neutral.double().numpy()[source]
    triangles = carrier.triangles.numpy()[len(avatar.head.triangles) :] - own
    low, high = vertices.min(0)[:2], vertices.max(0)[:2]
    return Surface(
        source=source,
        vertices=vertices,
        normals=vertex_normals(vertices, triangles),
        uv=(vertices[:, :2] - low) / (high - low),
        triangles=triangles,
        group=np.zeros(len(triangles), np.int64),
    )


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals [V, 3]; +Z where a vertex has no area around it."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    total = np.stack(
        [
            np.bincount(triangles.ravel(), np.repeat(faces[:, axis], 3), len(vertices))
            for axis in range(3)
        ],
        axis=-1,
    )
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    return np.where(length > 1e-20, total / length.clip(1e-20), [0.0, 0.0, 1.0])


def _one_square(
    uv: np.ndarray, vertices: np.ndarray, triangles: np.ndarray, part: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """UVs within 0..1 [V', 2], the head's vertex of each [V'], triangles [F, 3] over them."""
    piece = _piece_of_part()[part]
    placed = uv[triangles]  # [F, 3, 2]
    tiles = np.floor(placed - 1e-9).clip(0).astype(np.int64)
    tile = tiles[:, 0, 0] + 100 * tiles[:, 0, 1]
    torn = (tiles != tiles[:, :1]).any((1, 2)) | _torn(placed, vertices[triangles], piece)
    if uv.min() < 0 or uv.max() > 1 or _pieces_overlap(placed[~torn], piece[~torn]):
        chart = np.where(torn, -1, piece * 10_000 + tile)
        placed = _packed(placed, vertices[triangles], chart)
    if torn.any():
        placed[torn] = _in_free_cells(placed[~torn], int(torn.sum()))
    # A vertex is split where its triangles put it at different places.
    keys = np.concatenate(
        [triangles.reshape(-1, 1), np.rint(placed.reshape(-1, 2) * 1e7).astype(np.int64)], axis=1
    )
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return placed.reshape(-1, 2)[first], triangles.ravel()[first], inverse.reshape(-1, 3)


def _packed(corner_uv: np.ndarray, corners: np.ndarray, chart: np.ndarray) -> np.ndarray:
    """Charts side by side: large ones in columns over the left four fifths, small ones in rows at
    the right, and below all a strip left free for what belongs to no chart (-1)."""
    placed = corner_uv.copy()
    names = np.unique(chart[chart >= 0])
    edges = corners[:, 1:] - corners[:, :1]
    areas = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=-1)
    size = np.array([areas[chart == name].sum() for name in names])
    large, small = names[size > 0.1 * size.max()], names[size <= 0.1 * size.max()]
    height = 1 - _FREE_STRIP
    boxes = {
        name: (0.8 * i / len(large), _FREE_STRIP, 0.8 / len(large), height)
        for i, name in enumerate(large.tolist())
    } | {
        name: (0.8, _FREE_STRIP + height * i / len(small), 0.2, height / len(small))
        for i, name in enumerate(small.tolist())
    }
    for name, (x, y, width, height) in boxes.items():
        inside = chart == name
        values = corner_uv[inside]
        low, high = values.min((0, 1)), values.max((0, 1))
        span = np.array([width, height]) - 2 * _MARGIN
        placed[inside] = (
            np.array([x, y]) + _MARGIN + (values - low) / (high - low).clip(1e-9) * span
        )
    return placed


def _in_free_cells(taken: np.ndarray, count: int) -> np.ndarray:
    """Places [count, 3, 2] for single triangles where the square is empty.

    taken: [F, 3, 2], the triangles that lie there.
    """
    used = np.zeros((_GRID, _GRID), bool)
    low = (taken.min(1) * _GRID - 0.25).astype(np.int64).clip(0, _GRID - 1)
    high = (taken.max(1) * _GRID + 0.25).astype(np.int64).clip(0, _GRID - 1)
    for (x0, y0), (x1, y1) in zip(low.tolist(), high.tolist()):
        used[y0 : y1 + 1, x0 : x1 + 1] = True
    free = np.argwhere(~used)[:, ::-1]
    if not len(free):
        free = np.zeros((1, 2), np.int64)
    side = int(np.ceil(np.sqrt(count / len(free))))  # so many by so many triangles a cell
    number = np.arange(count)
    cell, place = free[number // side**2], number % side**2
    corner = (cell + np.stack([place % side, place // side], axis=-1) / side) / _GRID
    triangle = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]]) / (side * _GRID)
    return corner[:, None] + triangle


def _torn(corner_uv: np.ndarray, corners: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """Triangles [F] far longer in the texture than others of their piece of the same size."""

    def longest(values: np.ndarray) -> np.ndarray:
        return np.linalg.norm(values - np.roll(values, 1, axis=1), axis=-1).max(1)

    ratio = longest(corner_uv) / longest(corners).clip(1e-9)
    usual = np.ones(len(_PIECES))
    for number in np.unique(piece):
        usual[number] = np.median(ratio[piece == number])
    return (ratio > _TORN * usual[piece]) & (longest(corner_uv) > _TORN_LENGTH)


def _pieces_overlap(corner_uv: np.ndarray, piece: np.ndarray) -> bool:
    """Whether pieces share places of the square, looked at on a grid of 128."""
    centre = (corner_uv.mean(1) * 127).astype(np.int64)
    cell = centre[:, 0] + 128 * centre[:, 1]
    pairs = np.unique(np.stack([cell, piece]), axis=1)
    shared = pairs.shape[1] - len(np.unique(pairs[0]))
    return shared > 16  # neighbours touch along their borders


def _piece_of_part() -> np.ndarray:
    piece = np.zeros(len(PARTS), np.int64)
    for number, names in enumerate(_PIECES):
        piece[[PARTS.index(name) for name in names]] = number
    return piece
