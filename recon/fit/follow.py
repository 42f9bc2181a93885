"""A frame's code from its pixels: an avatar that is done, moved until it covers the picture.

Landmarks of a frame are off by about a pixel, differently in every pose, and that is most of what an
avatar of many frames gets wrong in new ones. Analysis by synthesis (Blanz and Vetter 1999; Thies et
al. 2016, "Face2Face") starts at the landmarks' code and goes where the render fits, near to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from avatar3d.avatar import Avatar
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.fused.anchors import anchors_of
from recon.fit.config import PoseRates
from recon.fit.frame_pose import FramePose, Light
from recon.fit.observation import Observation
from recon.fit.pose import pose_gaussians
from recon.fit.shots import whole_frame
from render.losses import photometric_loss
from render.rasterize import rasterize


@dataclass(frozen=True)
class FollowConfig:
    """Steps from the tracker's code to the picture's, and how far it may well be."""

    iterations: int = 24
    rates: PoseRates = field(
        default_factory=lambda: PoseRates(
            rotation=0.004, translation=5e-4, coefficients=0.025, neck=0.012
        )
    )
    ssim_weight: float = 0.3
    alpha_weight: float = 0.5
    # Standard deviations of the way from the landmarks' code, and what one of each costs.
    rotation_rad: float = 0.03
    translation_m: tuple[float, float, float] = (0.004, 0.004, 0.012)  # depth is seen worst
    neck_rad: float = 0.15
    coefficients: float = 0.2
    hold: float = 1e-4


def follow(
    avatar: Avatar,
    camera: Camera,
    code: ExpressionCode,
    observation: Observation,
    config: FollowConfig | None = None,
) -> ExpressionCode:
    """The code at which the avatar, as it is, comes nearest to what `observation` shows.

    camera: of the observation's square picture, any size. code: the tracker's, without batch; head,
    neck and coefficients are moved from there.
    """
    config = config or FollowConfig()
    camera = camera.resized(observation.size_px, observation.size_px)
    shots = whole_frame(observation, camera)
    pose = FramePose(code, Light(avatar.light, avatar.template.lit), config.rates)
    spread = torch.tensor(config.translation_m)
    anchors = anchors_of(avatar.binding)
    for iteration in range(config.iterations):
        shot = shots[iteration % len(shots)]
        frames, now, shade = pose.frames(anchors, with_gradient=True)
        gaussians = pose_gaussians(frames, now, avatar.attributes, avatar.basis, shade)
        rendering = rasterize(gaussians, shot.camera, background=shot.background)
        loss = photometric_loss(rendering.colors, shot.picture, config.ssim_weight)
        loss = (
            loss + config.alpha_weight * ((rendering.alpha - shot.matte).abs() * shot.weight).sum()
        )
        turn, move, neck, coefficients = pose.moves()
        away = (turn / config.rotation_rad).square().sum() + (move / spread).square().sum()
        away = away + (neck / config.neck_rad).square().sum()
        away = away + (coefficients / config.coefficients).square().sum()
        (loss + config.hold * away).backward()
        pose.step(1.0 - iteration / (config.iterations + 2))
    return pose.code()
