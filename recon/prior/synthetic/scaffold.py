"""Where a synthetic person's Gaussians are fastened: dense anchors on one identity's head."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from avatar3d.binding import Binding
from avatar3d.codes import ExpressionCode
from avatar3d.heads import HeadModel
from avatar3d.heads.model import PART_INDEX
from avatar3d.template import SKIN, Template
from recon.prior.synthetic.occlusion import open_sky

# Millimetres between neighbours, by part. Finer where faces are looked at.
_SPACING_MM = {
    "face": 1.25, "eyelids": 0.9, "scalp": 2.4, "ears": 1.8, "neck": 2.2, "bust": 3.2,
    "left_eyeball": 0.55, "right_eyeball": 0.55, "upper_teeth": 0.9, "lower_teeth": 0.9,
    "gums": 2.0, "tongue": 1.6, "mouth": 2.0,
}  # fmt: skip
_FINE = 0.65  # of the face's spacing, at eyes and lips
_PLASTIC = (0.7548776662466927, 0.5698402909980532)  # the most even sequence in two dimensions


@dataclass(frozen=True)
class Scaffold:
    """Dense anchors of one identity, and how they stand on the neutral face (head frame)."""

    template: Template
    binding: Binding
    places: Float[np.ndarray, "N 3"]  # on the mean head: what masks are painted by
    points: Float[np.ndarray, "N 3"]  # on this person
    frames: Float[np.ndarray, "N 3 3"]  # columns tangent, bitangent, normal
    shadow: Float[np.ndarray, " N"]  # share of the surroundings that the anchor sees
    landmarks: Float[np.ndarray, "478 3"]  # on the skin, of this person
    mean_landmarks: Float[np.ndarray, "478 3"]

    @property
    def normals(self) -> Float[np.ndarray, "N 3"]:
        return self.frames[:, :, 2]

    @property
    def spacing(self) -> Float[np.ndarray, " N"]:
        return self.template.spacing.numpy()

    def on(self, *parts: str) -> Int[np.ndarray, " M"]:
        """Anchors on these parts."""
        wanted = [PART_INDEX[name] for name in parts]
        return np.flatnonzero(np.isin(self.template.part.numpy(), wanted))

    @cached_property
    def _lain_on(self) -> Int[np.ndarray, " M"]:
        """Every fifth of the face, where anchors are far denser than hair needs."""
        return np.concatenate([self.on("face")[::5], self.on("scalp", "ears", "neck", "bust")[::2]])

    @cached_property
    def _outside_tree(self) -> KDTree:
        return KDTree(self.points[self._lain_on])

    @cached_property
    def _face_tree(self) -> tuple[np.ndarray, KDTree]:
        face = self.on("face", "eyelids")
        return face, KDTree(self.points[face])

    def nearest(self, points: Float[np.ndarray, "P 3"]) -> Int[np.ndarray, " P"]:
        """Anchors on the skin near points, [P]: the nearest of those that hair lies on."""
        return self._lain_on[self._outside_tree.query(points)[1]]

    def nearest_on_face(self, points: Float[np.ndarray, "P 3"]) -> Int[np.ndarray, " P"]:
        face, tree = self._face_tree
        return face[tree.query(points)[1]]


def scaffold(head: HeadModel, identity: Tensor) -> Scaffold:
    template, sky = _dense_template(head), open_sky(head)
    binding = Binding(template, identity)
    rest = binding.frames(ExpressionCode.neutral())
    corners = head.triangles[template.triangle].numpy()
    barycentrics = template.barycentrics.numpy()
    shape = head.rig(identity).neutral
    return Scaffold(
        template=template,
        binding=binding,
        places=template.neutral_points().numpy().astype(np.float64),
        points=rest.positions.numpy().astype(np.float64),
        frames=rest.rotations.numpy().astype(np.float64),
        shadow=(sky[corners] * barycentrics).sum(1),
        landmarks=_on_skin(head, shape),
        mean_landmarks=_on_skin(head, head.neutral),
    )


def _on_skin(head: HeadModel, vertices: Tensor) -> np.ndarray:
    corners = vertices[head.triangles[head.landmark_triangles]]
    return torch.einsum("lk,lkc->lc", head.landmark_barycentrics, corners).double().numpy()


@lru_cache(maxsize=2)
def _dense_template(head: HeadModel) -> Template:
    """Evenly spread anchors, part by part; deterministic."""
    corners = head.neutral[head.triangles].double().numpy()
    areas = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    areas /= 2
    wanted = np.zeros(len(areas))
    for name, spacing_mm in _SPACING_MM.items():
        own = head.triangle_part.numpy() == PART_INDEX[name]
        wanted[own] = (spacing_mm * 1e-3) ** 2
    wanted *= 1 - (1 - _FINE**2) * _looked_at(head, corners.mean(1))
    cumulative = np.cumsum(areas / wanted)
    count = int(cumulative[-1])
    order = np.arange(count) + 0.5
    triangle = np.searchsorted(cumulative, order).clip(max=len(areas) - 1)
    u, v = np.sqrt((order * _PLASTIC[0]) % 1.0), (order * _PLASTIC[1]) % 1.0
    barycentrics = np.stack([1 - u, u * (1 - v), u * v], axis=1)
    chosen = torch.from_numpy(triangle)
    return Template(
        head=head,
        triangle=chosen,
        barycentrics=torch.from_numpy(barycentrics).float(),
        part=head.triangle_part[chosen],
        layer=torch.full((count,), SKIN),
        spacing=torch.from_numpy(np.sqrt(wanted[triangle])).float(),
    )


def _looked_at(head: HeadModel, centres: np.ndarray) -> np.ndarray:
    """1 at lips and eyes, 0 away from them, [F]."""
    mouth = _on_skin(head, head.neutral)[[13, 14]].mean(0)
    from_mouth = ((centres - mouth) / [0.034, 0.02, 0.034]) ** 2
    from_eye = ((np.abs(centres[:, :1]) - 0.031) / 0.026) ** 2 + (
        (centres[:, 1:2] - 0.004) / 0.024
    ) ** 2
    near = np.maximum(np.exp(-from_mouth.sum(1)), np.exp(-from_eye[:, 0]) * (centres[:, 2] > -0.03))
    face = np.isin(head.triangle_part.numpy(), [PART_INDEX["face"], PART_INDEX["eyelids"]])
    return near * face
