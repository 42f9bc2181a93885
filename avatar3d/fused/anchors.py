"""A binding's anchors for the kernels: `Binding.frames` without gradient, `Binding.positions` with it.

Fitting asks for both at every step, of one code. As torch operations on a dozen small tensors they
cost as much as the drawing does.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avatar3d.binding import Binding, Frames
from avatar3d.codes import ExpressionCode
from avatar3d.fused import layout
from avatar3d.fused.layout import Pose
from avatar3d.fused.stage import mesh_of
from avatar3d.numba_threads import in_parallel
from avatar3d.optional import numba_is_here


def anchors_of(binding: Binding) -> Binding | FusedAnchors:
    """The binding's anchors by kernels, or the binding itself where those do not run: on a GPU, and
    for heads that bend their shapes with the pose."""
    rig = binding.rig
    plain = rig.pose_correctives is None and rig.joint_expression is None
    on_cpu = rig.neutral.device.type == "cpu" and rig.neutral.dtype == torch.float32
    return FusedAnchors(binding) if plain and on_cpu and numba_is_here() else binding


class FusedAnchors:
    """One person's anchors; codes are single ones of float32. Agrees with `Binding` to the roundings
    of float32 (tests: positions within 1e-6 m, gradients within 2e-5 of the greatest)."""

    def __init__(self, binding: Binding) -> None:
        self._mesh = mesh_of(binding)
        self._corners = binding.anchor_corners.numpy().astype(np.uint32)
        self._barycentrics = binding.anchor_barycentrics.contiguous().numpy()
        self._rest_tangent = binding.rest_tangent.contiguous().numpy()
        self._rest_area = binding.rest_area.contiguous().numpy()
        # The same by vertices: which anchors hang on each, and by how much.
        order = np.argsort(self._corners.reshape(-1), kind="stable")
        vertices = len(self._mesh.neutral)
        ends = np.bincount(self._corners.reshape(-1), minlength=vertices).cumsum()
        self._starts = np.concatenate([[0], ends]).astype(np.uint32)
        self._anchors = (order // 3).astype(np.uint32)
        self._shares = self._barycentrics.reshape(-1)[order]

    @torch.no_grad()
    def frames(self, code: ExpressionCode) -> Frames:
        """As `Binding.frames`, of one code and without gradient."""
        from avatar3d.fused import anchor_kernels, kernels

        pose = _pose(code)
        _, _, surface = self._surface(pose)
        in_parallel(kernels.sum_rings, self._mesh, surface)
        count = len(self._corners)
        positions, rotations = np.empty((count, 3), np.float32), np.empty((count, 3, 3), np.float32)
        quaternions, stretch = np.empty((count, 4), np.float32), np.empty((count, 2), np.float32)
        place = (surface, self._corners, self._barycentrics)
        in_parallel(anchor_kernels.place, *place, pose.head_translation, positions)
        in_parallel(
            anchor_kernels.stand, *place, self._rest_tangent, self._rest_area, rotations,
            quaternions, stretch,
        )  # fmt: skip
        return Frames(*map(torch.from_numpy, (positions, rotations, quaternions, stretch)))

    def positions(self, code: ExpressionCode) -> Tensor:
        """As `Binding.positions`, of one code; differentiable in it, once."""
        return _Positions.apply(*code, self)

    def place(self, pose: Pose) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions [N, 3], and what `pull` needs: joints and shapes' weights."""
        from avatar3d.fused import anchor_kernels

        transforms, weights, surface = self._surface(pose)
        positions = np.empty((len(self._corners), 3), np.float32)
        in_parallel(
            anchor_kernels.place, surface, self._corners, self._barycentrics,
            pose.head_translation, positions,
        )  # fmt: skip
        return positions, transforms, weights

    def pull(
        self, pose: Pose, transforms: np.ndarray, weights: np.ndarray, gradient: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """The gradient of positions as one of the code's four parts."""
        from avatar3d.fused import anchor_kernels

        mesh = self._mesh
        chunks = -(-len(mesh.neutral) // anchor_kernels.VERTEX_CHUNK)
        by_transforms = np.zeros((chunks, *transforms.shape), np.float32)
        by_weights = np.zeros((chunks, len(weights)), np.float32)
        in_parallel(
            anchor_kernels.place_backward, gradient, weights, transforms, mesh, self._starts,
            self._anchors, self._shares, by_transforms, by_weights,
        )  # fmt: skip
        coefficients = np.zeros(len(pose.coefficients))
        head, neck = np.zeros(4), np.zeros(4)
        anchor_kernels.code_backward(
            pose, mesh, by_transforms.sum(0, dtype=np.float64),
            by_weights.sum(0, dtype=np.float64), coefficients, head, neck,
        )  # fmt: skip
        return coefficients, head, gradient.sum(0, dtype=np.float64), neck

    def _surface(self, pose: Pose) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Joints, shapes' weights, and the vertices they move, at the head's own place."""
        from avatar3d.fused import kernels

        transforms, weights = kernels.prepare_mesh(pose, self._mesh)
        surface = np.empty((len(self._mesh.neutral), layout.SURFACE_COLUMNS), np.float32)
        in_parallel(kernels.pose_vertices, weights, transforms, self._mesh, surface)
        return transforms, weights, surface


def _pose(code: ExpressionCode) -> Pose:
    return Pose(*(value.detach().contiguous().numpy() for value in code))


class _Positions(torch.autograd.Function):
    @staticmethod
    def forward(ctx, coefficients, head_rotation, head_translation, neck_rotation, anchors):
        ctx.pose = _pose(
            ExpressionCode(coefficients, head_rotation, head_translation, neck_rotation)
        )
        ctx.anchors = anchors
        positions, ctx.transforms, ctx.weights = anchors.place(ctx.pose)
        return torch.from_numpy(positions)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        parts = ctx.anchors.pull(
            ctx.pose, ctx.transforms, ctx.weights, gradient.contiguous().numpy()
        )
        return *(torch.from_numpy(part).float() for part in parts), None
