"""Posed Gaussians with their gradient, wherever the tensors lie."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from avatar3d import avatar
from avatar3d.avatar import Attributes, ExpressionBasis
from avatar3d.binding import Frames
from avatar3d.codes import ExpressionCode
from avatar3d.fused import gradient
from avatar3d.fused.gradient import Members
from avatar3d.gaussians import Gaussians


def pose_gaussians(
    frames: Frames,
    code: ExpressionCode,
    attributes: Attributes,
    basis: ExpressionBasis | None,
    shade: Tensor,
    members: Members | None = None,
) -> Gaussians:
    """`avatar3d.fused.gradient.pose_gaussians`; as torch operations where that does not run, on a
    GPU. `shade` [N, 3] comes from `avatar3d.fused.gradient.shading`."""
    if frames.positions.device.type == "cpu":
        return gradient.pose_gaussians(frames, code, attributes, basis, shade, members)
    return plain_gaussians(frames, code, attributes, basis, shade, members)


def plain_gaussians(
    frames: Frames,
    code: ExpressionCode,
    attributes: Attributes,
    basis: ExpressionBasis | None,
    shade: Tensor,
    members: Members | None = None,
) -> Gaussians:
    """The same as torch operations. The frames' orientation and stretch get a gradient here if they
    ask for one; refinement's do not."""
    if basis is not None and members is not None:
        basis = spread(basis, members, len(frames.positions))
    gaussians = avatar.pose_gaussians(frames, code, attributes, basis)
    return gaussians._replace(colors=gaussians.colors * shade)  # shade > 0: it may follow the clamp


def spread(basis: ExpressionBasis, members: Members, count: int) -> ExpressionBasis:
    """A basis that has rows [K, M, 3] of its members as one of all anchors [K, N, 3], zero where it
    moves none; differentiable."""
    offsets, colors = (
        rows.new_zeros(len(rows), count, 3).index_copy(
            1, torch.from_numpy(members.anchors).to(rows.device), rows
        )
        for rows in (basis.offsets, basis.colors)
    )
    return replace(basis, offsets=offsets, colors=colors)
