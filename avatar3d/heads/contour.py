"""Landmarks of the outline, which slide over the skin as the view turns.

The jaw line of the 68 is where the face ends in the picture. On the side that turns away it moves
from its place at rest toward the nose; on the other side it stays, as people mark it (and as FLAME's
table of 79 yaws has it). Here each such landmark has a path over the skin, the section across the
outline through its place at rest, and takes the path's outermost point in the picture: on a section
that is where the surface turns away from the eye. No table, so that every head, person, expression
and view has its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from avatar3d.codes import ExpressionCode
from avatar3d.geometry import quaternion_to_matrix
from avatar3d.heads.model import PART_INDEX, HeadModel

IBUG_JAW = tuple(range(17))
# MediaPipe's outline, round the face from the top of the forehead over the subject's left.
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
_PATH_PARTS = ("face", "neck", "ears", "scalp")
_LIPS_RADIUS_M = 0.03  # paths end before the mouth,
_INWARD = 0.4  # and before they come nearer to the midline than this share of where they begin,
_LONGEST_M = 0.08  # and at this length
_HOLD = 0.005  # slope, 0.3 degrees: how firmly a landmark holds on to its place at rest


@dataclass(frozen=True)
class ContourPaths:
    """Where landmarks of the outline may lie: the nodes of polylines on the surface, each between
    its neighbours' triangles. K nodes, the last one repeated on shorter paths. `along` is the
    outline's direction at rest; crossed with the view it points outward."""

    corners: Tensor  # [L, K, 3] int64 vertices
    barycentrics: Tensor  # [L, K, 3]
    along: Tensor  # [L, 3] unit


class SlidingLandmarks:
    """The 68 of iBUG, or the 478 of MediaPipe, of one person, with an outline that follows the view.

    MediaPipe's own detector does not slide its outline (docs/heads.md): with it use
    `HeadModel.landmarks`. Differentiable but for the choice of the points.
    """

    def __init__(
        self,
        head: HeadModel,
        identity: Tensor | None,
        kind: Literal["ibug", "mediapipe"] = "ibug",
    ) -> None:
        self._index, self._paths = contour_paths(head, kind)
        triangles, self._barycentrics, self._offsets = _static(head, kind)
        static = head.triangles[triangles]  # [N, 3]
        carriers, corners = torch.unique(
            torch.cat([static.flatten(), self._paths.corners.flatten()]), return_inverse=True
        )
        self._static_corners = corners[: static.numel()].view_as(static)
        self._path_corners = corners[static.numel() :].view_as(self._paths.corners)
        self._rig = head.rig(identity, carriers)
        with torch.no_grad():
            self._held = self._held_back()

    def _held_back(self) -> Tensor:
        """By how much each node [L, K] is moved in, metres: so much that the face at rest, seen
        from the front, has its outline where its landmarks are, which may stand a little behind."""
        paths = _blended(self._paths.barycentrics, self._rig.neutral[self._path_corners])
        outward = torch.linalg.cross(self._paths.along, torch.tensor([[0.0, 0.0, 1.0]]))
        reach = (paths * outward[:, None]).sum(-1)
        way = (paths[:, 1:] - paths[:, :-1]).norm(dim=-1).cumsum(-1)
        way = torch.nn.functional.pad(way, (1, 0))
        return (reach - reach[:, :1] + _HOLD * way).clamp(min=0)

    def pose(self, code: ExpressionCode, seen_from: Tensor | None) -> Tensor:
        """Landmarks in the world [..., N, 3] metres, for a camera whose centre is at `seen_from`
        [..., 3] in the world (`Camera.position()`); codes and views broadcast. Without one, the
        outline stays where it is at rest."""
        vertices = self._rig.pose(code)
        rotation = quaternion_to_matrix(code.head_rotation)
        points = _blended(self._barycentrics, vertices[..., self._static_corners, :])
        if seen_from is not None:
            slid = self._slid(vertices, rotation, code.head_translation, seen_from)
            points = points.expand(*slid.shape[:-2], *points.shape[-2:])
            points = points.index_copy(-2, self._index, slid)
        return points + self._offsets @ rotation.transpose(-1, -2)

    def _slid(
        self, vertices: Tensor, rotation: Tensor, centre: Tensor, seen_from: Tensor
    ) -> Tensor:
        """The landmarks of the outline, [..., L, 3]."""
        paths = _blended(self._paths.barycentrics, vertices[..., self._path_corners, :])
        with torch.no_grad():
            along = self._paths.along @ rotation.transpose(-1, -2)
            node, share = outermost(paths, along, centre, seen_from, self._held)
        paths = paths.expand(*node.shape[:-1], *paths.shape[-3:])
        at = node[..., None, None].expand(*node.shape, 1, 3)
        here, there = paths.gather(-2, at)[..., 0, :], paths.gather(-2, at + 1)[..., 0, :]
        return here + share[..., None] * (there - here)


