"""From coefficients and poses to vertices: blend shapes, joints, linear blend skinning."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d.codes import ExpressionCode
from avatar3d.geometry import (
    quaternion_conjugate,
    quaternion_power,
    quaternion_to_matrix,
    rotate,
    rotation_vector_to_quaternion,
)

JOINT_NAMES = ("root", "neck", "head", "jaw", "left_eye", "right_eye")
JOINT_PARENTS = (-1, 0, 1, 2, 2, 2)
ROOT, NECK, HEAD, JAW, LEFT_EYE, RIGHT_EYE = range(6)


@dataclass(frozen=True)
class Rig:
    """One person's points on a head, ready to be posed: shape folded in, any subset of vertices."""

    neutral: Tensor  # [V, 3] metres, head frame
    expression_basis: Tensor  # [E, V * 3] metres at coefficient 1
    skin_weights: Tensor  # [V, J]
    joints: Tensor  # [J, 3] metres
    joint_drive: Tensor  # [E, J, 3] radians at coefficient 1
    joint_expression: Tensor | None = None  # [E, J, 3] metres at coefficient 1
    pose_correctives: Tensor | None = None  # [36, V * 3] metres, see `pose_features`
    combinations: Tensor | None = None  # [C, 3] int64, see `shape_weights`
    combination_amounts: Tensor | None = None  # [C]

    def deform(self, coefficients: Tensor) -> Tensor:
        """Blend shapes alone, [..., E] -> [..., V, 3], before any joint moves."""
        shapes = self.expression_basis.shape[0]
        weights = coefficients[..., :shapes]
        if self.combinations is not None and self.combination_amounts is not None:
            filled = torch.nn.functional.pad(weights, (0, shapes - weights.shape[-1]))
            weights = shape_weights(filled, self.combinations, self.combination_amounts)
        offsets = weights @ self.expression_basis[: weights.shape[-1]]
        return self.neutral + offsets.unflatten(-1, (-1, 3))

    def pose(self, code: ExpressionCode) -> Tensor:
        """Vertices in the world, [..., V, 3]: v' = sum_j w_j (R_j v + t_j)."""
        deformed = self.deform(code.coefficients)
        rotations, translations, local = _joint_transforms(
            code, self.joints_of(code.coefficients), self.joint_drive
        )
        if self.pose_correctives is not None:
            correction = pose_features(code, local) @ self.pose_correctives
            deformed = deformed + correction.unflatten(-1, (-1, 3))
        batch = rotations.shape[:-3]
        blended = self.skin_weights @ torch.cat(
            [rotations.reshape(*batch, -1, 9), translations], dim=-1
        )  # [..., V, 12]
        rotation = blended[..., :9].unflatten(-1, (3, 3))
        return rotate(rotation, deformed) + blended[..., 9:]

    def joints_of(self, coefficients: Tensor) -> Tensor:
        """Joints [J, 3], or [..., J, 3] on heads whose expressions shift them."""
        if self.joint_expression is None:
            return self.joints
        count = min(coefficients.shape[-1], self.joint_expression.shape[0])
        shift = torch.einsum(
            "...e,ejc->...jc", coefficients[..., :count], self.joint_expression[:count]
        )
        return self.joints + shift


def shape_weights(coefficients: Tensor, combinations: Tensor, amounts: Tensor) -> Tensor:
    """How much of each shape a code takes, [..., E]: w_k = c_k + sum amount c_i c_j over the
    combinations (i, j, k). Shapes that do the same work would do it twice where both act.

    Joints answer to the coefficients themselves.
    """
    i, j, k = combinations.unbind(1)
    products = amounts.to(coefficients) * coefficients[..., i] * coefficients[..., j]
    return coefficients.index_add(-1, k, products)


def pose_features(code: ExpressionCode, local: Tensor) -> Tensor:
    """What pose correctives answer to, [..., 36]: the local rotations of neck, jaw, left and right
    eye minus the identity, row by row (FLAME's order)."""
    neck = quaternion_to_matrix(code.neck_rotation)
    joints = local[..., [JAW, LEFT_EYE, RIGHT_EYE], :, :]
    turned = torch.cat([neck[..., None, :, :], joints], dim=-3)
    return (turned - torch.eye(3, dtype=turned.dtype)).flatten(-3)


def joint_transforms(
    code: ExpressionCode, joints: Tensor, joint_drive: Tensor
) -> tuple[Tensor, Tensor]:
    """Rest-to-world transforms of the six joints: rotations [..., J, 3, 3], translations [..., J, 3].

    The skull is what a tracker sees, so the chain is walked from it: jaw and eyes hang on the
    head's transform; neck and bust are reached by undoing `neck_rotation`, half at the skull's
    base and half at the neck's base, which bends a neck as its vertebrae share the turn.
    """
    return _joint_transforms(code, joints, joint_drive)[:2]


def _joint_transforms(
    code: ExpressionCode, joints: Tensor, joint_drive: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """As `joint_transforms`, and the local rotations [..., J, 3, 3]; joints [..., J, 3]."""
    count = min(code.coefficients.shape[-1], joint_drive.shape[0])
    drive = torch.einsum("...e,ejc->...jc", code.coefficients[..., :count], joint_drive[:count])
    local = quaternion_to_matrix(rotation_vector_to_quaternion(drive))  # [..., J, 3, 3]
    unbend = quaternion_to_matrix(quaternion_conjugate(quaternion_power(code.neck_rotation, 0.5)))

    head = (quaternion_to_matrix(code.head_rotation), code.head_translation)
    neck = _rotate_about(head, unbend, joints[..., HEAD, :])
    root = _rotate_about(neck, unbend, joints[..., NECK, :])
    chain = [root, neck, head] + [
        _rotate_about(head, local[..., joint, :, :], joints[..., joint, :])
        for joint in (JAW, LEFT_EYE, RIGHT_EYE)
    ]
    rotations, translations = zip(*chain)
    return torch.stack(rotations, dim=-3), torch.stack(translations, dim=-2), local


def _rotate_about(
    parent: tuple[Tensor, Tensor], rotation: Tensor, pivot: Tensor
) -> tuple[Tensor, Tensor]:
    """The parent's transform after a rotation about `pivot` in the rest frame."""
    parent_rotation, parent_translation = parent
    moved_pivot = pivot - rotate(rotation, pivot)
    translation = rotate(parent_rotation, moved_pivot) + parent_translation
    return parent_rotation @ rotation, translation
