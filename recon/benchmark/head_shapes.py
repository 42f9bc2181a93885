"""How a head moves, and how near it is to another one: figures of geometry alone."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.interpolate import RBFInterpolator
from scipy.spatial import KDTree

from avatar3d.codes import ExpressionCode
from avatar3d.heads import PART_INDEX, HeadModel
from recon.capture.mesh_points import LIPS, OVAL
from recon.track.observation import GAPS

# Pairs of GAPS on the lids of both eyes and on the inner lips.
RIGHT_LID_PAIRS, LEFT_LID_PAIRS = np.array(GAPS[:7]), np.array(GAPS[7:14])
LIP_PAIRS = np.array(GAPS[14:])
_NEAREST = 24  # triangles by centroid among which the closest one is looked for
_SMOOTHING = 1e-3


def surface_landmarks(head: HeadModel, **coefficients: float) -> Float[np.ndarray, "478 3"]:
    """Points of the surface under the landmarks, without where the detector sees them."""
    vertices = posed(head, **coefficients)
    corners = vertices[head.triangles[head.landmark_triangles].numpy()]
    return np.einsum("lk,lkc->lc", head.landmark_barycentrics.double().numpy(), corners)


def posed(head: HeadModel, **coefficients: float) -> Float[np.ndarray, "V 3"]:
    return head.vertices(None, ExpressionCode.from_named(**coefficients)).double().numpy()


def gap_mm(
    head: HeadModel, pairs: Int[np.ndarray, "P 2"], **coefficients: float
) -> Float[np.ndarray, " P"]:
    """Height from each lower landmark to the line through the upper ones over it; negative where
    they have passed each other. `pairs` (upper, lower) run along one slit."""
    points = 1e3 * surface_landmarks(head, **coefficients)
    upper, lower = points[pairs[:, 0]], points[pairs[:, 1]]
    along = np.argsort(upper[:, 0])
    above = np.interp(lower[:, 0], upper[along, 0], upper[along, 1])
    return above - lower[:, 1]


def similarity(
    source: Float[np.ndarray, "N 3"], target: Float[np.ndarray, "N 3"]
) -> tuple[float, Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Scale, rotation and translation that bring `source` onto `target` (Umeyama 1991)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    u, values, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = float((values * sign).sum() / (a**2).sum())
    return scale, rotation, target_mean - scale * rotation @ source_mean


class FaceComparison:
    """One head's face laid over another's: similarity first, then each vertex on the other's skin."""

    def __init__(self, head: HeadModel, other: HeadModel) -> None:
        self._head, self._other = head, other
        own, its = surface_landmarks(head)[:468], surface_landmarks(other)[:468]
        inner = np.setdiff1d(np.arange(468), OVAL)  # the outline slides on both heads
        vertices, areas = _face_vertices(head, own)
        skin = _skin(other)
        target = posed(other)
        scale, rotation, translation = similarity(own[inner], its[inner])
        self.landmark_rms_mm = 1e3 * _rms(
            scale * own[inner] @ rotation.T + translation - its[inner], np.ones(len(inner))
        )
        neutral = posed(head)[vertices]
        moved = reached = neutral
        for _ in range(20):
            moved = scale * neutral @ rotation.T + translation
            triangle, shares = closest_points(target, skin, moved)
            reached = np.einsum("nk,nkc->nc", shares, target[skin[triangle]])
            scale, rotation, translation = similarity(neutral, reached)
        self.surface_rms_mm = 1e3 * _rms(moved - reached, areas)
        self.areas = areas
        self._vertices, self._own_of_other = (
            vertices,
            _FaceMap(
                own,
                its,
                neutral,
                target,
                skin,
                _lower_lip(head)[vertices],
                _lower_lip(other),
            ),
        )

    def cosine(self, name: str) -> tuple[float, float]:
        """Between the displacement fields of one shape: over the face's area, at the landmarks."""
        return (
            _cosine(self._field(name), self._other_field(name), self.areas),
            _cosine(_landmark_field(self._head, name), _landmark_field(self._other, name)),
        )

    def _field(self, name: str) -> np.ndarray:
        return (posed(self._head, **{name: 1.0}) - posed(self._head))[self._vertices]

    def _other_field(self, name: str) -> np.ndarray:
        field = posed(self._other, **{name: 1.0}) - posed(self._other)
        return self._own_of_other.carried(field)


class _FaceMap:
    """Where the vertices of one face lie on another: bent by the landmarks, then the closest point
    on the same lip's side."""

    def __init__(
        self,
        own_landmarks: np.ndarray,
        its_landmarks: np.ndarray,
        points: np.ndarray,
        target: np.ndarray,
        skin: np.ndarray,
        lower: np.ndarray,
        its_lower: np.ndarray,
    ) -> None:
        bend = RBFInterpolator(
            own_landmarks, its_landmarks, kernel="thin_plate_spline", smoothing=_SMOOTHING
        )
        moved = bend(points)
        on_lower = its_lower[skin].all(1)
        self._corners = np.zeros((len(points), 3), int)
        self._shares = np.zeros((len(points), 3))
        for side in (False, True):
            chosen, among = lower == side, skin[on_lower == side]
            triangle, shares = closest_points(target, among, moved[chosen])
            self._corners[chosen], self._shares[chosen] = among[triangle], shares

    def carried(self, field: np.ndarray) -> np.ndarray:
        return np.einsum("nk,nkc->nc", self._shares, field[self._corners])


