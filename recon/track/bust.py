"""Where the shoulders are while only the face is seen: a physical rule from the head's pose.

The torso stands on a waist below the neck. A head that moves away takes the neck's base with it,
so the torso leans from the waist; a head that turns leaves it where it is (with a fifth of the turn,
renders of seven clips of eight were farther from the truth, .1 dB of the crop on average):

    bust = lean(t) bust_reference,     neck_rotation = bust^-1 R.

It is a function of the pose and of one reference alone, so that frames which no fit has seen
follow the same rule as those that it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from avatar3d.codes import ExpressionCode
from avatar3d.geometry import (
    matrix_to_quaternion,
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_power,
    quaternion_to_matrix,
    rotation_vector_to_quaternion,
)
from avatar3d.heads import HeadModel
from avatar3d.heads.skinning import HEAD, NECK

WAIST_BELOW_NECK_M = 0.45  # neck base (C7) to the lumbar spine of an adult
REFERENCE_YAW_SHARE = 0.3  # people turned from the camera have turned part of it with the body


@dataclass(frozen=True)
class BustReference:
    """The head's usual pose with the bust that belongs to it, and the points the rule turns about."""

    head_rotation: Float[Tensor, 4]  # wxyz
    head_translation: Float[Tensor, 3]  # metres
    bust_rotation: Float[Tensor, 4]
    skull_base: Float[Tensor, 3]  # head frame, metres: moves with the head
    waist: Float[Tensor, 3]  # world, metres: stays


def bust_reference(
    head: HeadModel, identity: Tensor | None, codes: ExpressionCode
) -> BustReference:
    """From the support frames [F]: their mean head pose, an upright bust below it."""
    joints = head.joints
    if identity is not None:
        joints = joints + torch.einsum("i,ijc->jc", identity, head.joint_identity[: len(identity)])
    rotation = _mean_rotation(codes.head_rotation)
    translation = codes.head_translation.mean(0)
    forward = quaternion_to_matrix(rotation)[:, 2]
    yaw = torch.atan2(forward[0], forward[2])
    bust = rotation_vector_to_quaternion(
        torch.stack([torch.zeros_like(yaw), REFERENCE_YAW_SHARE * yaw, torch.zeros_like(yaw)])
    )
    skull_base = joints[HEAD]
    # The neck hangs between skull and bust and shares the bend half and half, as the skin does.
    half = quaternion_power(_neck(bust, rotation), -0.5)
    neck_frame = quaternion_to_matrix(quaternion_multiply(rotation, half))
    neck_base = (
        quaternion_to_matrix(rotation) @ skull_base
        + translation
        + neck_frame @ (joints[NECK] - skull_base)
    )
    waist = neck_base - torch.tensor([0.0, WAIST_BELOW_NECK_M, 0.0])
    return BustReference(rotation, translation, bust, skull_base, waist)


def neck_rotation(
    head_rotation: Float[Tensor, "*batch 4"],
    head_translation: Float[Tensor, "*batch 3"],
    reference: BustReference,
) -> Float[Tensor, "*batch 4"]:
    """The skull relative to the bust, wxyz; differentiable."""
    upright = (
        _skull_base(reference.head_rotation, reference.head_translation, reference)
        - reference.waist
    )
    leaning = _skull_base(head_rotation, head_translation, reference) - reference.waist
    lean = _rotation_between(upright.expand_as(leaning), leaning)
    return _neck(quaternion_multiply(lean, reference.bust_rotation), head_rotation)


def _neck(bust: Tensor, head: Tensor) -> Tensor:
    return quaternion_multiply(quaternion_conjugate(bust), head)


def _skull_base(rotation: Tensor, translation: Tensor, reference: BustReference) -> Tensor:
    return quaternion_to_matrix(rotation) @ reference.skull_base + translation


def _rotation_between(a: Tensor, b: Tensor) -> Tensor:
    """The shortest rotation that takes the direction of `a` to that of `b`, [..., 3] -> [..., 4]."""
    a, b = normalize(a, dim=-1), normalize(b, dim=-1)
    real = 1 + (a * b).sum(-1, keepdim=True)
    return normalize(torch.cat([real, torch.linalg.cross(a, b)], dim=-1), dim=-1)


def _mean_rotation(quaternions: Float[Tensor, "F 4"]) -> Float[Tensor, 4]:
    """Chordal mean: the rotation next to the mean of the matrices."""
    u, _, vt = torch.linalg.svd(quaternion_to_matrix(quaternions).mean(0))
    sign = torch.linalg.det(u @ vt)
    return matrix_to_quaternion(
        u @ torch.diag(torch.stack([sign * 0 + 1, sign * 0 + 1, sign])) @ vt
    )
