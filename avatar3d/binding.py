"""Anchors on a moving surface: positions and frames that are continuous across triangle edges.

A frame from one triangle jumps at its edges. Here each vertex carries the area-weighted sum of
its triangles' normals and tangents, and an anchor interpolates its triangle's corners. A
triangle's tangent is a fixed combination of its edges, chosen so that on the mean head all
tangents follow one field, circles around the vertical axis; being made of edges it turns and
stretches with the skin.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from avatar3d.codes import ExpressionCode
from avatar3d.geometry import matrix_to_quaternion, triangle_normals
from avatar3d.template import Template

STRETCH_LIMITS = (0.3, 3.0)


class Frames(NamedTuple):
    """Where the anchors are and how they stand, for one code or a batch."""

    positions: Tensor  # [..., N, 3] metres, world
    rotations: Tensor  # [..., N, 3, 3]: columns tangent, bitangent, normal
    quaternions: Tensor  # [..., N, 4] wxyz, the same rotations
    stretch: Tensor  # [..., N, 2]: growth along tangent and bitangent since the neutral face


class Binding:
    """One person's anchors, ready to follow codes."""

    def __init__(self, template: Template, identity: Tensor | None) -> None:
        head = template.head
        # Only triangles that carry an anchor take part: a third of the mesh.
        used_triangles, anchor_triangle = torch.unique(template.triangle, return_inverse=True)
        used_vertices, corners = torch.unique(head.triangles[used_triangles], return_inverse=True)
        self.rig = head.rig(identity, used_vertices)
        self.triangles = corners  # [F', 3]
        vertex_count, triangle_count = len(used_vertices), len(used_triangles)

        self.tangent_weights = _tangent_weights(head.neutral[used_vertices], corners)
        self._to_vertices = SparseMap(
            rows=corners.T.reshape(-1),
            columns=torch.arange(triangle_count).repeat(3),
            values=torch.ones(3 * triangle_count),
            shape=(vertex_count, triangle_count),
        )
        count = template.count
        self.anchor_corners = corners[anchor_triangle]  # [N, 3]
        self.anchor_barycentrics = template.barycentrics  # [N, 3]
        self._to_anchors = SparseMap(
            rows=torch.arange(count).repeat(3),
            columns=self.anchor_corners.T.reshape(-1),
            values=template.barycentrics.T.reshape(-1),
            shape=(count, vertex_count),
        )
        rest = self._surface(self.rig.neutral)
        self.rest_tangent = _tangent_length(rest)
        self.rest_area = rest[..., 3:6].norm(dim=-1)

    def frames(self, code: ExpressionCode) -> Frames:
        """The anchors' frames for one code or a batch; differentiable."""
        # Near the origin: normals are differences of vertices, which lose digits far from it.
        near = code._replace(head_translation=torch.zeros_like(code.head_translation))
        frames = self._oriented(self._surface(self.rig.pose(near)))
        return frames._replace(positions=frames.positions + code.head_translation[..., None, :])

    def positions(self, code: ExpressionCode) -> Tensor:
        """The anchors alone, [..., N, 3] metres in the world: a third of the work of `frames`."""
        return self._to_anchors(self.rig.pose(code))

    def _oriented(self, surface: Tensor) -> Frames:
        positions, normals, tangents = surface.split(3, dim=-1)
        normal = normalize(normals, dim=-1)
        along = tangents - normal * (normal * tangents).sum(-1, keepdim=True)
        tangent = normalize(along, dim=-1)
        rotations = torch.stack([tangent, torch.linalg.cross(normal, tangent), normal], dim=-1)
        growth_tangent = along.norm(dim=-1) / self.rest_tangent
        growth_area = normals.norm(dim=-1) / self.rest_area
        stretch = torch.stack(
            [growth_tangent, growth_area / growth_tangent.clamp(min=1e-3)], dim=-1
        ).clamp(*STRETCH_LIMITS)
        return Frames(positions, rotations, matrix_to_quaternion(rotations), stretch)

    def _surface(self, vertices: Tensor) -> Tensor:
        """Position, summed normal and summed tangent at every anchor, [..., N, 9]."""
        a, b, c = (vertices[..., self.triangles[:, corner], :] for corner in range(3))
        normals = triangle_normals(vertices, self.triangles)
        first, second = self.tangent_weights.unbind(-1)
        tangents = first[:, None] * (b - a) + second[:, None] * (c - a)
        at_vertices = self._to_vertices(torch.cat([normals, tangents], dim=-1))
        return self._to_anchors(torch.cat([vertices, at_vertices], dim=-1))


def _tangent_length(surface: Tensor) -> Tensor:
    normal = normalize(surface[..., 3:6], dim=-1)
    tangent = surface[..., 6:9]
    return (
        (tangent - normal * (normal * tangent).sum(-1, keepdim=True)).norm(dim=-1).clamp(min=1e-12)
    )


def _tangent_weights(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Weights [F, 2] of the two edges that make each triangle's tangent, times its area."""
    a, b, c = vertices[triangles].unbind(1)
    first, second = b - a, c - a
    normal = torch.linalg.cross(first, second)
    area = normal.norm(dim=-1) / 2
    centre = (a + b + c) / 3
    # Around the vertical through the skull; the +X keeps the crown's pole off the axis.
    axis_z = -0.09
    field = torch.stack([centre[:, 2] - axis_z, torch.zeros(len(centre)), -centre[:, 0]], dim=-1)
    field = normalize(field + torch.tensor([1e-4, 0.0, 0.0]), dim=-1)
    unit_normal = normalize(normal, dim=-1)
    tangent = field - unit_normal * (unit_normal * field).sum(-1, keepdim=True)
    # Least squares of tangent = w1 first + w2 second, both in the triangle's plane.
    g11, g12, g22 = (first * first).sum(-1), (first * second).sum(-1), (second * second).sum(-1)
    r1, r2 = (first * tangent).sum(-1), (second * tangent).sum(-1)
    determinant = (g11 * g22 - g12 * g12).clamp(min=1e-18)
    weights = torch.stack([g22 * r1 - g12 * r2, g11 * r2 - g12 * r1], dim=-1)
    return weights * (area / determinant)[:, None]


class SparseMap:
    """A fixed sparse matrix times dense columns, differentiable in the columns.

    The transpose is laid out once; torch would convert it at every backward pass.
    """

    def __init__(self, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]):
        self.matrix = _csr(rows, columns, values, shape)
        self._transpose = _csr(columns, rows, values, (shape[1], shape[0]))

    def __call__(self, dense: Tensor) -> Tensor:
        """[..., columns, C] -> [..., rows, C]."""
        batch, channels = dense.shape[:-2], dense.shape[-1]
        flat = dense.reshape(-1, *dense.shape[-2:])  # [B, columns, C]
        wide = flat.movedim(0, 1).reshape(dense.shape[-2], -1)
        product = _SparseProduct.apply(wide, self.matrix, self._transpose)
        return product.reshape(-1, len(flat), channels).movedim(1, 0).reshape(*batch, -1, channels)


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dense: Tensor, matrix: Tensor, transpose: Tensor) -> Tensor:
        ctx.transpose = transpose
        return matrix @ dense

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return ctx.transpose @ gradient.contiguous(), None, None


def _csr(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    order = torch.argsort(rows * shape[1] + columns)
    counts = torch.bincount(rows, minlength=shape[0])
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    with warnings.catch_warnings():
        # torch says once that sparse CSR is in beta; products with dense columns are all we use.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        return torch.sparse_csr_tensor(
            starts, columns[order], values[order], shape, check_invariants=False
        )
