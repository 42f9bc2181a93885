"""Posed Gaussians with their gradient, wherever the tensors lie."""

from __future__ import annotations

from torch import Tensor

from avatar3d import avatar
from avatar3d.avatar import Attributes, ExpressionBasis
from avatar3d.binding import Frames
from avatar3d.codes import ExpressionCode
from avatar3d.fused import gradient
from avatar3d.gaussians import Gaussians


def pose_gaussians(
    frames: Frames,
    code: ExpressionCode,
    attributes: Attributes,
    basis: ExpressionBasis | None,
    shade: Tensor,
) -> Gaussians:
    """`avatar3d.fused.gradient.pose_gaussians`; as torch operations where that does not run, on a
    GPU. `shade` [N, 3] comes from `avatar3d.fused.gradient.shading`."""
    if frames.positions.device.type == "cpu":
        return gradient.pose_gaussians(frames, code, attributes, basis, shade)
    return plain_gaussians(frames, code, attributes, basis, shade)


def plain_gaussians(
    frames: Frames,
    code: ExpressionCode,
    attributes: Attributes,
    basis: ExpressionBasis | None,
    shade: Tensor,
) -> Gaussians:
    """The same as torch operations. The frames' orientation and stretch get a gradient here if they
    ask for one; refinement's do not."""
    gaussians = avatar.pose_gaussians(frames, code, attributes, basis)
    return gaussians._replace(colors=gaussians.colors * shade)  # shade > 0: it may follow the clamp
