"""Pinhole cameras in the OpenCV convention: +X right, +Y down, +Z forward."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """`viewmat` takes world to camera; `K` is in pixels, the first pixel's centre at 0.5."""

    viewmat: Tensor  # [..., 4, 4]
    K: Tensor  # [..., 3, 3] px
    width: int
    height: int

    def resized(self, width: int, height: int) -> Camera:
        """The same view sampled on another grid."""
        scale = self.K.new_tensor([width / self.width, height / self.height, 1.0])
        return replace(self, K=self.K * scale[:, None], width=width, height=height)

    def position(self) -> Tensor:
        """Centre of projection in the world, [..., 3] metres."""
        rotation, translation = self.viewmat[..., :3, :3], self.viewmat[..., :3, 3]
        return -(rotation.transpose(-1, -2) @ translation[..., None])[..., 0]

    @staticmethod
    def frontal(
        focal_length_px: float,
        size_px: int,
        distance_m: float,
        yaw: float = 0.0,
        pitch: float = 0.0,
    ) -> Camera:
        """A square camera that looks at the world's origin, the head frame's, from `distance_m`.

        `yaw` and `pitch` (radians) move the camera around the head: yaw > 0 toward the subject's
        left (+X), pitch > 0 upward.
        """
        direction = torch.tensor(
            [math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)]
        )
        return Camera.look_at(
            position=distance_m * direction,
            target=torch.zeros(3),
            focal_length_px=focal_length_px,
            width=size_px,
            height=size_px,
        )

    @staticmethod
    def look_at(
        position: Tensor, target: Tensor, focal_length_px: float, width: int, height: int
    ) -> Camera:
        """A camera at `position` looking at `target`, the world's +Y up in the picture."""
        forward = torch.nn.functional.normalize(target - position, dim=-1)
        up = torch.tensor([0.0, 1.0, 0.0], dtype=position.dtype)
        right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
        down = torch.linalg.cross(forward, right)
        rotation = torch.stack([right, down, forward])
        viewmat = torch.eye(4, dtype=position.dtype)
        viewmat[:3, :3] = rotation
        viewmat[:3, 3] = -rotation @ position
        K = torch.tensor(
            [
                [focal_length_px, 0.0, width / 2],
                [0.0, focal_length_px, height / 2],
                [0.0, 0.0, 1.0],
            ],
            dtype=position.dtype,
        )
        return Camera(viewmat, K, width, height)
