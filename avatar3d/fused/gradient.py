"""`avatar.pose_gaussians` of one code with its gradient, each in one pass over the anchors.

Fitting calls it at every step; as torch operations it costs as much as the drawing does. The frames'
orientation and stretch are constants here: refinement renews them now and then. Float32 on a CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avatar3d import light as lighting
from avatar3d.binding import Frames
from avatar3d.codes import ExpressionCode
from avatar3d.gaussians import Gaussians
from avatar3d.numba_threads import in_parallel

if TYPE_CHECKING:
    from avatar3d.avatar import Attributes, ExpressionBasis


def shading(frames: Frames, light: Tensor | None, lit: Tensor | None = None) -> Tensor:
    """What `pose_gaussians` multiplies the colours with, [N, 3]; ones without `light` [9, 3]."""
    if light is None:
        return torch.ones_like(frames.positions)
    return lighting.shade(light, frames.rotations[..., :, 2], lit)


def pose_gaussians(
    frames: Frames,
    code: ExpressionCode,
    attributes: Attributes,
    basis: ExpressionBasis | None,
    shade: Tensor,
    members: Members | None = None,
) -> Gaussians:
    """As `avatar.pose_gaussians` of one code, `shade` [N, 3] from `shading`; differentiable in the
    frames' positions, the code's coefficients (through the basis), attributes and basis. With
    `members` the basis has rows [K, M, 3] of those anchors alone.

    Agrees with it to the roundings of float32 (tests: 2e-6 of each gradient's greatest value).
    """
    count = len(frames.positions)
    members = members or Members(np.arange(count), count)
    if basis is None:
        nothing = frames.positions.new_zeros(0, members.count, 3)
        weights, basis_offsets, basis_colors = frames.positions.new_zeros(0), nothing, nothing
    else:
        weights = basis.weights(code.coefficients)
        basis_offsets, basis_colors = basis.offsets, basis.colors
    values = (
        frames.positions, weights, attributes.offsets, attributes.rotations,
        attributes.log_scales, attributes.opacity_logits, attributes.colors, basis_offsets,
        basis_colors,
    )  # fmt: skip
    return Gaussians(*_Pose.apply(*values, _Fixed(frames, shade, members)))


class Members:
    """The anchors that an expression basis moves, in order, of `anchor_count`."""

    def __init__(self, members: np.ndarray, anchor_count: int) -> None:
        from avatar3d.fused import gradient_kernels

        chunk = gradient_kernels.CHUNK
        bounds = np.arange(0, anchor_count + chunk, chunk)
        self.count = len(members)
        self.anchors = members.astype(np.int64)
        self.starts = np.searchsorted(members, bounds).astype(np.int64)  # by chunks of anchors


class _Fixed:
    """What gets no gradient, as arrays."""

    def __init__(self, frames: Frames, shade: Tensor, members: Members) -> None:
        self.members = members
        self.rotations, self.quaternions, self.stretch, self.shade = (
            _array(value) for value in (frames.rotations, frames.quaternions, frames.stretch, shade)
        )


class _Pose(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        from avatar3d.fused import gradient_kernels

        *values, fixed = inputs
        positions, weights, offsets, turns, log_scales, logits, colors, *basis = (
            _array(value) for value in values
        )
        count = len(positions)
        members = fixed.members
        basis = [directions.reshape(len(weights), 3 * members.count) for directions in basis]
        means, scales, lit_colors = (np.empty((count, 3), np.float32) for _ in range(3))
        quaternions, opacities = np.empty((count, 4), np.float32), np.empty(count, np.float32)
        results = (means, quaternions, scales, opacities, lit_colors)
        in_parallel(
            gradient_kernels.pose, positions, fixed.rotations, fixed.quaternions, fixed.stretch,
            fixed.shade, weights, offsets.ravel(), turns, log_scales, logits, colors.ravel(), *basis,
            members.anchors, members.starts, *results,
        )  # fmt: skip
        ctx.fixed, ctx.shapes = fixed, [value.shape for value in values]
        gaussians = tuple(torch.from_numpy(result) for result in results)
        ctx.save_for_backward(values[1], values[3], values[7], values[8], *gaussians[2:])
        return gaussians

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients):
        from avatar3d.fused import gradient_kernels

        fixed = ctx.fixed
        weights, turns, basis_offsets, basis_colors, scales, opacities, lit_colors = (
            _array(value) for value in ctx.saved_tensors
        )
        count, rank = len(turns), len(weights)
        to_offsets, to_colors = (np.empty(3 * count, np.float32) for _ in range(2))
        to_log_scales = np.empty((count, 3), np.float32)
        to_turns, to_logits = np.empty((count, 4), np.float32), np.empty(count, np.float32)
        members, room = fixed.members, 3 * fixed.members.count
        to_basis_offsets, to_basis_colors = (np.empty((rank, room), np.float32) for _ in range(2))
        basis_offsets, basis_colors = (
            directions.reshape(rank, room) for directions in (basis_offsets, basis_colors)
        )
        chunks = -(-count // gradient_kernels.CHUNK)
        to_weights = np.zeros((chunks, rank), np.float32)
        by_means = _array(gradients[0])
        in_parallel(
            gradient_kernels.pose_backward, fixed.rotations, fixed.quaternions, fixed.shade,
            weights, turns, basis_offsets, basis_colors, members.anchors, members.starts, scales,
            opacities, lit_colors, by_means,
            *(_array(gradient) for gradient in gradients[1:]), to_offsets, to_turns, to_log_scales,
            to_logits, to_colors, to_basis_offsets, to_basis_colors, to_weights,
        )  # fmt: skip
        results = (
            by_means, to_weights.sum(0), to_offsets, to_turns, to_log_scales, to_logits, to_colors,
            to_basis_offsets, to_basis_colors,
        )  # fmt: skip
        shaped = (
            torch.from_numpy(result).reshape(shape) for result, shape in zip(results, ctx.shapes)
        )
        return *shaped, None


def _array(value: Tensor) -> np.ndarray:
    return value.detach().contiguous().numpy()
