"""3D Gaussian splatting in plain torch: slow, readable, any dtype. The truth for other backends.

Kerbl et al. 2023, "3D Gaussian Splatting for Real-Time Radiance Field Rendering"; the projection
follows Zwicker et al. 2001, "EWA Splatting". Gradients come from autograd.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from avatar3d.gaussians import Gaussians
from render.backends.base import (
    ALPHA_THRESHOLD,
    DILATION_PX2,
    FRUSTUM_MARGIN,
    MAX_ALPHA,
    MAX_EXTENT_PX,
    MAX_QUATERNION_LENGTH,
    MIN_COMPENSATION_SQUARED,
    MIN_QUATERNION_LENGTH,
    NEAR_PLANE_M,
    TRANSMITTANCE_THRESHOLD,
    Backend,
)

# Side of the square of pixels that is blended at once, over all splats that may reach it.
BLOCK_PX = 16


class Splats(NamedTuple):
    """Projected Gaussians in front of the camera, nearest first."""

    means_px: Tensor  # [M, 2]
    conics: Tensor  # [M, 3] inverse 2D covariance: xx, xy, yy
    opacities: Tensor  # [M]
    colors: Tensor  # [M, C]
    half_sizes_px: Tensor  # [M, 2] of the box where alpha reaches the threshold


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """wxyz of any length [..., 4] -> rotations [..., 3, 3]; of none -> no rotation."""
    long_enough = quaternions.square().sum(-1, keepdim=True) >= MIN_QUATERNION_LENGTH**2
    quaternions = torch.where(long_enough, quaternions, quaternions.new_tensor([1.0, 0, 0, 0]))
    w, x, y, z = (quaternions / quaternions.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


def project(
    gaussians: Gaussians, viewmat: Tensor, K: Tensor, width: int, height: int, antialiased: bool
) -> Splats:
    """Drop what cannot be seen, sort by depth, project."""
    with torch.no_grad():
        depths = gaussians.means @ viewmat[2, :3] + viewmat[2, 3]
        kept = (depths >= NEAR_PLANE_M) & (gaussians.opacities >= ALPHA_THRESHOLD)
        kept &= gaussians.quaternions.square().sum(-1) <= MAX_QUATERNION_LENGTH**2
        for value in gaussians:
            kept &= value[..., None].isfinite().flatten(1).all(-1)
    kept = kept.nonzero()[:, 0]
    kept = kept[torch.argsort(depths[kept], stable=True)]
    sizes = width, height, antialiased
    splats = project_all(Gaussians(*(value[kept] for value in gaussians)), viewmat, K, *sizes)
    near = (splats.means_px.abs() < MAX_EXTENT_PX) & (splats.half_sizes_px < MAX_EXTENT_PX)
    near = near.all(-1)
    if not near.all():  # again without them: an infinity dropped late would leave NaN gradients
        kept = kept[near]
        splats = project_all(Gaussians(*(value[kept] for value in gaussians)), viewmat, K, *sizes)
    return splats


def project_all(
    gaussians: Gaussians, viewmat: Tensor, K: Tensor, width: int, height: int, antialiased: bool
) -> Splats:
    """Project Gaussians in front of the camera, in the order given."""
    rotation, translation = viewmat[:3, :3], viewmat[:3, 3]
    x, y, z = (gaussians.means @ rotation.T + translation).unbind(-1)
    focal_x, focal_y, centre_x, centre_y = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    means_px = torch.stack([focal_x * x / z + centre_x, focal_y * y / z + centre_y], -1)

    # Jacobian of the projection; off-screen it is taken at the nearest point of a wider frustum,
    # whose limits count as constants.
    with torch.no_grad():
        low_x = (-centre_x - FRUSTUM_MARGIN * width) / focal_x
        high_x = (width - centre_x + FRUSTUM_MARGIN * width) / focal_x
        low_y = (-centre_y - FRUSTUM_MARGIN * height) / focal_y
        high_y = (height - centre_y + FRUSTUM_MARGIN * height) / focal_y
    slope_x = torch.clamp(x / z, low_x, high_x)
    slope_y = torch.clamp(y / z, low_y, high_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [
            torch.stack([focal_x / z, zero, -focal_x * slope_x / z], -1),
            torch.stack([zero, focal_y / z, -focal_y * slope_y / z], -1),
        ],
        -2,
    )  # [M, 2, 3]
    axes = rotation_matrices(gaussians.quaternions) * gaussians.scales[:, None, :]
    u, v = (jacobian @ rotation @ axes).unbind(-2)  # [M, 3] each: covariance = (u, v) (u, v)^T
    xx, xy, yy = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    # Determinants as sums of squares (Lagrange's identity): exact where a flat splat is edge-on.
    determinant = torch.linalg.cross(u, v).square().sum(-1)
    dilated = determinant + DILATION_PX2 * (xx + yy) + DILATION_PX2**2
    xx, yy = xx + DILATION_PX2, yy + DILATION_PX2
    opacities = gaussians.opacities
    if antialiased:
        compensation = (determinant / dilated).clamp_min(MIN_COMPENSATION_SQUARED).sqrt()
        opacities = opacities * compensation
    conics = torch.stack([yy, -xy, xx], -1) / dilated[:, None]
    # alpha >= threshold <=> mahalanobis^2 <= 2 ln(opacity / threshold).
    reach = 2 * torch.log((opacities / ALPHA_THRESHOLD).clamp_min(1))
    half_sizes_px = (reach[:, None] * torch.stack([xx, yy], -1)).sqrt().detach()
    return Splats(means_px, conics, opacities, gaussians.colors, half_sizes_px)


def blend(splats: Splats, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Front-to-back compositing at `pixels` [P, 2] -> colors [P, C], transmittance [P]."""
    offset = pixels[:, None, :] - splats.means_px  # [P, M, 2]
    xx, xy, yy = splats.conics.unbind(-1)
    dx, dy = offset.unbind(-1)
    falloff = torch.exp(-0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy)
    alpha = torch.clamp(splats.opacities * falloff, max=MAX_ALPHA)
    alpha = torch.where(alpha >= ALPHA_THRESHOLD, alpha, torch.zeros_like(alpha))
    # Transmittance only falls, so what would bring it to the threshold also ends the pixel.
    kept = torch.cumprod(1 - alpha.detach(), dim=1) > TRANSMITTANCE_THRESHOLD
    alpha = torch.where(kept, alpha, torch.zeros_like(alpha))
    after = torch.cumprod(1 - alpha, dim=1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=1)
    last = after[:, -1] if after.shape[1] else torch.ones_like(pixels[:, 0])
    return (alpha * before) @ splats.colors, last


