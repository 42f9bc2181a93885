"""APD and AED: how far pose and expression of a render are from those asked for.

As used since Siarohin et al. 2019 ("First Order Motion Model", AED there by a face embedder) and in
3D since Ren et al. 2021 ("PIRenderer"): from the codes of a face tracker. Here the codes are the 52
ARKit coefficients and the head's rotation, read by one tracker from both pictures.
"""

from __future__ import annotations

import torch

from avatar3d.codes import ExpressionCode
from avatar3d.geometry import quaternion_conjugate, quaternion_multiply

COEFFICIENTS = 52


def apd(found: ExpressionCode, truth: ExpressionCode) -> float:
    """Angle between the heads' rotations, degrees, of one code each or the mean of batches."""
    turn = quaternion_multiply(quaternion_conjugate(truth.head_rotation), found.head_rotation)
    angle = 2 * torch.atan2(turn[..., 1:].norm(dim=-1), turn[..., 0].abs())
    return float(torch.rad2deg(angle).mean())


def aed(found: ExpressionCode, truth: ExpressionCode) -> float:
    """Mean absolute difference of the 52 coefficients, 0..1."""
    apart = found.coefficients[..., :COEFFICIENTS] - truth.coefficients[..., :COEFFICIENTS]
    return float(apart.abs().mean())
