"""`HeadModel`: what every head offers, whatever file it was read from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avatar3d.codes import ExpressionCode
from avatar3d.geometry import quaternion_to_matrix
from avatar3d.heads.skinning import Rig

if TYPE_CHECKING:
    from avatar3d.heads.folded import FoldedHead

PARTS = (
    "face", "scalp", "ears", "neck", "bust", "left_eyeball", "right_eyeball", "eyelids",
    "upper_teeth", "lower_teeth", "gums", "tongue", "mouth",
)  # fmt: skip
PART_INDEX = {name: index for index, name in enumerate(PARTS)}


@dataclass(frozen=True)
class HeadModel:
    """A parametric head: mean, identity modes, expression shapes, joints, landmarks, parts.

    Metres in the head frame: +Y up, +Z out of the face, +X toward the subject's left; the origin
    lies midway between the centres of the eyeballs. Joints are those of `skinning.JOINT_NAMES`.
    """

    name: str
    expression_names: tuple[str, ...]  # the 52 of ARKit in order, then the head's own
    neutral: Tensor  # [V, 3] metres
    triangles: Tensor  # [F, 3] int64, counter-clockwise from outside
    triangle_part: Tensor  # [F] int64, index into PARTS
    uv: Tensor  # [V, 2] in 0..1
    identity_basis: Tensor  # [I, V, 3] metres at one standard deviation
    expression_basis: Tensor  # [E, V, 3] metres at coefficient 1, on top of the joints' motion
    joints: Tensor  # [J, 3] metres
    joint_identity: Tensor  # [I, J, 3] metres at one standard deviation
    skin_weights: Tensor  # [V, J], rows sum to 1
    joint_drive: Tensor  # [E, J, 3] rotation vectors in radians at coefficient 1
    landmark_triangles: Tensor  # [478] int64, MediaPipe's order, irises last
    landmark_barycentrics: Tensor  # [478, 3]
    landmark_offsets: (
        Tensor  # [478, 3] metres: where the detector sees the point, minus the surface
    )
    ibug_triangles: Tensor  # [68] int64
    ibug_barycentrics: Tensor  # [68, 3]
    mirror: Tensor  # [V] int64: the vertex on the other side
    # What only some heads have:
    joint_expression: Tensor | None = None  # [E, J, 3] metres: expressions shift the joints too
    pose_correctives: Tensor | None = None  # [36, V, 3] metres, see `skinning.pose_features`
    own_map: Tensor | None = None  # [52, E - 52]: the 52 as combinations of the head's own
    source_origin: Tensor | None = None  # [3] metres: this head's origin in its makers' frame
    # What expressions do only together, see `skinning.shape_weights`:
    combinations: Tensor | None = None  # [C, 3] int64: two coefficients and the shape they act on
    combination_amounts: Tensor | None = None  # [C]

    @property
    def identity_count(self) -> int:
        return self.identity_basis.shape[0]

    @property
    def expression_count(self) -> int:
        return self.expression_basis.shape[0]

    @property
    def identity_asymmetry(self) -> Tensor:
        """How far each identity mode makes the two sides differ, [I]: 0 not at all, 1 it does
        nothing else. Modes of the default head are one or the other; those of scans are mixed."""
        mirrored = self.identity_basis[:, self.mirror] * torch.tensor([-1.0, 1.0, 1.0])
        odd = (self.identity_basis - mirrored).flatten(1).norm(dim=1)
        even = (self.identity_basis + mirrored).flatten(1).norm(dim=1)
        return odd / torch.hypot(odd, even).clamp(min=1e-12)

    @property
    def stomion(self) -> Tensor:
        """The middle of the line where the lips meet, on the mean head, [3] metres."""
        inner_lips = self.triangles[self.landmark_triangles[[13, 14]]]
        return self.neutral[inner_lips].mean((0, 1))

    def content_hash(self) -> str:
        """sha256 over all arrays: two heads with this hash pose alike."""
        digest = hashlib.sha256()
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:  # fields that came later leave older heads' hashes alone
                continue
            digest.update(field.name.encode())
            digest.update(
                value.contiguous().numpy().tobytes()
                if isinstance(value, Tensor)
                else repr(value).encode()
            )
        return digest.hexdigest()

    def rig(self, identity: Tensor | None = None, vertices: Tensor | None = None) -> Rig:
        """The head of one person, [I] identity weights, at all vertices or the given indices [M]."""
        select = slice(None) if vertices is None else vertices
        neutral, joints = self.neutral[select], self.joints
        if identity is not None and identity.numel():
            count = identity.shape[-1]
            neutral = neutral + torch.einsum(
                "i,ivc->vc", identity, self.identity_basis[:count, select]
            )
            joints = joints + torch.einsum("i,ijc->jc", identity, self.joint_identity[:count])
        return Rig(
            neutral=neutral,
            expression_basis=self.expression_basis[:, select].flatten(1).contiguous(),
            skin_weights=self.skin_weights[select],
            joints=joints,
            joint_drive=self.joint_drive,
            joint_expression=self.joint_expression,
            pose_correctives=None
            if self.pose_correctives is None
            else self.pose_correctives[:, select].flatten(1).contiguous(),
            combinations=self.combinations,
            combination_amounts=self.combination_amounts,
        )

    def folded(self, identity: Tensor | None = None) -> "FoldedHead":
        """One person's head for real time: the same vertices, many times as fast."""
        from avatar3d.heads.folded import FoldedHead

        return FoldedHead(self.rig(identity))

    def vertices(self, identity: Tensor | None, code: ExpressionCode) -> Tensor:
        """Posed vertices in the world, [..., V, 3] metres."""
        return self.rig(identity).pose(code)

    def landmarks(
        self, identity: Tensor | None, code: ExpressionCode, *, seen_from: Tensor | None = None
    ) -> Tensor:
        """MediaPipe's 478 landmarks in the world, [..., 478, 3] metres, as the detector sees them.

        With a camera's centre `seen_from` [..., 3] the outline slides to where the face ends in the
        picture, which MediaPipe's own does not do.
        """
        if seen_from is None:
            return LandmarkRig(self, identity).pose(code)
        from avatar3d.heads.contour import SlidingLandmarks

        return SlidingLandmarks(self, identity, "mediapipe").pose(code, seen_from)

    def ibug_landmarks(
        self, identity: Tensor | None, code: ExpressionCode, *, seen_from: Tensor | None = None
    ) -> Tensor:
        """iBUG's 68 landmarks in the world, [..., 68, 3] metres.

        Seen by a camera whose centre is at `seen_from` [..., 3] in the world (`Camera.position()`),
        the jaw line (0 to 16) slides to where the face ends in its picture.
        """
        from avatar3d.heads.contour import SlidingLandmarks

        return SlidingLandmarks(self, identity, "ibug").pose(code, seen_from)


class LandmarkRig:
    """The 478 landmarks of one person: only the vertices that carry them are posed."""

    def __init__(self, head: HeadModel, identity: Tensor | None) -> None:
        corners = head.triangles[head.landmark_triangles]  # [478, 3]
        carriers, self._corners = torch.unique(corners, return_inverse=True)
        self._barycentrics = head.landmark_barycentrics
        self._offsets = head.landmark_offsets
        self._rig = head.rig(identity, carriers)

    def pose(self, code: ExpressionCode) -> Tensor:
        """Landmarks in the world, [..., 478, 3] metres."""
        corners = self._rig.pose(code)[..., self._corners, :]  # [..., 478, 3, 3]
        points = torch.einsum("lk,...lkc->...lc", self._barycentrics, corners)
        rotation = quaternion_to_matrix(code.head_rotation)
        return points + self._offsets @ rotation.transpose(-1, -2)
