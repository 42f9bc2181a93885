"""Still Gaussians onto the anchors of a head, so that they move: the inverse of posing.

Two cases. A file with as many Gaussians as the avatar, each where the avatar's own stands, is an
edited export: each Gaussian goes back to its anchor, exactly. Any other is shared out: each
Gaussian to the nearest anchor, several on one anchor become one of the same mean and covariance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes, Avatar
from avatar3d.binding import Frames
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.gaussians import SH_C0
from avatar3d.geometry import (
    matrix_to_quaternion,
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_matrix,
    rotate,
)
from avatar3d.io.splats import Splats
from avatar3d.light import irradiance

SAME_PLACE_M = 0.03  # an edit in an editor seldom moves a Gaussian farther
FARTHEST_M = 0.1  # from a Gaussian to the anchor that carries it
_BATCH = 256
_EMPTY_LOGIT = -20.0
_LOG_SCALES = (-13.9, -0.1)  # what .avatar files hold
_LOGIT = 25.0


@dataclass(frozen=True)
class Bound:
    """The avatar that came of a file, and how much of the file is in it."""

    avatar: Avatar
    in_order: bool  # every Gaussian went back to its own anchor
    total: int  # Gaussians in the file
    lost: int  # of them too far from the head to be carried


def bind_splats(
    splats: Splats,
    onto: Avatar,
    code: ExpressionCode,
    normals: np.ndarray | None = None,
) -> Bound:
    """`onto` with the look of `splats` [M], which show it in the pose of `code`.

    normals: [M, 3] of the surface below each Gaussian, where known: they keep lips apart.
    """
    with torch.no_grad():
        frames = onto.binding.frames(code)
        own = onto.gaussians(code, path="torch")
        total = len(splats.positions)
        means = torch.from_numpy(splats.positions)
        near = (means - own.means).norm(dim=-1) < SAME_PLACE_M if total == onto.count else None
        if near is not None and bool(near.float().mean() > 0.9):
            return Bound(_returned(splats, onto, code, frames), True, total, 0)
        anchor = nearest_anchors(frames, splats.positions, normals)
        kept = anchor >= 0
        if not kept.any():
            raise UserError(
                "no Gaussian of the file lies within 10 cm of the head; expected them in the "
                "avatar's own place and size (metres, the origin between the eyes)"
            )
        merged = _merged(splats, kept, anchor[kept], onto.count)
        returned = _returned(merged, replace(onto, basis=None), code, frames)
        present = torch.from_numpy(np.bincount(anchor[kept], minlength=onto.count) > 0)
        logits = torch.where(present, returned.attributes.opacity_logits, _EMPTY_LOGIT)
        attributes = replace(returned.attributes, opacity_logits=logits)
        return Bound(replace(returned, attributes=attributes), False, total, int((~kept).sum()))


def nearest_anchors(
    frames: Frames, positions: np.ndarray, normals: np.ndarray | None
) -> np.ndarray:
    """The anchor [M] nearest to each position, -1 beyond FARTHEST_M."""
    places = frames.positions.double().numpy()
    if normals is not None:
        # Anchors on a surface that faces elsewhere seem farther, by up to 3 cm.
        places = np.concatenate([places, 0.015 * frames.rotations[..., 2].numpy()], axis=1)
        positions = np.concatenate([positions, 0.015 * normals], axis=1)
    cells = np.floor(positions[:, :3] / 0.02).astype(np.int64)
    order = np.lexsort(cells.T)
    result = np.full(len(positions), -1, np.int64)
    for begin in range(0, len(order), _BATCH):
        chosen = order[begin : begin + _BATCH]
        for reach in (0.02, FARTHEST_M):
            left = chosen[result[chosen] < 0]
            if not len(left):
                break
            here = positions[left]
            low, high = here[:, :3].min(0) - reach, here[:, :3].max(0) + reach
            close = np.flatnonzero(((places[:, :3] > low) & (places[:, :3] < high)).all(1))
            if not len(close):
                continue
            there = places[close]
            squared = (here**2).sum(-1)[:, None] + (there**2).sum(-1) - 2 * here @ there.T
            best = squared.argmin(1)
            fits = squared[np.arange(len(left)), best] < reach**2
            result[left[fits]] = close[best[fits]]
    return result


def _returned(splats: Splats, onto: Avatar, code: ExpressionCode, frames: Frames) -> Avatar:
    """Each Gaussian [N] back onto its anchor [N]: what `pose_gaussians` does, undone."""
    attributes, basis = onto.attributes, onto.basis
    offsets = rotate(
        frames.rotations.mT.double(),
        torch.from_numpy(splats.positions).double() - frames.positions.double(),
    ).float()
    quaternions = torch.nn.functional.normalize(torch.from_numpy(splats.quaternions), dim=-1)
    colors = torch.from_numpy(splats.sh[:, 0]) * SH_C0 + 0.5
    if onto.light is not None:
        factor = irradiance(onto.light, frames.rotations[..., :, 2])
        colors = colors / torch.where(onto.template.lit[:, None], factor, 1.0)
    if basis is not None:
        weights = basis.weights(code.coefficients)
        offsets = offsets - torch.einsum("k,knc->nc", weights, basis.offsets)
        colors = colors - torch.einsum("k,knc->nc", weights, basis.colors)
    growth = torch.cat([frames.stretch, torch.ones_like(frames.stretch[..., :1])], dim=-1)
    return replace(
        onto,
        attributes=Attributes(
            offsets=offsets.clamp(-0.5, 0.5),
            rotations=quaternion_multiply(quaternion_conjugate(frames.quaternions), quaternions),
            log_scales=(torch.from_numpy(splats.log_scales) - growth.log()).clamp(*_LOG_SCALES),
            opacity_logits=torch.from_numpy(splats.opacity_logits).clamp(-_LOGIT, _LOGIT),
            colors=colors.clamp(-4, 4).to(attributes.colors.dtype),
        ),
    )


def _merged(splats: Splats, kept: np.ndarray, anchor: np.ndarray, count: int) -> Splats:
    """One Gaussian an anchor [count]: the mean and covariance of those on it, by their mass.

    Its opacity is that of all of them together, as far as they lie over each other: the mass
    (opacity times cross-section) is kept.
    """
    index = torch.from_numpy(anchor)
    means, quaternions, log_scales, logits, sh = (
        torch.from_numpy(np.ascontiguousarray(value[kept])).double() for value in splats
    )
    axes = quaternion_to_matrix(torch.nn.functional.normalize(quaternions, dim=-1))
    scales = log_scales.exp()
    covariances = (axes * scales[:, None, :].square()) @ axes.mT
    opacities = logits.sigmoid()
    section = _section(log_scales)
    mass = (opacities * section).clamp(min=1e-20)

    def summed(values: Tensor) -> Tensor:
        return torch.zeros(count, *values.shape[1:], dtype=torch.float64).index_add(
            0, index, values
        )

    total = summed(mass).clamp(min=1e-20)
    centre = summed(mass[:, None] * means) / total[:, None]
    away = means - centre[index]
    spread = covariances + away[:, :, None] * away[:, None, :]
    covariance = summed(mass[:, None, None] * spread) / total[:, None, None]
    empty = summed(torch.ones_like(mass)) == 0
    covariance[empty] = 1e-6 * torch.eye(3, dtype=torch.float64)
    squares, axes = torch.linalg.eigh(covariance)
    axes = axes * torch.linalg.det(axes)[:, None, None].sign()
    log_scales = 0.5 * squares.clamp(min=1e-12).log()
    # Where one Gaussian alone stands, its mass over its own section is its opacity again.
    opacity = (total / _section(log_scales)).clamp(1e-6, 1 - 1e-6)
    colors = summed(mass[:, None] * sh[:, 0]) / total[:, None]
    return Splats(
        centre.float().numpy(),
        matrix_to_quaternion(axes).float().numpy(),
        log_scales.float().numpy(),
        torch.logit(opacity).float().numpy(),
        colors[:, None, :].float().numpy(),
    )


def _section(log_scales: Tensor) -> Tensor:
    """A measure [N] of the area that a Gaussian covers: the product of its two larger scales."""
    return (log_scales.sum(-1) - log_scales.amin(-1)).exp()
