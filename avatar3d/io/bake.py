"""An avatar's Gaussians on its surface: colours, cover and heights at texels and vertices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from avatar3d.avatar import Avatar
from avatar3d.codes import ExpressionCode
from avatar3d.geometry import quaternion_to_matrix
from avatar3d.io.gather import Cloud, Hits, gather
from avatar3d.io.surface import PART_GROUP, Surface
from avatar3d.progress import progress
from avatar3d.template import SHEET, SKIN

SHEET_GROUP = 99  # the sheet's Gaussians are seen by the sheet alone
LEAST_COVER = 0.02  # below it a point has no colour of its own


@dataclass(frozen=True)
class Resting:
    """An avatar in its rest pose, laid out for `gather`."""

    cloud: Cloud
    albedo: np.ndarray  # [N, 3] sRGB without light
    lit: np.ndarray  # [N, 3] sRGB as rendered
    offset: np.ndarray  # [N, 3] metres in the anchor's frame
    soft: np.ndarray  # [N] bool: hair and clothes, thick without a surface inside


@dataclass(frozen=True)
class Baked:
    """What points of a surface show, [P, ...]; colours are 0 where nothing covers them."""

    colors: np.ndarray  # [P, 3] sRGB
    cover: np.ndarray  # [P] in 0..1
    height: np.ndarray  # [P] metres along the normal to where it begins
    offset: np.ndarray  # [P, 3] metres along tangent, bitangent, normal


def at_rest(avatar: Avatar) -> Resting:
    """The avatar's Gaussians for the neutral code."""
    code = ExpressionCode.neutral(coefficient_count=avatar.head.expression_count)
    template, attributes = avatar.template, avatar.attributes
    with torch.no_grad():
        frames = avatar.binding.frames(code)
        gaussians = avatar.gaussians(code, path="torch")
        axes = quaternion_to_matrix(torch.nn.functional.normalize(gaussians.quaternions, dim=-1))
        scales = gaussians.scales.double().clamp(min=1e-5)
        scaled = axes.double() / scales[:, None, :]
        offsets, albedo = attributes.offsets, attributes.colors
        if avatar.basis is not None:
            weights = avatar.basis.weights(code.coefficients)
            offsets = offsets + torch.einsum("k,knc->nc", weights, avatar.basis.offsets)
            albedo = albedo + torch.einsum("k,knc->nc", weights, avatar.basis.colors)
    on_sheet = (template.layer == SHEET).numpy()
    part = np.where(on_sheet, 0, template.part.numpy())
    along = frames.rotations[..., :2] @ offsets[:, :2, None]  # the tangential part moves the foot
    cloud = Cloud(
        means=gaussians.means.double().numpy(),
        feet=(frames.positions + along[..., 0]).double().numpy(),
        normals=frames.rotations[..., 2].double().numpy(),
        precisions=(scaled @ scaled.mT).numpy(),
        extents=scales.amax(-1).numpy(),
        opacities=gaussians.opacities.numpy(),
        group=np.where(on_sheet, SHEET_GROUP, PART_GROUP[part]),
    )
    soft = (template.layer != SKIN) | template.is_part("scalp", "bust")
    return Resting(cloud, albedo.numpy(), gaussians.colors.numpy(), offsets.numpy(), soft.numpy())


def bake(
    resting: Resting,
    points: np.ndarray,
    normals: np.ndarray,
    group: np.ndarray,
    lit: bool = False,
    label: str = "bake",
) -> Baked:
    """What each point [P, 3] shows along its normal."""
    values = np.concatenate(
        [(resting.lit if lit else resting.albedo), resting.offset], axis=1
    ).astype(np.float32)
    total = np.zeros((len(points), 8), np.float64)  # colours, offsets, height, cover
    with progress(label, len(points)) as step:
        for hits in gather(resting.cloud, points, normals, group, step):
            # From the side, what is soft is seen as far out as a standard deviation.
            begins = hits.height + np.where(resting.soft[hits.gaussian], hits.depth, 0)
            columns = np.concatenate([values[hits.gaussian], begins[:, None]], axis=1)
            add_up(total, hits, columns)
    cover = total[:, 7].clip(0, 1)
    shown = np.where(total[:, 7] > LEAST_COVER, total[:, 7], np.inf)[:, None]
    mean = total[:, :7] / shown
    return Baked(mean[:, :3], cover, mean[:, 6], mean[:, 3:6])


def add_up(total: np.ndarray, hits: Hits, columns: np.ndarray) -> None:
    """Adds to `total` [P, C + 1] the weighted columns [M, C] of each point, and the weights."""
    if not len(hits.point):
        return
    first = np.flatnonzero(np.r_[True, hits.point[1:] != hits.point[:-1]])
    weighted = np.concatenate([columns * hits.weight[:, None], hits.weight[:, None]], axis=1)
    total[hits.point[first]] += np.add.reduceat(weighted, first, axis=0)


def surface_heights(resting: Resting, surface: Surface) -> np.ndarray:
    """How far what is seen stands above each vertex, [V] metres: hair, mostly; 0 off the skin.

    Smoothed over the mesh, because a mesh cannot follow single hairs.
    """
    skin = np.zeros(len(surface.vertices), bool)
    skin[surface.triangles[surface.group == 0]] = True
    others = np.zeros(len(surface.vertices), bool)
    others[surface.triangles[surface.group != 0]] = True
    chosen = np.flatnonzero(skin)
    baked = bake(
        resting,
        surface.vertices[chosen],
        surface.normals[chosen],
        np.zeros(len(chosen), np.int64),
        label="heights",
    )
    height, weight = np.zeros(len(skin)), np.zeros(len(skin))
    height[chosen], weight[chosen] = baked.height * baked.cover, baked.cover
    smooth = partial(_mean_over_neighbours, surface.source[surface.triangles])
    count = int(surface.source.max()) + 1
    sums = np.stack(
        [np.bincount(surface.source, column, count) for column in (height, weight)], axis=-1
    )
    for _ in range(2):
        sums = smooth(sums)
    result = (sums[:, 0] / sums[:, 1].clip(1e-6))[surface.source]
    return np.where(skin & ~others, result, 0.0)


def _mean_over_neighbours(triangles: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Half the own value, half the neighbours' mean, [V, C]."""
    start, end = triangles[:, [0, 1, 2]].ravel(), triangles[:, [1, 2, 0]].ravel()
    count = np.bincount(start, minlength=len(values)) + np.bincount(end, minlength=len(values))
    total = np.stack(
        [
            np.bincount(start, column[end], len(values))
            + np.bincount(end, column[start], len(values))
            for column in values.T
        ],
        axis=-1,
    )
    return 0.5 * values + 0.5 * np.where(count[:, None] > 0, total / count.clip(1)[:, None], values)