def closest_points(
    vertices: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    points: Float[np.ndarray, "N 3"],
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, "N 3"]]:
    """The closest triangle of each point and where in it, among those whose centroids are near."""
    corners = vertices[triangles]
    near = np.asarray(KDTree(corners.mean(1)).query(points, k=min(_NEAREST, len(triangles)))[1])
    a, b, c = (corners[near][:, :, k] for k in range(3))  # [N, K, 3]
    shares = _clamped(points[:, None] - a, b - a, c - a)
    reached = (shares[..., None] * corners[near]).sum(2)
    best = ((reached - points[:, None]) ** 2).sum(-1).argmin(1)
    row = np.arange(len(points))
    return near[row, best], shares[row, best]


def _clamped(offset: np.ndarray, ab: np.ndarray, ac: np.ndarray) -> np.ndarray:
    """Barycentrics [..., 3] of the point of each triangle that is closest to a + offset."""
    dots = [(x * y).sum(-1) for x, y in ((ab, ab), (ab, ac), (ac, ac), (offset, ab), (offset, ac))]
    d00, d01, d11, d20, d21 = dots
    area = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    choices = [np.stack([v, w], -1)]
    on_ab = np.clip(d20 / np.maximum(d00, 1e-30), 0, 1)
    on_ac = np.clip(d21 / np.maximum(d11, 1e-30), 0, 1)
    bc2 = np.maximum(d00 - 2 * d01 + d11, 1e-30)
    on_bc = np.clip((d00 - d01 + d21 - d20) / bc2, 0, 1)
    choices += [
        np.stack([on_ab, 0 * on_ab], -1),
        np.stack([0 * on_ac, on_ac], -1),
        np.stack([1 - on_bc, on_bc], -1),
    ]
    vw = np.stack(choices)  # [4, ..., 2]
    missed = ((offset - vw[..., :1] * ab - vw[..., 1:] * ac) ** 2).sum(-1)
    missed[0] = np.where((v >= 0) & (w >= 0) & (v + w <= 1), missed[0], np.inf)
    best = np.take_along_axis(vw, missed.argmin(0)[None, ..., None], 0)[0]
    return np.concatenate([1 - best.sum(-1, keepdims=True), best], axis=-1)


def _face_vertices(head: HeadModel, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of face and lids within the outline that the detector draws, and their areas."""
    parts = torch.tensor([PART_INDEX["face"], PART_INDEX["eyelids"]])
    triangles = head.triangles[torch.isin(head.triangle_part, parts)].numpy()
    vertices = head.neutral.double().numpy()
    corners = vertices[triangles]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    areas = np.zeros(len(vertices))
    np.add.at(areas, triangles, area[:, None] / 6)
    inside = _in_polygon(vertices[:, :2], landmarks[list(OVAL), :2])
    # What lies behind the lips and lids belongs to the outline's inside, but not to the face.
    front = vertices[:, 2] > landmarks[list(OVAL), 2].min() - 0.01
    chosen = np.where(inside & front & (areas > 0))[0]
    return chosen, areas[chosen]


def _skin(head: HeadModel) -> np.ndarray:
    names = ("face", "eyelids", "scalp", "neck", "ears")
    parts = torch.tensor([PART_INDEX[name] for name in names])
    return head.triangles[torch.isin(head.triangle_part, parts)].numpy()


def _lower_lip(head: HeadModel) -> np.ndarray:
    """Which vertices go down with the jaw: tells the lips apart where they touch."""
    drop = -(posed(head, jawOpen=1.0) - posed(head))[:, 1]
    lips = surface_landmarks(head, jawOpen=1.0) - surface_landmarks(head)
    return drop > -0.5 * lips[list(LIPS), 1].min()


def _in_polygon(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    a, b = polygon, np.roll(polygon, -1, axis=0)
    straddles = (a[None, :, 1] > points[:, None, 1]) != (b[None, :, 1] > points[:, None, 1])
    rise = np.where(np.abs(b[:, 1] - a[:, 1]) < 1e-12, 1e-12, b[:, 1] - a[:, 1])
    crossing = a[:, 0] + (points[:, None, 1] - a[None, :, 1]) * (b - a)[:, 0] / rise
    return (straddles & (points[:, None, 0] < crossing)).sum(1) % 2 == 1


def _landmark_field(head: HeadModel, name: str) -> np.ndarray:
    return (surface_landmarks(head, **{name: 1.0}) - surface_landmarks(head))[:468]


def _cosine(a: np.ndarray, b: np.ndarray, weights: np.ndarray | None = None) -> float:
    w = np.ones(len(a)) if weights is None else weights
    product = (w[:, None] * a * b).sum()
    length = np.sqrt((w[:, None] * a * a).sum() * (w[:, None] * b * b).sum())
    return float(product / length) if length > 0 else float("nan")


def _rms(offsets: np.ndarray, weights: np.ndarray) -> float:
    return float(np.sqrt((weights * (offsets**2).sum(1)).sum() / weights.sum()))
