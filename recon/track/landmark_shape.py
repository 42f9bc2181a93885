"""The 478 landmarks of a head as functions of shape and code, with exact derivatives.

Linear blend skinning is linear in the skinned points, so a landmark (a fixed mix of three
vertices) needs only, for each joint j, its share W_j and the share-weighted point q_j about the
joint's pivot. With R_j the joint's rotation in the head frame,

    x = rest(a, s) + sum_j (R_j(e) - 1) q_j(a, s),    q_j = sum_k b_k w_kj (v_k - p_j),

where a are identity weights, e coefficients, s the weights of the shapes (`skinning.shape_weights`
of e), b barycentrics and w skin weights: the very positions of `HeadModel.landmarks`, at a
thousandth of its work. Neck and bust count as skull here: they
carry no landmark of the face.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from safetensors.numpy import load_file
from torch import Tensor

from avatar3d.geometry import vertex_normals
from avatar3d.heads import HeadModel
from avatar3d.heads.skinning import JAW, LEFT_EYE, RIGHT_EYE
from recon.track import kernels
from recon.track.rotation import left_jacobian, rotation_matrix

# Where the detector sees a landmark minus where the head has it: learned over people by
# learn_offsets.py.
LANDMARK_OFFSETS = Path(__file__).with_name("landmark_offsets.safetensors")
MIN_SHARE = 1e-5  # a joint that carries less of a landmark than this does not move it


@dataclass(frozen=True)
class JointShare:
    """The landmarks that one joint moves, M of them: q_j of the module's text and its derivatives."""

    landmarks: Int[np.ndarray, " M"]
    neutral: Float[np.ndarray, "M 3"]
    identity: Float[np.ndarray, "M 3 I"]
    expression: Float[np.ndarray, "M 3 E"]
    drive: Float[np.ndarray, "3 E"]  # rotation vector a coefficient, radians


@dataclass(frozen=True)
class LandmarkShape:
    """Landmarks of a head, or of one person whose identity is folded in; head frame, metres."""

    neutral: Float[np.ndarray, "478 3"]
    identity: Float[np.ndarray, "478 3 I"]
    expression: Float[np.ndarray, "478 3 E"]
    joints: tuple[JointShare, ...]
    normals: Float[np.ndarray, "478 3"]  # of the neutral surface, unit
    combinations: Int[np.ndarray, "C 3"]
    amounts: Float[np.ndarray, " C"]

    def of_person(
        self, weights: Float[np.ndarray, " I"], offsets: Float[np.ndarray, "478 3"] | float = 0.0
    ) -> LandmarkShape:
        """The same landmarks with identity weights, the first ones or all, and personal offsets
        folded into `neutral`."""
        modes = len(weights)
        joints = tuple(
            JointShare(
                j.landmarks,
                j.neutral + j.identity[..., :modes] @ weights,
                j.identity[..., :0],
                j.expression,
                j.drive,
            )
            for j in self.joints
        )
        neutral = self.neutral + self.identity[..., :modes] @ weights + offsets
        return replace(self, neutral=neutral, identity=self.identity[..., :0], joints=joints)

    def shape_weights(self, codes: Float[np.ndarray, "F E"]) -> Float[np.ndarray, "F E"]:
        """As `skinning.shape_weights`."""
        weights = codes.copy()
        kernels.add_products(weights, codes, self.combinations, self.amounts)
        return weights

    def points(self, codes: Float[np.ndarray, "F E"]) -> Float[np.ndarray, "F 478 3"]:
        """Positions in the head frame; an identity basis that is still there has weight 0."""
        weights = self.shape_weights(codes)
        points = self.neutral + _mixed(self.expression, weights)
        turns = rotation_matrix(self._rotation_vectors(codes)) - np.eye(3)
        for joint, turn in zip(self.joints, turns):
            moment = joint.neutral + _mixed(joint.expression, weights)
            points[:, joint.landmarks] += moment @ turn.transpose(0, 2, 1)
        return points

    def derivative_by_code(self, codes: Float[np.ndarray, "F E"]) -> Float[np.ndarray, "F 478 3 E"]:
        """Exact derivatives of `points`."""
        weights = self.shape_weights(codes)
        derivative = np.repeat(self.expression[None], len(codes), axis=0)  # by the shapes' weights
        vectors = self._rotation_vectors(codes)
        turns = rotation_matrix(vectors)
        for joint, turn in zip(self.joints, turns):
            kernels.add_turned(derivative, joint.landmarks, turn - np.eye(3), joint.expression)
        kernels.by_products(derivative, codes, self.combinations, self.amounts)
        for joint, jacobian, turn in zip(self.joints, left_jacobian(vectors), turns):
            moment = joint.neutral + _mixed(joint.expression, weights)
            turned = moment @ turn.transpose(0, 2, 1)  # [F, M, 3]
            # d(R q) = (J dw) x R q + R dq, with J the left Jacobian of the exponential map.
            kernels.add_swung(derivative, joint.landmarks, turned, jacobian @ joint.drive)
        return derivative

    def derivative_by_identity(
        self, codes: Float[np.ndarray, "F E"]
    ) -> Float[np.ndarray, "F 478 3 I"]:
        derivative = np.repeat(self.identity[None], len(codes), axis=0)
        turns = rotation_matrix(self._rotation_vectors(codes)) - np.eye(3)
        for joint, turn in zip(self.joints, turns):
            derivative[:, joint.landmarks] += turn[:, None] @ joint.identity
        return derivative

    def _rotation_vectors(self, codes: Float[np.ndarray, "F E"]) -> Float[np.ndarray, "J F 3"]:
        """How far each joint is turned, radians: all at once, since calls cost more than numbers."""
        drives = [codes @ joint.drive.T for joint in self.joints]
        return np.array(drives).reshape(len(self.joints), len(codes), 3)