def outermost(
    paths: Tensor, along: Tensor, centre: Tensor, seen_from: Tensor, held: Tensor
) -> tuple[Tensor, Tensor]:
    """Where each path [..., L, K, 3] lies outermost in the picture: after which node [..., L], and
    what share of the way to the next one [..., L]; its nodes moved in by `held` [L, K] metres."""
    to_eye = seen_from - centre
    view = normalize(to_eye, dim=-1)[..., None, :]  # [..., 1, 3]
    outward = normalize(torch.linalg.cross(*torch.broadcast_tensors(along, view)), dim=-1)
    rays = paths - seen_from[..., None, None, :]
    depth = -(rays * view[..., None, :]).sum(-1)
    reach = ((rays * outward[..., None, :]).sum(-1) - held) / depth.clamp(min=1e-3)  # [..., L, K]
    step = (paths[..., 1:, :] - paths[..., :-1, :]).norm(dim=-1)
    rise = reach[..., 1:] - reach[..., :-1]
    # The slope at each node, by its neighbours' distances; it falls through zero at the outermost
    # point, which so moves evenly with the view rather than from node to node.
    slope = torch.cat([rise[..., :1], rise[..., 1:] + rise[..., :-1], rise[..., -1:]], dim=-1)
    span = torch.cat([step[..., :1], step[..., 1:] + step[..., :-1], step[..., -1:]], dim=-1)
    slope = slope / span.clamp(min=1e-9)
    last = paths.shape[-2] - 2
    best = reach.argmax(-1, keepdim=True)
    before = best - (slope.gather(-1, best) < 0).to(best)  # the root lies on this side of the node
    node = before.clamp(0, last)
    left, right = slope.gather(-1, node), slope.gather(-1, node + 1)
    share = torch.where(left > right, left / (left - right).clamp(min=1e-12), left * 0).clamp(0, 1)
    share = torch.where(before < 0, share * 0, share)
    return node[..., 0], share[..., 0]


@lru_cache(maxsize=8)
def contour_paths(
    head: HeadModel, kind: Literal["ibug", "mediapipe"]
) -> tuple[Tensor, ContourPaths]:
    """Indices of the landmarks of the outline [L], and their paths."""
    index = torch.tensor(IBUG_JAW if kind == "ibug" else FACE_OVAL)
    triangles, barycentrics, _ = _static(head, kind)
    triangles, barycentrics = triangles[index], barycentrics[index]
    vertices = head.neutral.double().numpy()
    corners = head.triangles[triangles].numpy()
    rest = np.einsum("lk,lkc->lc", barycentrics.double().numpy(), vertices[corners])
    lips = head.stomion.double().numpy()

    if kind == "ibug":
        ends = np.concatenate([rest[:1], rest, rest[-1:]])
    else:
        ends = np.concatenate([rest[-1:], rest, rest[:1]])
    along = ends[2:] - ends[:-2]
    along[:, 2] = 0.0  # a section that no view of the face sees edge-on
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    outward = np.cross(along, [0.0, 0.0, 1.0])
    along *= np.sign((outward * (rest - lips)).sum(1, keepdims=True))

    walk = _Walk(head, vertices, lips)
    found = [
        walk.path(int(triangle), place, start, direction)
        for triangle, place, start, direction in zip(
            triangles.tolist(), barycentrics.double().numpy(), rest, along
        )
    ]
    longest = max(2, *(len(nodes) for nodes, _ in found))
    nodes = np.stack([_repeated(nodes, longest) for nodes, _ in found])
    weights = np.stack([_repeated(weights, longest) for _, weights in found])
    return index, ContourPaths(
        torch.from_numpy(nodes), torch.from_numpy(weights).float(), torch.from_numpy(along).float()
    )


