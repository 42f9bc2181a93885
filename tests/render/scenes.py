"""Small scenes for the rasterizer's tests."""

from __future__ import annotations

import math

import torch

from avatar3d.camera import Camera
from avatar3d.gaussians import Gaussians


def random_gaussians(count, seed=0, channels=3, dtype=torch.float32, scale_m=0.02):
    """A cloud around the origin, 20 cm wide, with scales spread around `scale_m`."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    gaussians = Gaussians(
        means=0.07 * normal(count, 3),
        quaternions=normal(count, 4),
        scales=scale_m * torch.exp(0.5 * normal(count, 3)),
        opacities=torch.sigmoid(1.5 * normal(count)),
        colors=torch.sigmoid(normal(count, channels)),
    )
    return Gaussians(*(value.to(dtype) for value in gaussians))


def tilted_camera(width=60, height=45, dtype=torch.float32):
    """Not square, centre off the middle, unequal focal lengths, rotated about all axes."""
    camera = Camera.look_at(
        position=torch.tensor([0.25, 0.15, 0.7], dtype=dtype),
        target=torch.tensor([0.01, -0.02, 0.0], dtype=dtype),
        focal_length_px=2.2 * height,
        width=width,
        height=height,
    )
    roll = torch.eye(4, dtype=dtype)
    roll[:2, :2] = torch.tensor(
        [[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]], dtype=dtype
    )
    K = camera.K.clone()
    K[0, 0] *= 1.1
    K[0, 2] += 2.3
    return Camera(roll @ camera.viewmat, K, width, height)