def _mixed(
    basis: Float[np.ndarray, "L 3 E"], codes: Float[np.ndarray, "F E"]
) -> Float[np.ndarray, "F L 3"]:
    """sum_e codes_e basis_e, without copying the basis."""
    return (basis.reshape(-1, codes.shape[1]) @ codes.T).T.reshape(-1, *basis.shape[:2])


@lru_cache(maxsize=4)
def landmark_shape(head: HeadModel) -> LandmarkShape:
    """The landmarks of a head, with the learned offsets added; kept for the next call."""
    offsets = learned_offsets().get(head.name)
    return build_landmark_shape(head, 0.0 if offsets is None else offsets)


def build_landmark_shape(
    head: HeadModel, offsets: Float[np.ndarray, "478 3"] | float
) -> LandmarkShape:
    corners = head.triangles[head.landmark_triangles]  # [478, 3]
    barycentrics = head.landmark_barycentrics.double().numpy()

    def mix(of_vertices: np.ndarray, shares: np.ndarray = barycentrics) -> np.ndarray:
        """[..., V, C] -> [L, C, ...]: landmarks of per-vertex values."""
        values = of_vertices[..., corners.numpy(), :].astype(np.float64)
        return np.ascontiguousarray(
            np.moveaxis((shares[..., None] * values).sum(-2), (-2, -1), (0, 1))
        )

    identity = head.identity_basis.numpy()
    expression = head.expression_basis.numpy()
    neutral = head.neutral.numpy()
    weights = head.skin_weights.double().numpy()[corners.numpy()]  # [478, 3, J]
    joints = []
    for joint in (JAW, LEFT_EYE, RIGHT_EYE):
        shares = barycentrics * weights[..., joint]  # [478, 3]
        carried = np.where(shares.sum(1) > MIN_SHARE)[0]
        if not len(carried):
            continue
        total = shares.sum(1)[carried]
        pivot = head.joints[joint].double().numpy()
        pivot_identity = head.joint_identity[:, joint].double().numpy().T  # [3, I]
        joints.append(
            JointShare(
                landmarks=carried,
                neutral=mix(neutral, shares)[carried] - total[:, None] * pivot,
                identity=mix(identity, shares)[carried] - total[:, None, None] * pivot_identity,
                expression=mix(expression, shares)[carried],
                drive=head.joint_drive[:, joint].double().numpy().T,
            )
        )
    normals = mix(vertex_normals(head.neutral, head.triangles).numpy())
    return LandmarkShape(
        neutral=mix(neutral) + head.landmark_offsets.double().numpy() + offsets,
        identity=mix(identity),
        expression=mix(expression),
        joints=tuple(joints),
        normals=normals / np.linalg.norm(normals, axis=1, keepdims=True),
        combinations=_numpy(head.combinations, np.zeros((0, 3), np.int64)),
        amounts=_numpy(head.combination_amounts, np.zeros(0)).astype(np.float64),
    )


def _numpy(value: Tensor | None, otherwise: np.ndarray) -> np.ndarray:
    return otherwise if value is None else value.numpy()


@lru_cache(maxsize=1)
def learned_offsets() -> dict[str, Float[np.ndarray, "478 3"]]:
    """Offsets by head name, metres in the head frame; empty before the first learning."""
    if not LANDMARK_OFFSETS.exists():
        return {}
    return {name: value.astype(np.float64) for name, value in load_file(LANDMARK_OFFSETS).items()}