class ReferenceBackend(Backend):
    name = "reference"

    def why_unavailable(self) -> str | None:
        return None

    def render(
        self,
        gaussians: Gaussians,
        viewmat: Tensor,
        K: Tensor,
        width: int,
        height: int,
        background: Tensor,
        antialiased: bool,
    ) -> tuple[Tensor, Tensor]:
        splats = project(gaussians, viewmat, K, width, height, antialiased)
        low = splats.means_px.detach() - splats.half_sizes_px - 1
        high = splats.means_px.detach() + splats.half_sizes_px + 1
        color_rows, alpha_rows = [], []
        for top in range(0, height, BLOCK_PX):
            color_blocks, alpha_blocks = [], []
            for left in range(0, width, BLOCK_PX):
                bottom, right = min(top + BLOCK_PX, height), min(left + BLOCK_PX, width)
                near = (high[:, 0] >= left) & (low[:, 0] <= right)
                near &= (high[:, 1] >= top) & (low[:, 1] <= bottom)
                y, x = torch.meshgrid(
                    torch.arange(top, bottom).to(low) + 0.5,
                    torch.arange(left, right).to(low) + 0.5,
                    indexing="ij",
                )
                pixels = torch.stack([x.reshape(-1), y.reshape(-1)], -1)
                colors, transmittance = blend(Splats(*(value[near] for value in splats)), pixels)
                colors = colors + transmittance[:, None] * background
                color_blocks.append(colors.view(bottom - top, right - left, -1))
                alpha_blocks.append(1 - transmittance.view(bottom - top, right - left))
            color_rows.append(torch.cat(color_blocks, dim=1))
            alpha_rows.append(torch.cat(alpha_blocks, dim=1))
        return torch.cat(color_rows), torch.cat(alpha_rows)
