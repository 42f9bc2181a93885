"""The template as a hierarchy of graphs: what a network over its anchors moves along.

Every prefix of the template is an even covering, so the first quarter of the anchors is the next
coarser level. Messages stay within skin, hair, sheet, eyes, teeth and mouth. Nothing here depends
on which head the template belongs to: weights learned on one head's anchors serve another's.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from avatar3d.binding import SparseMap
from avatar3d.template import Template
from recon.fit.neighbours import nearest, reflected
from recon.prior.expressions import movements_of, stirred_by
from recon.prior.regions import groups_of, regions_of
from recon.training.device import moved

LEVEL_COUNT = 4
_COARSER = 4  # times fewer anchors a level
_NEIGHBOURS = 8
_LIFTED_FROM = 3  # coarse anchors that a fine one is interpolated from


@dataclass(frozen=True)
class Level:
    """One graph."""

    count: int
    average: SparseMap  # [n, n] mean of the nearest in the group
    mirror: SparseMap  # [n, n] the anchor nearest to the mirror image


@dataclass(frozen=True)
class Surface:
    """Graphs from fine to coarse and the maps between them."""

    region: Tensor  # [N] index into REGIONS, of the finest level
    points: Tensor  # [N, 3] metres, on the mean head
    levels: tuple[Level, ...]
    pool: tuple[SparseMap, ...]  # level l -> l + 1, means
    lift: tuple[SparseMap, ...]  # level l + 1 -> l, interpolation
    movements: Tensor  # [52, K], see `recon.prior.expressions`
    stirred: Tensor  # [N, K] 0..1: how far each movement changes an anchor's look


@lru_cache(maxsize=4)
def surface_on(template: Template, device: torch.device) -> Surface:
    """`surface_of` with its tensors on a device."""
    return moved(surface_of(template), device)


@lru_cache(maxsize=4)
def surface_of(template: Template) -> Surface:
    """The hierarchy of a template; about a second for 40k anchors."""
    region = regions_of(template)
    group = groups_of(region).numpy()
    points = template.neutral_points()
    counts = [template.count // _COARSER**level for level in range(LEVEL_COUNT)]
    places = points.numpy()
    return Surface(
        region,
        points,
        tuple(_level(places[:count], group[:count]) for count in counts),
        tuple(_pool(places, group, fine, few) for fine, few in itertools.pairwise(counts)),
        tuple(_lift(places, group, fine, few) for fine, few in itertools.pairwise(counts)),
        movements_of(template.head),
        stirred_by(template.head, region, points),
    )


@lru_cache(maxsize=4)
def lift_from(template: Template, few: int) -> SparseMap:
    """Values at the template's first `few` anchors -> values at all of them."""
    group = groups_of(regions_of(template)).numpy()
    return _lift(template.neutral_points().numpy(), group, template.count, few)


def _level(points: np.ndarray, group: np.ndarray) -> Level:
    near = _nearest_in_group(points, group, points, group, _NEIGHBOURS)[1]
    mirror = _nearest_in_group(points, group, reflected(points), group, 1)[1]
    average = _weighted(near, np.full(near.shape, 1.0 / _NEIGHBOURS), len(points))
    return Level(len(points), average, _weighted(mirror, np.ones(mirror.shape), len(points)))


def _pool(points: np.ndarray, group: np.ndarray, fine: int, few: int) -> SparseMap:
    home = _nearest_in_group(points[:few], group[:few], points[:fine], group[:fine], 1)[1][:, 0]
    share = 1.0 / np.bincount(home, minlength=few).clip(1)
    return SparseMap(
        torch.from_numpy(home),
        torch.arange(fine),
        torch.from_numpy(share[home].astype(np.float32)),
        (few, fine),
    )


def _lift(points: np.ndarray, group: np.ndarray, fine: int, few: int) -> SparseMap:
    distance, near = _nearest_in_group(
        points[:few], group[:few], points[:fine], group[:fine], _LIFTED_FROM
    )
    weight = 1.0 / np.maximum(distance, 1e-4)
    return _weighted(near, weight / weight.sum(1, keepdims=True), few)


def _weighted(near: np.ndarray, weights: np.ndarray, columns: int) -> SparseMap:
    rows, count = near.shape
    return SparseMap(
        torch.arange(rows).repeat_interleave(count),
        torch.from_numpy(near.reshape(-1)),
        torch.from_numpy(weights.reshape(-1).astype(np.float32)),
        (rows, columns),
    )


def _nearest_in_group(
    points: np.ndarray, group: np.ndarray, queries: np.ndarray, query_group: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """`nearest` among the points of the query's own group, [Q, count]; repeats where it is small."""
    distance = np.zeros((len(queries), count))
    index = np.zeros((len(queries), count), np.int64)
    for number in np.unique(query_group):
        members, asked = np.where(group == number)[0], np.where(query_group == number)[0]
        if not len(members):  # a level too coarse for this group: any anchor will do
            members = np.arange(len(points))
        found = min(count, len(members))
        far, near = nearest(points[members], queries[asked], found)
        spread = np.arange(count) % found
        distance[asked], index[asked] = far[:, spread], members[near[:, spread]]
    return distance, index