class _Walk:
    """Walks over a head's skin in a plane, from edge to edge."""

    def __init__(self, head: HeadModel, vertices: np.ndarray, lips: np.ndarray) -> None:
        self.triangles, self.vertices, self.lips = head.triangles.numpy(), vertices, lips
        parts = torch.tensor([PART_INDEX[name] for name in _PATH_PARTS])
        self.skin = torch.isin(head.triangle_part, parts).numpy()
        self.beside: dict[tuple[int, int], list[int]] = {}  # an edge's triangles
        for triangle in np.flatnonzero(self.skin).tolist():
            a, b, c = self.triangles[triangle].tolist()
            for edge in ((a, b), (b, c), (c, a)):
                self.beside.setdefault((min(edge), max(edge)), []).append(triangle)

    def path(
        self, triangle: int, barycentrics: np.ndarray, start: np.ndarray, normal: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vertices [K, 3] and barycentrics [K, 3] of the section from `start` toward the face's
        middle, in the plane through it with this normal."""
        height = (self.vertices - start) @ normal
        height = np.where(np.abs(height) < 1e-9, 1e-9, height)  # no vertex lies in the plane
        corners = self.triangles[triangle]
        nodes, weights = [corners], [barycentrics]
        # The start may be a vertex or lie on an edge: then every triangle around it leads on.
        core = set(corners[barycentrics > 1e-6].tolist())
        ways = [
            (edge, around)
            for around in self._around(core)
            for edge in self._edges(around)
            if (len(core) == 3 or not core <= set(edge)) and height[edge[0]] * height[edge[1]] < 0
        ]
        here, length = start, 0.0
        while ways:
            # Out of the first triangle two ways lead: inward is where the lips are.
            edge, triangle = max(
                ways, key=lambda way: self._at(way[0], height) @ (self.lips - start)
            )
            point = self._at(edge, height)
            length += float(np.linalg.norm(point - here))
            if not self._goes_on(point, start, length):
                break
            here, share = point, self._crossing(edge, height)
            nodes.append(np.array([edge[0], edge[1], edge[1]]))
            weights.append(np.array([1 - share, share, 0.0]))
            ways = [
                (next_edge, other)
                for other in self.beside[edge]
                if other != triangle
                for next_edge in self._edges(other)
                if next_edge != edge and height[next_edge[0]] * height[next_edge[1]] < 0
            ]
        return np.stack(nodes), np.stack(weights)

    def _around(self, core: set[int]) -> list[int]:
        """Triangles of the skin that have all of these vertices."""
        has = np.isin(self.triangles, list(core)).sum(1) == len(core)
        return np.flatnonzero(has & self.skin).tolist()

    def _goes_on(self, point: np.ndarray, start: np.ndarray, length: float) -> bool:
        return bool(
            length < _LONGEST_M
            and abs(point[0]) >= _INWARD * abs(start[0]) - 1e-6
            and float(np.linalg.norm(point - self.lips)) > _LIPS_RADIUS_M
        )

    def _edges(self, triangle: int) -> list[tuple[int, int]]:
        a, b, c = self.triangles[triangle].tolist()
        return [(min(edge), max(edge)) for edge in ((a, b), (b, c), (c, a))]

    @staticmethod
    def _crossing(edge: tuple[int, int], height: np.ndarray) -> float:
        return float(height[edge[0]] / (height[edge[0]] - height[edge[1]]))

    def _at(self, edge: tuple[int, int], height: np.ndarray) -> np.ndarray:
        share = self._crossing(edge, height)
        return (1 - share) * self.vertices[edge[0]] + share * self.vertices[edge[1]]


def _blended(barycentrics: Tensor, corners: Tensor) -> Tensor:
    """[..., 3], [..., 3, 3] -> points [..., 3]."""
    return (barycentrics[..., None] * corners).sum(-2)


def _static(head: HeadModel, kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """Triangles [N], barycentrics [N, 3] and the detector's offsets [N, 3] of all landmarks."""
    if kind == "ibug":
        return head.ibug_triangles, head.ibug_barycentrics, torch.zeros(68, 3)
    return head.landmark_triangles, head.landmark_barycentrics, head.landmark_offsets


def _repeated(nodes: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([nodes, np.repeat(nodes[-1:], count - len(nodes), axis=0)])
