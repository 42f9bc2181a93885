"""Which point of one head is which point of another.

The source head is laid over the target: by their landmarks where both have them, else by their
eyes; its identity modes and then its skin are fitted to the target's skin, jaws open in both so
that lips and mouths are told apart. Then every vertex of the target asks for the nearest point of
the source on the same part. Computed once for two heads and kept in the user's cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.container import read_container, write_container
from avatar3d.errors import UserError
from avatar3d.files import cache_folder
from avatar3d.heads.contour import FACE_OVAL
from avatar3d.heads.fitting.alignment import Similarity, align
from avatar3d.heads.fitting.distance import closest_points, nearby_points
from avatar3d.heads.fitting.registration import outward_normals, register_to_scan
from avatar3d.heads.model import PART_INDEX, HeadModel
from avatar3d.heads.skinning import LEFT_EYE, RIGHT_EYE

VERSION = 1
GROUPS: tuple[tuple[str, ...], ...] = (
    ("face", "scalp", "ears", "neck", "bust", "eyelids", "mouth"),
    ("left_eyeball",),
    ("right_eyeball",),
    ("upper_teeth", "lower_teeth", "gums", "tongue"),
)
_JAW_OPEN = 0.4  # of jawOpen, about 12 mm between the lips
JAW_NAMES = ("flameJawX", "flameJawY", "flameJawZ")
_JAW_OPEN_RADIANS = 0.15


@dataclass(frozen=True)
class Correspondence:
    """For every vertex of the target head a point on the source head's surface."""

    triangles: Tensor  # [V, 3] int64: the source's vertices around the point
    barycentrics: Tensor  # [V, 3]
    distance: Tensor  # [V] metres between the two after the fit: how sure it is
    scale: float  # target size / source size

    def carry(self, values: Tensor) -> Tensor:
        """Source vertex values [..., V_source, C] -> [..., V, C]."""
        corners = values[..., self.triangles, :]  # [..., V, 3, C]
        return torch.einsum("vk,...vkc->...vc", self.barycentrics.to(values.dtype), corners)


