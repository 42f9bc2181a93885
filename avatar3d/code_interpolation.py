"""Expression codes between two frames: linear, rotations along the shortest arc."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from avatar3d.codes import ExpressionCode
from avatar3d.geometry import (
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_rotation_vector,
    rotation_vector_to_quaternion,
)


def interpolate_codes(codes: ExpressionCode, positions: Float[Tensor, " M"]) -> ExpressionCode:
    """Codes [M, ...] at `positions` in frames of `codes` [T, ...]; the ends are held."""
    last = codes.coefficients.shape[0] - 1
    clamped = positions.to(torch.float64).clamp(0, last)
    before = clamped.floor().to(torch.int64)
    after = (before + 1).clamp(max=last)
    weight = (clamped - before)[:, None].to(codes.coefficients.dtype)
    a, b = codes.at(before), codes.at(after)
    return ExpressionCode(
        torch.lerp(a.coefficients, b.coefficients, weight),
        slerp(a.head_rotation, b.head_rotation, weight),
        torch.lerp(a.head_translation, b.head_translation, weight),
        slerp(a.neck_rotation, b.neck_rotation, weight),
    )


def slerp(
    a: Float[Tensor, "*N 4"], b: Float[Tensor, "*N 4"], weight: Float[Tensor, "*N 1"]
) -> Float[Tensor, "*N 4"]:
    """From unit quaternions `a` (weight 0) to `b` (weight 1) at constant angular speed."""
    step = quaternion_to_rotation_vector(quaternion_multiply(quaternion_conjugate(a), b))
    return quaternion_multiply(a, rotation_vector_to_quaternion(weight * step))
