"""The skin of the half head from the neck up: loops round eye, mouth and ear, an even filling.

Loops are placed through the landmarks; the filling is a Poisson-disk set whose spacing depends on
the place, smoothed by Lloyd-like steps; the triangles are the Delaunay triangulation of the names q
on the sphere (= their convex hull), which joins all of it without gaps.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial import ConvexHull, KDTree

from avatar3d.heads.build import anthropometry as body
from avatar3d.heads.build import landmarks as lm
from avatar3d.heads.build.halfmesh import HalfMesh
from avatar3d.heads.build.surface import (
    Spline,
    authored_points,
    directions,
    fibonacci_sphere,
    landmark_names,
    neck_ring,
    normalised,
)

Points = NDArray[np.float64]
Indices = NDArray[np.int64]

NECK_COLUMNS = 31  # of the half, front to back
EAR_COLUMNS = 30
FACE_SPACING, NOSE_SPACING, SCALP_SPACING = 0.0040, 0.0026, 0.0092  # metres


class Skin:
    """The spline of the skin and the loops that other pieces join onto."""

    def __init__(self, face: Points):
        self.face = face  # the 468 landmarks at rest
        authored = authored_points()
        self.landmark_names = landmark_names(face)
        controls = np.concatenate([self.landmark_names, directions(authored)])
        self.spline = Spline(controls, smoothing=2e-6)
        self.control_points = np.concatenate([face, authored])
        self.eye_loops: list[Indices] = []  # lid border first, each [32]
        self.lip_loops: list[Indices] = []  # inner border first, each [21], upper middle to lower
        self.ear_base: Indices = np.zeros(0, int)
        self.neck_border: Indices = np.zeros(0, int)

    def at(self, names: Points) -> Points:
        """Positions [N, 3] of the points with names q [N, 3]."""
        return self.spline.operator(names) @ self.control_points


def far_controls(skin: Skin) -> NDArray[np.bool_]:
    """Which controls beyond the face hold still when it changes: the back of the skull and the
    neck; between, the spline fades the change."""
    still = skin.control_points[468:]
    return (still[:, 2] < -0.105) | (still[:, 1] < -0.128)


def through(knots: Points, samples: int, closed: bool) -> Points:
    """A smooth curve through the knots [K, 3] of the sphere, with `samples` points."""
    t = np.arange(len(knots) + closed)
    values = np.concatenate([knots, knots[:1]]) if closed else knots
    curve = CubicSpline(t, values, bc_type="periodic" if closed else "natural")
    at = np.linspace(0.0, t[-1], samples + closed)[: samples if closed else None]
    return normalised(curve(at))


def on_midline(names: Points) -> Points:
    names = names.copy()
    names[:, 0] = 0.0
    return normalised(names)


def spacing(points: Points) -> NDArray[np.float64]:
    """Wanted distance between neighbouring vertices at the given places of the skin."""
    x, y, z = points.T
    nose = np.exp(-(((x / 0.021) ** 2 + ((y + 0.034) / 0.018) ** 2) ** 2)) * (z > 0.01)
    behind = np.clip((-z - 0.030) / 0.045, 0.0, 1.0) + np.clip((y - 0.060) / 0.035, 0.0, 1.0)
    below = np.clip((-y - 0.112) / 0.02, 0.0, 0.5)
    coarse = FACE_SPACING + (SCALP_SPACING - FACE_SPACING) * np.clip(behind + below, 0.0, 1.0)
    return coarse + (NOSE_SPACING - FACE_SPACING) * nose


def inside_loop(names: Points, loop: Points) -> NDArray[np.bool_]:
    """Which names lie inside a loop on the sphere (both seen from the loop's middle)."""
    middle = normalised(loop.mean(0))
    east = normalised(np.cross([0.0, 1.0, 0.0], middle))
    north = np.cross(middle, east)
    facing = names @ middle > 0.3
    p = np.stack([names @ east, names @ north], 1) / np.maximum(names @ middle, 0.3)[:, None]
    a = np.stack([loop @ east, loop @ north], 1) / (loop @ middle)[:, None]
    b = np.roll(a, -1, axis=0)
    straddles = (a[None, :, 1] > p[:, None, 1]) != (b[None, :, 1] > p[:, None, 1])
    rise = np.where(np.abs(b[:, 1] - a[:, 1]) < 1e-15, 1e-15, b[:, 1] - a[:, 1])
    crossing = a[:, 0] + (p[:, None, 1] - a[None, :, 1]) * (b - a)[:, 0] / rise
    return facing & ((straddles & (p[:, None, 0] < crossing)).sum(1) % 2 == 1)


def whole_loop(half: Points) -> Points:
    """A half loop from midline to midline, completed by its mirror image."""
    return np.concatenate([half, half[1:-1][::-1] * (-1.0, 1.0, 1.0)])


def ear_base_names() -> Points:
    """The ellipse on the side of the head where the ear grows [EAR_COLUMNS, 3]; starts in front."""
    angle = np.linspace(0.0, 2 * np.pi, EAR_COLUMNS, endpoint=False)
    forward, up = 0.0125 * np.cos(angle), 0.0265 * np.sin(angle)
    c, s = np.cos(body.EAR_TILT), np.sin(body.EAR_TILT)
    z, y = forward * c - up * s, forward * s + up * c
    offset = np.stack([np.zeros_like(z), y, z + 0.003], axis=1)
    return directions(body.EAR_CENTRE + offset)


def loop_names(skin: Skin) -> dict[str, list[Points]]:
    names = skin.landmark_names
    eyes = [through(names[loop], 32, closed=True) for loop in lm.EYE_LOOPS]
    eyes = [eyes[0], normalised(0.5 * (eyes[0] + eyes[1])), eyes[1],
            normalised(0.5 * (eyes[1] + eyes[2])), eyes[2]]  # fmt: skip
    lips = []
    for loop in lm.LIP_LOOPS:
        knots = names[loop]
        upper, lower = through(knots[:6], 11, False), through(knots[5:], 11, False)
        lips.append(np.concatenate([upper, lower[1:]]))
    lips.insert(4, normalised(0.5 * (lips[3] + lips[4])))
    for loop in lips:
        loop[[0, -1]] = on_midline(loop[[0, -1]])
    return {"eye": eyes, "lips": lips}


def midline_names(skin: Skin) -> Points:
    """Vertices on x = 0: the landmarks and points between, then over the scalp and under the chin."""
    names = on_midline(skin.landmark_names)
    face = [names[lm.MIDLINE[: lm.MIDLINE.index(164) + 1]], names[lm.MIDLINE_LOWER[4:]]]
    pieces = []
    for knots in face:
        for a, b in itertools.pairwise(knots):
            ends = skin.at(np.stack([a, b]))
            parts = max(1, round(np.linalg.norm(ends[1] - ends[0]) / (0.85 * spacing(ends).min())))
            t = np.arange(parts)[:, None] / parts
            pieces.append(normalised(a * (1 - t) + b * t))
    pieces.append(names[[152]])
    starts_at_loop = lm.MIDLINE.index(164)  # the lower run starts at 18, a point of the lips' loop
    pieces[starts_at_loop] = pieces[starts_at_loop][1:]
    ring = directions(neck_ring(np.array([0.0, np.pi])))
    for start, end, over_top in ((names[10], ring[1], True), (names[152], ring[0], False)):
        a, b = np.arctan2(start[1], start[2]), np.arctan2(end[1], end[2])
        if over_top:
            b += 2 * np.pi * (b < a)
        fine = np.linspace(a, b, 2000)
        q = np.stack([0 * fine, np.sin(fine), np.cos(fine)], axis=1)
        points = skin.at(q)
        step = np.linalg.norm(np.diff(points, axis=0), axis=1) / spacing(points)[1:] / 0.92
        travelled = np.concatenate([[0.0], np.cumsum(step)])
        count = int(round(travelled[-1]))
        wanted = np.arange(1, count) * travelled[-1] / count
        angle = np.interp(wanted, travelled, fine)
        pieces.append(np.stack([0 * angle, np.sin(angle), np.cos(angle)], axis=1))
    return np.concatenate(pieces)


def above_neck(names: Points, ring: Points) -> NDArray[np.bool_]:
    """Which names lie on the head's side of the neck border (a half ring, front to back)."""
    turn = np.arctan2(np.abs(names[:, 0]), names[:, 2])
    ring_turn = np.arctan2(ring[:, 0], ring[:, 2])
    return names[:, 1] > np.interp(turn, ring_turn, ring[:, 1])


def filling(skin: Skin, fixed: Points, holes: list[Points], ring: Points) -> tuple[Points, int]:
    """Names that cover the rest of the half evenly: the face's landmarks, how many, then darts."""
    darts = fibonacci_sphere(90_000)
    darts = darts[darts[:, 0] > 1e-3]
    order = np.random.default_rng(4).permutation(len(darts))
    left = skin.landmark_names[skin.landmark_names[:, 0] > 1e-4]
    candidates = np.concatenate([left, darts[order]])
    keep = above_neck(candidates, ring)
    for hole in holes:
        keep &= ~inside_loop(candidates, hole)
    candidates = candidates[keep]
    landmark_count = int(keep[: len(left)].sum())
    points, obstacles = skin.at(candidates), skin.at(fixed)
    radius = spacing(points)
    near_fixed, _ = KDTree(obstacles).query(points)
    is_landmark = np.arange(len(points)) < landmark_count
    share = np.where(is_landmark, 0.3, 0.8)
    alive = (near_fixed > share * radius) & (
        points[:, 0] > np.where(is_landmark, 0.4, 0.6) * radius
    )
    tree = KDTree(points)
    chosen = []
    for index in range(len(points)):
        if alive[index]:
            chosen.append(index)
            reach = radius[index] * 0.86
            near = np.array(tree.query_ball_point(points[index], reach))
            alive[near[near >= landmark_count]] = False
    return candidates[chosen], int(np.sum(np.array(chosen) < landmark_count))


def triangulated(half: Points, hole_border: Indices) -> Indices:
    """Delaunay triangles of the half's names with x >= 0, from the hull of both halves.

    Only triangles between vertices of `hole_border`, which fill a hole, may cross the midline.
    """
    off = np.flatnonzero(half[:, 0] > 1e-12)
    names = np.concatenate([half, half[off] * (-1.0, 1.0, 1.0)])
    triangles = ConvexHull(names).simplices.astype(np.int64)
    is_border = np.zeros(len(half), bool)
    is_border[hole_border] = True
    both = np.concatenate([is_border, is_border[off]])
    triangles = triangles[~both[triangles].all(1) | (triangles < len(half)).all(1)]
    own = triangles[(triangles < len(half)).all(1) & (names[triangles].mean(1)[:, 0] > 0.0)]
    across = (names[triangles][:, :, 0] > 1e-12).any(1) & (names[triangles][:, :, 0] < -1e-12).any(
        1
    )
    across &= ~both[triangles].all(1)
    if across.any():
        where = names[triangles[across]].mean(1)
        raise RuntimeError(f"triangles cross the midline near {where[:3]}; put more points there")
    a, b, c = (names[own[:, k]] for k in range(3))
    inward = (np.cross(b - a, c - a) * a).sum(1) < 0
    own[inward] = own[inward][:, ::-1]
    return own


def relaxed(
    names: Points, fixed_count: int, hole_border: Indices, skin: Skin, rounds: int = 12
) -> Points:
    """Moves the free names (after the fixed ones) towards the middle of their neighbours."""
    for _ in range(rounds):
        triangles = triangulated(names, hole_border)
        edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
        edges = np.concatenate([edges, edges[:, ::-1]])
        points = skin.at(names)
        length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
        weight = length / spacing(points)[edges].mean(1)
        total = np.zeros(len(names))
        moved = np.zeros_like(names)
        np.add.at(total, edges[:, 0], weight)
        np.add.at(moved, edges[:, 0], weight[:, None] * names[edges[:, 1]])
        step = moved / np.maximum(total, 1e-9)[:, None] - names
        moved = normalised(names[fixed_count:] + 0.6 * step[fixed_count:])
        # Keep away from the loops, whose edges must stay edges of the triangulation.
        there = skin.at(moved)
        free = KDTree(points[:fixed_count]).query(there)[0] > 0.75 * spacing(there)
        names[fixed_count:][free] = moved[free]
    return names


def add_skin(mesh: HalfMesh, face: Points) -> Skin:
    skin = Skin(face)
    loops = loop_names(skin)
    ear = ear_base_names()
    ring = directions(neck_ring(np.linspace(0.0, np.pi, NECK_COLUMNS)))
    ring[[0, -1]] = on_midline(ring[[0, -1]])
    midline = midline_names(skin)
    blocks = [loops["eye"][-1], loops["lips"][-1], ear, ring, midline]
    fixed = np.concatenate(blocks)
    holes = [loops["eye"][-1], whole_loop(loops["lips"][-1]), ear]
    free, landmark_count = filling(skin, fixed, holes, ring)
    starts = np.cumsum([0] + [len(b) for b in blocks])
    groups = [np.arange(a, b) for a, b in itertools.pairwise(starts)]
    hole_border = np.concatenate([groups[1], groups[3]])
    still = len(fixed) + landmark_count
    names = relaxed(np.concatenate([fixed, free]), still, hole_border, skin)
    triangles = triangulated(names, hole_border)
    centroids = normalised(names[triangles].mean(1))
    filled = np.zeros(len(triangles), bool)
    for hole, group in zip(holes, groups[:3], strict=True):
        filled |= np.isin(triangles, group).all(1) & inside_loop(centroids, hole)
    filled |= np.isin(triangles, groups[3]).all(1) & ~above_neck(centroids, ring)
    triangles = triangles[~filled]
    points = skin.at(names)
    points[names[:, 0] < 1e-12, 0] = 0.0
    indices = mesh.add("skin", points, names)
    centroid = points[triangles].mean(1)
    scalp = scalp_region(centroid)
    neck = (centroid[:, 1] < -0.105) & (centroid[:, 2] < 0.0) | ~scalp & (centroid[:, 2] < -0.058)
    mesh.connect(indices[triangles[scalp]], "scalp")
    mesh.connect(indices[triangles[neck & ~scalp]], "neck")
    mesh.connect(indices[triangles[~neck & ~scalp]], "face")
    for name, outermost, closed in (("eye", groups[0], True), ("lips", groups[1], False)):
        inner = np.array(loops[name][:-1])
        points = skin.at(inner.reshape(-1, 3)).reshape(inner.shape)
        points[inner[..., 0] < 1e-12, 0] = 0.0
        if name == "lips":  # the borders touch
            upper, lower = points[0, :11], points[0, 20:9:-1]
            middle = 0.5 * (upper + lower)
            points[0, :11] = middle + np.outer(np.arange(11) < 10, (0.0, 0.00004, 0.0))
            points[0, 11:] = (middle - (0.0, 0.00004, 0.0))[9::-1]
        grid = np.concatenate([mesh.add("skin", points, inner), indices[outermost][None]])
        if closed:
            mesh.connect_grid(grid[:3], "eyelids", closed=True)
            mesh.connect_grid(grid[2:], "face", closed=True)
            skin.eye_loops = list(grid)
        else:
            mesh.connect_grid(grid, "face")
            skin.lip_loops = list(grid)
    skin.ear_base, skin.neck_border = indices[groups[2]], indices[groups[3]]
    return skin


def scalp_region(points: Points) -> NDArray[np.bool_]:
    """Where hair grows: behind a line over the forehead, before and behind the ear, to the nape."""
    _, y, z = points.T
    crown = (y > 0.064 - 0.25 * np.clip(z, -0.1, 0.02)) | (z < -0.047) & (y > 0.018)
    sideburn = (z < -0.050) & (z > -0.070) & (y > -0.012)
    return crown | sideburn | (z < -0.090) & (y > -0.072 + 0.25 * (z + 0.13))
