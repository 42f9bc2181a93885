"""An avatar moved from one head model to another: the same person on another mesh.

Where a point of the person lies on each head is known from `heads.correspondence`. The new head's
identity is fitted to the person's shape; what it cannot reach goes into the Gaussians' offsets.
Each anchor of the new template takes the attributes of the anchors that lay nearest on the person,
on the same layer and part: local frames follow one field on every head, so they mean the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar import Attributes, Avatar, ExpressionBasis
from avatar3d.binding import Binding
from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.heads import PART_INDEX, HeadModel
from avatar3d.heads.correspondence import GROUPS, Correspondence, correspondence
from avatar3d.optional import require
from avatar3d.template import LAYERS, SKIN, Template, make_template

_NEIGHBOURS = 4
_SKIN_AROUND = 40
_SURE_M = 0.012  # farther apart after the fit, a vertex says nothing about the person's shape
# Gaussians of the skin were sized to close up where they lay; drawn anew from neighbours they leave
# pinholes, through which the dark inside shows as freckles. Larger by this much (of the log) none are
# left, for a slight loss of sharpness.
_OVERLAP = 0.25
_FAR_M = 0.002  # what a component moves farther is not carried over
_MODE_WEIGHT = 2e-4  # ridge of the identity: mean squared metres that a mode of 1 must be worth


def change_head(avatar: Avatar, head: HeadModel) -> Avatar:
    """The avatar on `head`, with the same number of Gaussians."""
    if avatar.head.content_hash() == head.content_hash():
        return avatar
    carried = correspondence(avatar.head, head)
    still = ExpressionCode.neutral()
    person = carried.carry(avatar.head.vertices(avatar.identity, still))  # [V, 3] of the new head
    sure = _sure(head, carried)
    identity = fit_identity(head, person, sure)

    template = make_template(head, avatar.count)
    binding = Binding(template, identity)
    frames = binding.frames(still)
    # Where each new anchor lies on the person: on skin as carried over, elsewhere as fitted.
    fitted = template.head.vertices(identity, still)
    residual = torch.zeros_like(fitted)
    residual[: len(person)] = sure[:, None] * (person - fitted[: len(person)])
    _draw_inner_parts(residual, fitted, head, sure)
    residual = _smoothed(residual, template.head.triangles, 10)
    lookup = fitted.clone()
    near = carried.distance < _SURE_M
    lookup[: len(person)][near] = person[near]
    shift = _at_anchors(residual, template)

    source = avatar.template
    near_by, near_m = _nearest_anchors(
        _at_anchors(lookup, template), template, avatar.binding.positions(still), source
    )
    attributes = _gathered(avatar.attributes, near_by, near_m, source.spacing)
    nearest = near_by[:, 0]
    growth = (template.spacing / source.spacing[nearest]).clamp(0.25, 4.0).log()
    growth = growth + _OVERLAP * (template.layer == SKIN)
    attributes = replace(
        attributes,
        offsets=attributes.offsets + torch.einsum("nji,nj->ni", frames.rotations, shift),
        log_scales=attributes.log_scales + growth[:, None],
    )
    basis = None if avatar.basis is None else _moved_basis(avatar.basis, nearest, head)
    provenance = avatar.provenance | {"moved_from_head": avatar.head.name}
    return replace(
        avatar, head=head, identity=identity, attributes=attributes, basis=basis,
        provenance=provenance,
    )  # fmt: skip


def fit_identity(head: HeadModel, goal: Tensor, weights: Tensor) -> Tensor:
    """Identity weights [I] whose head is nearest to the vertices `goal` [V, 3]; ridge regression
    towards the mean head."""
    share = (weights / weights.sum()).sqrt()[:, None]
    rows = (head.identity_basis * share).flatten(1).double()
    left = ((goal - head.neutral) * share).flatten().double()
    ridge = _MODE_WEIGHT**2 * torch.eye(len(rows), dtype=torch.float64)
    return torch.linalg.solve(rows @ rows.T + ridge, rows @ left).float()


def _sure(head: HeadModel, carried: Correspondence) -> Tensor:
    """1 at vertices of skin that found their like, falling to 0, [V]."""
    skin = torch.zeros(len(head.neutral))
    names = ("face", "eyelids", "scalp", "ears", "neck")
    wanted = torch.isin(head.triangle_part, torch.tensor([PART_INDEX[name] for name in names]))
    skin[head.triangles[wanted].flatten()] = 1.0
    return skin * (1 - carried.distance / _SURE_M).clamp(0, 1)


def _draw_inner_parts(residual: Tensor, fitted: Tensor, head: HeadModel, sure: Tensor) -> None:
    """Mouth, teeth and eyeballs move with the skin around them, or they would come through it."""
    names = [name for names in GROUPS[1:] for name in names] + ["mouth"]
    wanted = torch.isin(head.triangle_part, torch.tensor([PART_INDEX[name] for name in names]))
    inner = head.triangles[wanted].unique()
    inner = inner[sure[inner] == 0]
    skin = (sure > 0.3).nonzero()[:, 0]
    if len(inner) and len(skin) >= _SKIN_AROUND:
        tree = require("scipy.spatial", extra="recon").KDTree(fitted[skin].numpy())
        _, around = tree.query(fitted[inner].numpy(), k=_SKIN_AROUND)
        residual[inner] = residual[skin][torch.from_numpy(around)].mean(1)


def _smoothed(values: Tensor, triangles: Tensor, rounds: int) -> Tensor:
    """Each vertex between itself and its neighbours' mean, a few times: seams of the
    correspondence vanish, the shape stays."""
    pairs = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    a, b = torch.cat([pairs, pairs.flip(1)]).unbind(-1)
    degree = torch.bincount(a, minlength=len(values)).clamp(min=1)[:, None]
    for _ in range(rounds):
        mean = torch.zeros_like(values).index_add(0, a, values[b]) / degree
        values = 0.5 * values + 0.5 * mean
    return values


def _at_anchors(values: Tensor, template: Template) -> Tensor:
    """Vertex values [V, 3] at the anchors, [N, 3]."""
    corners = values[template.head.triangles[template.triangle]]
    return torch.einsum("nk,nkc->nc", template.barycentrics, corners)


def _gathered(old: Attributes, near_by: Tensor, near_m: Tensor, spacing: Tensor) -> Attributes:
    """Attributes of new anchors from their neighbours [N, K] on the old head, `near_m` away.

    A Gaussian that hides below others may have any colour. It may not come to the top alone: what
    can be seen decides, so colours and offsets are means weighted by opacity.
    """
    width = 0.5 * spacing[near_by[:, :1]]
    share = 1 / (near_m.square() + width.square())
    share = share / share.sum(1, keepdim=True)
    seen = share * (old.opacity_logits[near_by].sigmoid() + 1e-3)
    seen = (seen / seen.sum(1, keepdim=True))[..., None]
    opacity = (share * old.opacity_logits[near_by].sigmoid()).sum(1).clamp(1e-4, 1 - 1e-4)
    return Attributes(
        offsets=(seen * old.offsets[near_by]).sum(1),
        rotations=old.rotations[near_by[:, 0]],
        log_scales=(seen * old.log_scales[near_by]).sum(1),
        opacity_logits=opacity.logit(),
        colors=(seen * old.colors[near_by]).sum(1),
    )


def _nearest_anchors(
    points: Tensor, template: Template, source_points: Tensor, source: Template
) -> tuple[Tensor, Tensor]:
    """For each anchor the source's nearest on the same layer and group of parts, [N, K] indices and
    distances in metres."""
    kd_tree = require("scipy.spatial", extra="recon").KDTree
    kind, source_kind = _kinds(template), _kinds(source)
    nearest = np.zeros((template.count, _NEIGHBOURS), np.int64)
    distance = np.zeros((template.count, _NEIGHBOURS), np.float32)
    for value in np.unique(kind):
        mine = np.flatnonzero(kind == value)
        theirs = np.flatnonzero(source_kind == value)
        if len(theirs) < _NEIGHBOURS:  # a part that the old head had not: whatever skin is near
            theirs = np.flatnonzero(source.layer.numpy() == SKIN)
        tree = kd_tree(source_points[theirs].numpy())
        distance[mine], found = tree.query(points[mine].numpy(), k=_NEIGHBOURS)
        nearest[mine] = theirs[found]
    return torch.from_numpy(nearest), torch.from_numpy(distance)


def _kinds(template: Template) -> np.ndarray:
    """A number for each anchor's layer and, on skin, its group of parts, [N]."""
    kind = template.layer.numpy() + 100
    part = template.part.numpy()
    for index, names in enumerate(GROUPS):
        inside = np.isin(part, [PART_INDEX[name] for name in names])
        kind[inside & (template.layer.numpy() == SKIN)] = index + len(LAYERS)
    mouth = (part == PART_INDEX["mouth"]) & (template.layer.numpy() == SKIN)
    kind[mouth] = len(GROUPS) + len(LAYERS)  # its lining is no skin
    return kind


def _moved_basis(basis: ExpressionBasis, nearest: Tensor, head: HeadModel) -> ExpressionBasis:
    """The expression basis at the new anchors, over the 52 alone: a head's own differ in meaning.

    What a component moves far was meant for one place on the old head, and stays: lashes of shut
    eyes (`recon.fit.lashes`) are lost.
    """
    count = min(len(basis.mean), len(ARKIT_NAMES), head.expression_count)
    offsets = basis.offsets[:, nearest]
    near = offsets.norm(dim=-1, keepdim=True) < _FAR_M
    return ExpressionBasis(
        mean=basis.mean[:count],
        projection=basis.projection[:count],
        offsets=offsets * near,
        colors=basis.colors[:, nearest] * near,
        limits=basis.limits,
    )
