"""Where to look at an avatar from when nobody says."""

from __future__ import annotations

import math

import torch

from avatar3d.avatar import Avatar
from avatar3d.camera import Camera

# The middle of head and shoulders in the head frame, which begins between the eyes; metres.
FRAME_TARGET_M = (0.0, -0.035, -0.05)
FRAME_HEIGHT_M = 0.37  # from above the hair to the shoulders
_DISTANCE_M = 0.85  # of an avatar that does not say from how far it was photographed
_NEAREST_M, _FARTHEST_M = 0.4, 4.0


def portrait_camera(
    avatar: Avatar, size_px: int, yaw: float = 0.0, pitch: float = 0.0, zoom: float = 1.0
) -> Camera:
    """Head and shoulders of the neutral pose, from as far as the person was photographed.

    `yaw` and `pitch` (radians) move the camera around the head: yaw > 0 toward the subject's left.
    """
    distance = photographed_from_m(avatar)
    target = torch.tensor(FRAME_TARGET_M)
    direction = torch.tensor(
        [math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)]
    )
    return Camera.look_at(
        position=target + (distance - FRAME_TARGET_M[2]) * direction,
        target=target,
        focal_length_px=zoom * size_px * (distance - FRAME_TARGET_M[2]) / FRAME_HEIGHT_M,
        width=size_px,
        height=size_px,
    )


def turntable(avatar: Avatar, size_px: int, frame_count: int, pitch: float = 0.0) -> list[Camera]:
    """Once around the head by equal steps, beginning in front; the last frame joins the first."""
    return [
        portrait_camera(avatar, size_px, yaw=2 * math.pi * index / frame_count, pitch=pitch)
        for index in range(frame_count)
    ]


def photographed_from_m(avatar: Avatar) -> float:
    """The distance of the support frames' camera, as the avatar's provenance has it."""
    view = avatar.provenance.get("view")
    distance = view.get("distance_m") if isinstance(view, dict) else None
    if not isinstance(distance, (int, float)) or isinstance(distance, bool):
        return _DISTANCE_M
    return min(max(float(distance), _NEAREST_M), _FARTHEST_M)