@lru_cache(maxsize=8)
def correspondence(source: HeadModel, target: HeadModel) -> Correspondence:
    """Target vertices on the source's surface; from the cache where it was computed before."""
    path = _cache_path(source, target)
    if path.is_file():
        try:
            return _read(path, len(target.neutral), len(source.neutral))
        except UserError:  # damaged: it is only a cache
            path.unlink(missing_ok=True)
    found = find_correspondence(source, target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_container(
            path,
            {
                "triangles": found.triangles.to(torch.int32),
                "barycentrics": found.barycentrics,
                "distance": found.distance,
                "scale": torch.tensor([found.scale], dtype=torch.float64),
            },
            {"version": VERSION},
        )
    except (OSError, UserError):
        pass  # a cache that cannot be written costs time, nothing else
    return found


def find_correspondence(
    source: HeadModel, target: HeadModel, laid: tuple[np.ndarray, float] | None = None
) -> Correspondence:
    """As `correspondence`, always computed; `laid` is what `lay_over` returned."""
    source_points, scale = lay_over(source, target) if laid is None else laid
    target_points = target.vertices(None, open_mouth(target)).double().numpy()
    source_normals = outward_normals(source_points, source.triangles.numpy())
    target_normals = outward_normals(target_points, target.triangles.numpy())

    count = len(target_points)
    corners = np.zeros((count, 3), np.int64)
    barycentrics = np.tile([1.0, 0.0, 0.0], (count, 1))
    distance = np.full(count, np.inf)
    groups_of_target = _vertex_groups(target)
    skin = _group_triangles(source, GROUPS[0])
    for index, parts in enumerate(GROUPS):
        mine = np.flatnonzero(groups_of_target == index)
        if not len(mine):
            continue
        triangles = _group_triangles(source, parts)
        if not len(triangles):  # a head without teeth: what is nearest of its mouth
            triangles = skin
        found = nearby_points(
            target_points[mine],
            source_points,
            triangles,
            normals=(target_normals[mine], source_normals),
        )
        corners[mine] = triangles[found.triangle]
        barycentrics[mine], distance[mine] = found.barycentrics, found.distance
    return Correspondence(
        torch.from_numpy(corners),
        torch.from_numpy(barycentrics).float(),
        torch.from_numpy(np.minimum(distance, 1.0)).float(),
        scale,
    )


def lay_over(source: HeadModel, target: HeadModel) -> tuple[np.ndarray, float]:
    """The source's vertices [V, 3] in the target's frame and shape, mouths open; and the scale."""
    source_code, target_code = open_mouth(source), open_mouth(target)
    start = _start(source, target)
    goal = target.vertices(None, target_code).double().numpy()
    skin = np.unique(_group_triangles(target, ("face", "scalp", "ears", "neck", "eyelids")))
    normals = outward_normals(goal, target.triangles.numpy())
    fit = register_to_scan(
        source,
        goal[skin],
        normals=normals[skin],
        landmarks=_common_landmarks(source, target),
        start=start,
        code=source_code,
        with_scale=True,
    )
    placed = fit.vertices.copy()
    own = source.vertices(fit.identity, source_code).double().numpy()
    # Eyeballs are spheres: centre onto centre, radius onto radius.
    for part in ("left_eyeball", "right_eyeball"):
        mine = np.unique(_group_triangles(source, (part,)))
        other = np.unique(_group_triangles(target, (part,)))
        if len(mine) and len(other):
            centre, radius = _ball(own[mine])
            goal_centre, goal_radius = _ball(goal[other])
            placed[mine] = (own[mine] - centre) * (goal_radius / radius) + goal_centre
    return placed, fit.motion.scale


def _common_landmarks(source: HeadModel, target: HeadModel) -> dict[int, np.ndarray]:
    """The target's landmarks, but for the face's contour, which slides over the skin."""
    if not (source.landmark_barycentrics.any() and target.landmark_barycentrics.any()):
        return {}
    points = _surface_landmarks(target)
    return {index: points[index] for index in range(468) if index not in FACE_OVAL}


def _ball(points: np.ndarray) -> tuple[np.ndarray, float]:
    centre = (points.min(0) + points.max(0)) / 2
    return centre, float(np.linalg.norm(points - centre, axis=1).mean())


def _start(source: HeadModel, target: HeadModel) -> Similarity:
    eyes = [LEFT_EYE, RIGHT_EYE]
    if bool(source.landmark_barycentrics.any()) and bool(target.landmark_barycentrics.any()):
        a, b = _surface_landmarks(source), _surface_landmarks(target)
        return align(a, b)
    a, b = source.joints[eyes].double().numpy(), target.joints[eyes].double().numpy()
    scale = float(np.linalg.norm(b[0] - b[1]) / np.linalg.norm(a[0] - a[1]))
    return Similarity(scale, np.eye(3), b.mean(0) - scale * a.mean(0))


def _surface_landmarks(head: HeadModel) -> np.ndarray:
    """The points of the skin under the 468 landmarks of the face, mouth open."""
    vertices = head.vertices(None, open_mouth(head)).double()
    corners = vertices[head.triangles[head.landmark_triangles]]
    return torch.einsum("lk,lkc->lc", head.landmark_barycentrics.double(), corners)[:468].numpy()


def open_mouth(head: HeadModel) -> ExpressionCode:
    """The code that opens a head's mouth a little, so that lips are told apart."""
    code = ExpressionCode.neutral(coefficient_count=head.expression_count)
    jaw = ARKIT_INDEX["jawOpen"]
    if head.expression_basis[jaw].any() or head.joint_drive[jaw].any():
        code.coefficients[jaw] = _JAW_OPEN
    elif JAW_NAMES[0] in head.expression_names:
        code.coefficients[head.expression_names.index(JAW_NAMES[0])] = _JAW_OPEN_RADIANS
    return code


def _vertex_groups(head: HeadModel) -> np.ndarray:
    """Index into GROUPS of each vertex; lone vertices count as skin."""
    group = np.zeros(len(head.neutral), np.int64)
    for index, parts in enumerate(GROUPS):
        group[np.unique(_group_triangles(head, parts))] = index
    return group


def _group_triangles(head: HeadModel, parts: tuple[str, ...]) -> np.ndarray:
    wanted = torch.tensor([PART_INDEX[part] for part in parts])
    return head.triangles[torch.isin(head.triangle_part, wanted)].numpy()


def nearest_surface(
    head: HeadModel, vertices: np.ndarray, points: np.ndarray, parts: tuple[str, ...]
) -> tuple[Tensor, Tensor]:
    """Triangles (indices into head.triangles) [N] and barycentrics [N, 3] of the points nearest to
    `points` [N, 3] on the head's `parts`, its vertices being at `vertices` [V, 3]."""
    wanted = torch.isin(head.triangle_part, torch.tensor([PART_INDEX[p] for p in parts]))
    among = wanted.nonzero()[:, 0]
    found = closest_points(points, vertices, head.triangles[among].numpy())
    return among[torch.from_numpy(found.triangle)], torch.from_numpy(found.barycentrics).float()


def _cache_path(source: HeadModel, target: HeadModel) -> Path:
    name = f"{source.content_hash()[:20]}-{target.content_hash()[:20]}-v{VERSION}.safetensors"
    return cache_folder() / "correspondence" / name


def _read(path: Path, count: int, source_count: int) -> Correspondence:
    arrays, metadata = read_container(path)
    try:
        found = Correspondence(
            torch.from_numpy(arrays["triangles"]).long(),
            torch.from_numpy(arrays["barycentrics"]),
            torch.from_numpy(arrays["distance"]),
            float(arrays["scale"][0]),
        )
    except (KeyError, IndexError):
        raise UserError(f"{path} is damaged") from None
    sound = found.triangles.shape == found.barycentrics.shape == (count, 3)
    if not sound or found.triangles.min() < 0 or found.triangles.max() >= source_count:
        raise UserError(f"{path} is damaged")
    del metadata
    return found
