"""A head with fewer vertices, for real time: what nobody sees goes, the inner parts become coarse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from avatar3d.heads.model import PART_INDEX, HeadModel
from avatar3d.heads.skinning import LEFT_EYE, RIGHT_EYE

LIGHT_VERTICES = 14_000
_INNER = (
    "left_eyeball", "right_eyeball", "upper_teeth", "lower_teeth", "gums", "tongue", "mouth",
)  # fmt: skip
_UNSEEN_BEHIND_LIPS_M = 0.05  # of the mouth: molars and throat show only to a dentist
_EYE_FRONT = 0.2  # cosine from the gaze: eyes that turn 40 degrees show no more of the ball
_CELLS_M = 4e-4 * 1.2 ** np.arange(20)


def reduced(head: HeadModel, most: int = LIGHT_VERTICES) -> HeadModel:
    """The head with at most `most` vertices; skin, landmarks and every coefficient stay.

    A vertex that stays moves exactly as before. `ValueError` where the skin alone is too much.
    """
    light = _without(head, _unseen(head))
    for cell_m in _CELLS_M:
        if len(light.neutral) <= most:
            return light
        light = _clustered(light, cell_m)
    raise ValueError(
        f"the skin of {head.name!r} alone has more than {most:,} vertices; allow more of them"
    )


def _unseen(head: HeadModel) -> Tensor:
    """Triangles that no view shows, [F] bool."""
    centre = head.neutral[head.triangles].mean(1)
    unseen = torch.zeros(len(centre), dtype=torch.bool)
    for part, joint in (("left_eyeball", LEFT_EYE), ("right_eyeball", RIGHT_EYE)):
        from_eye = centre - head.joints[joint]
        behind = from_eye[:, 2] < _EYE_FRONT * from_eye.norm(dim=1)
        unseen |= (head.triangle_part == PART_INDEX[part]) & behind
    deep = centre[:, 2] < head.stomion[2] - _UNSEEN_BEHIND_LIPS_M
    inner = torch.tensor([PART_INDEX[name] for name in _INNER[2:]])
    unseen |= torch.isin(head.triangle_part, inner) & deep
    unseen[head.landmark_triangles] = False
    unseen[head.ibug_triangles] = False
    return unseen


def _clustered(head: HeadModel, cell_m: float) -> HeadModel:
    """Inner vertices of one part within one cell become the one nearest to their middle."""
    part_of = torch.full((len(head.neutral),), -1)
    for name in _INNER:
        part_of[head.triangles[head.triangle_part == PART_INDEX[name]].flatten()] = PART_INDEX[name]
    inner = torch.isin(head.triangle_part, torch.tensor([PART_INDEX[name] for name in _INNER]))
    part_of[head.triangles[~inner].flatten()] = -1  # where the skin begins
    part_of[
        head.triangles[torch.cat([head.landmark_triangles, head.ibug_triangles])].flatten()
    ] = -1
    points = head.neutral.double().numpy()
    movable = (part_of >= 0).nonzero()[:, 0].numpy()
    key = np.concatenate(
        [part_of.numpy()[movable, None], np.floor(points[movable] / cell_m).astype(np.int64)],
        axis=1,
    )
    _, cluster = np.unique(key, axis=0, return_inverse=True)
    cluster = cluster.reshape(-1)
    count = cluster.max() + 1
    middle = np.zeros((count, 3))
    np.add.at(middle, cluster, points[movable])
    middle /= np.bincount(cluster, minlength=count)[:, None]
    gap = np.linalg.norm(points[movable] - middle[cluster], axis=1)
    order = np.lexsort((gap, cluster))
    first = np.concatenate([[True], np.diff(cluster[order]) > 0])
    chosen = movable[order[first]]
    stands_for = np.arange(len(points))
    stands_for[movable] = chosen[cluster]
    return _remapped(head, torch.from_numpy(stands_for), torch.zeros(len(head.triangles)) > 0)


def _without(head: HeadModel, dropped: Tensor) -> HeadModel:
    return _remapped(head, torch.arange(len(head.neutral)), dropped)


def _remapped(head: HeadModel, stands_for: Tensor, dropped: Tensor) -> HeadModel:
    """The head whose vertex v is replaced by `stands_for[v]`, without triangles that then have no
    area, those in `dropped`, and vertices that no triangle needs."""
    triangles = stands_for[head.triangles]
    a, b, c = triangles.unbind(-1)
    keep = ~dropped & (a != b) & (b != c) & (c != a)
    new_triangle = torch.cumsum(keep, 0) - 1
    kept, triangles = torch.unique(triangles[keep], return_inverse=True)
    new_vertex = torch.full((len(head.neutral),), -1)
    new_vertex[kept] = torch.arange(len(kept))
    mirror = new_vertex[stands_for[head.mirror[kept]]]
    lost = mirror < 0  # its mirror image went: take the nearest that stayed
    if lost.any():
        points = head.neutral[kept]
        flipped = points[lost] * torch.tensor([-1.0, 1.0, 1.0])
        mirror[lost] = torch.cdist(flipped, points).argmin(1)

    def at(basis: Tensor | None) -> Tensor | None:
        return None if basis is None else basis[:, kept]

    return replace(
        head,
        neutral=head.neutral[kept],
        triangles=triangles,
        triangle_part=head.triangle_part[keep],
        uv=head.uv[kept],
        identity_basis=head.identity_basis[:, kept],
        expression_basis=head.expression_basis[:, kept],
        skin_weights=head.skin_weights[kept],
        landmark_triangles=new_triangle[head.landmark_triangles],
        ibug_triangles=new_triangle[head.ibug_triangles],
        mirror=mirror,
        pose_correctives=at(head.pose_correctives),
    )
