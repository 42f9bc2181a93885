"""The fixed anchors of a head: where every avatar of one head model has its Gaussians.

Anchors are points on the head's triangles, in an order such that every prefix is an even
covering, so the first 5k, 10k, 20k, 40k are levels of detail. Over scalp and brow lie two more
layers of anchors for hair, whose offsets may grow long; a flat sheet through the ears, skinned to
skull and bust, carries what no surface of the head reaches: hanging hair, hats, wide shoulders.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from avatar3d.heads.model import PART_INDEX, PARTS, HeadModel
from avatar3d.heads.skinning import HEAD, ROOT
from avatar3d.smooth import smoothstep

TEMPLATE_VERSION = 1
LEVELS = (5_000, 10_000, 20_000, 40_000)
SKIN, HAIR_INNER, HAIR_OUTER, SHEET = range(4)
LAYERS = ("skin", "hair_inner", "hair_outer", "sheet")
SHEET_PART = len(PARTS)  # the sheet belongs to the template, no head file has it

# How the anchors are shared out: layer, parts, share of the whole.
_SHARES: tuple[tuple[int, tuple[str, ...], float], ...] = (
    (SKIN, ("face", "eyelids"), 0.320),
    (SKIN, ("scalp",), 0.020),
    (SKIN, ("ears",), 0.025),
    (SKIN, ("neck",), 0.030),
    (SKIN, ("bust",), 0.050),
    (SKIN, ("left_eyeball", "right_eyeball"), 0.045),
    (SKIN, ("upper_teeth", "lower_teeth"), 0.030),
    (SKIN, ("gums", "tongue", "mouth"), 0.030),
    (HAIR_INNER, ("hair",), 0.170),
    (HAIR_OUTER, ("hair",), 0.070),
    (SHEET, ("sheet",), 0.210),  # most of it stays empty: nobody has hair everywhere
)
# The sheet stands in the plane of the ears, behind the eyes, in the head frame (metres).
_SHEET_Z = -0.092
_SHEET_X, _SHEET_BOTTOM, _SHEET_TOP, _SHEET_STEP = 0.26, -0.32, 0.17, 0.02
_GOLDEN = 0.6180339887498949  # the most evenly spread additive sequence in one dimension
_PLASTIC = (0.7548776662466927, 0.5698402909980532)  # and in two (Roberts 2018, R2)


@dataclass(frozen=True)
class Template:
    """Anchors of one head: triangle, barycentrics, part and layer, in order of detail."""

    head: HeadModel  # the head with the sheet's vertices and triangles after its own
    triangle: Tensor  # [N] int64 into head.triangles
    barycentrics: Tensor  # [N, 3]
    part: Tensor  # [N] int64: index into PARTS, or SHEET_PART
    layer: Tensor  # [N] int64: SKIN, HAIR_INNER, HAIR_OUTER or SHEET
    spacing: Tensor  # [N] metres between neighbours on the mean head

    @property
    def count(self) -> int:
        return self.triangle.shape[0]

    def is_part(self, *names: str) -> Tensor:
        """Mask [N] of the skin anchors on these parts."""
        wanted = torch.tensor([PART_INDEX[name] for name in names])
        return torch.isin(self.part, wanted) & (self.layer == SKIN)

    @cached_property
    def lit(self) -> Tensor:
        """Mask [N] of the anchors on skin that low-order light describes; eyes and teeth glint,
        the mouth's inside is shadowed, hair scatters."""
        return self.is_part("face", "eyelids", "scalp", "ears", "neck")

    def neutral_points(self) -> Tensor:
        """Anchors on the mean head, [N, 3] metres in the head frame."""
        corners = self.head.neutral[self.head.triangles[self.triangle]]
        return torch.einsum("nk,nkc->nc", self.barycentrics, corners)


@lru_cache(maxsize=4)
def make_template(head: HeadModel, count: int = LEVELS[2]) -> Template:
    """The first `count` anchors of a head model; deterministic, so never stored."""
    carrier = _with_sheet(head)
    triangle, layer, probability = _measure(carrier)
    order = torch.arange(count, dtype=torch.float64) + 0.5
    cumulative = torch.cumsum(probability, 0)
    position = (order * _GOLDEN).remainder(1.0) * cumulative[-1]
    chosen = torch.searchsorted(cumulative, position).clamp(max=len(cumulative) - 1)

    u = (order * _PLASTIC[0]).remainder(1.0).sqrt()
    v = (order * _PLASTIC[1]).remainder(1.0)
    barycentrics = torch.stack([1 - u, u * (1 - v), u * v], dim=-1).float()

    anchors = triangle[chosen]
    area = _areas(carrier)[anchors]
    spacing = (area / (count * probability[chosen]).float().clamp(min=1e-9)).sqrt()
    part = carrier.triangle_part[anchors]
    return Template(carrier, anchors, barycentrics, part, layer[chosen], spacing)


def _measure(head: HeadModel) -> tuple[Tensor, Tensor, Tensor]:
    """The density that anchors are drawn from: triangle [M], layer [M], probability [M].

    Triangles are listed layer by layer along a space-filling curve, so that a sequence that is
    even along the list is even over the surface.
    """
    centre = head.neutral[head.triangles].mean(1)
    density = _areas(head) * _attention(head, centre)
    curve = torch.argsort(_morton_code(centre))
    entries = []
    for layer, parts, share in _SHARES:
        if parts == ("hair",):
            inside = _hair_region(head, centre)
        elif parts == ("sheet",):
            inside = head.triangle_part == SHEET_PART
        else:
            wanted = torch.tensor([PART_INDEX[name] for name in parts])
            inside = torch.isin(head.triangle_part, wanted)
        chosen = curve[inside[curve]]
        weight = density[chosen].double()
        if len(chosen):
            entries.append((chosen, torch.full_like(chosen, layer), share * weight / weight.sum()))
    triangle, layer, probability = (torch.cat(column) for column in zip(*entries))
    return triangle, layer, probability / probability.sum()


def _attention(head: HeadModel, centre: Tensor) -> Tensor:
    """How much more densely a triangle is sampled than its area asks for, [F].

    Eyes and lips carry a face; eyeballs and teeth count only where they can be seen; the sheet is
    denser beside the head, where hair ends.
    """
    x, y, z = centre.unbind(-1)
    mouth = head.stomion
    attention = torch.ones(len(centre))
    to_mouth = (centre - mouth) / torch.tensor([0.026, 0.015, 0.024])
    attention += 2.5 * torch.exp(-to_mouth.square().sum(-1) / 4)
    for side in (-1.0, 1.0):
        eye = torch.tensor([side * 0.031, 0.0, 0.005])
        to_eye = (centre - eye) / torch.tensor([0.0234, 0.0162, 0.0216])
        attention += 2.5 * torch.exp(-to_eye.square().sum(-1) / 3.24)
    eyeballs = _in_parts(head, "left_eyeball", "right_eyeball")
    attention = torch.where(eyeballs, torch.where(z > 0.003, 1.0, 0.0), attention)
    teeth = _in_parts(head, "upper_teeth", "lower_teeth")
    attention = torch.where(teeth, torch.where(z > mouth[2] - 0.028, 1.0, 0.03), attention)
    gums = _in_parts(head, "gums", "tongue", "mouth")
    attention = torch.where(gums, torch.where(z > mouth[2] - 0.05, 1.0, 0.1), attention)
    sheet = head.triangle_part == SHEET_PART
    beside = 0.35 + 2.0 * torch.exp(-(((x / 0.15).square() + ((y + 0.02) / 0.17).square()) ** 2))
    return torch.where(sheet, beside, attention)


def _hair_region(head: HeadModel, centre: Tensor) -> Tensor:
    """Skin from which hair may stand off: scalp, the brow's upper edge, the nape, the temples."""
    _x, y, z = centre.unbind(-1)
    brow = head.neutral[head.triangles[head.landmark_triangles[10]]].mean(0)[1]
    scalp = _in_parts(head, "scalp")
    forehead = _in_parts(head, "face") & (y > brow - 0.012)
    nape = _in_parts(head, "neck") & (z < -0.075) & (y > -0.075)
    temples = _in_parts(head, "face") & (z < -0.05) & (y > -0.06)
    return scalp | forehead | nape | temples


def _in_parts(head: HeadModel, *names: str) -> Tensor:
    return torch.isin(head.triangle_part, torch.tensor([PART_INDEX[name] for name in names]))


def _areas(head: HeadModel) -> Tensor:
    a, b, c = head.neutral[head.triangles].unbind(1)
    return torch.linalg.cross(b - a, c - a).norm(dim=-1) / 2


def _morton_code(points: Tensor) -> Tensor:
    """Position along a Z-order curve, [M] int64, from 10 bits an axis."""
    low, high = points.min(0).values, points.max(0).values
    cells = ((points - low) / (high - low).clamp(min=1e-9) * 1023).long()
    code = torch.zeros(len(points), dtype=torch.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code


def _with_sheet(head: HeadModel) -> HeadModel:
    """The head with the sheet appended: vertices that no identity or expression moves."""
    columns = torch.arange(-_SHEET_X, _SHEET_X + 1e-6, _SHEET_STEP)
    rows = torch.arange(_SHEET_BOTTOM, _SHEET_TOP + 1e-6, _SHEET_STEP)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    points = torch.stack([x, y, torch.full_like(x, _SHEET_Z)], dim=-1).reshape(-1, 3)
    index = torch.arange(len(points)).reshape(x.shape) + len(head.neutral)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    triangles = torch.cat(
        [torch.stack([a, b, c], -1).reshape(-1, 3), torch.stack([a, c, d], -1).reshape(-1, 3)]
    )
    # Beside the eyes the sheet follows the skull, from the nose downward more and more the bust, below
    # the chin it alone: shoulders must not turn with the head, hair that lies on them hardly does.
    skull = smoothstep(points[:, 1], -0.13, -0.05)
    weights = torch.zeros(len(points), head.skin_weights.shape[1])
    weights[:, HEAD], weights[:, ROOT] = skull, 1 - skull

    def padded(basis: Tensor) -> Tensor:
        return torch.cat([basis, basis.new_zeros(len(basis), len(points), 3)], dim=1)

    sheet_part = head.triangle_part.new_full((len(triangles),), SHEET_PART)
    return replace(
        head,
        neutral=torch.cat([head.neutral, points]),
        triangles=torch.cat([head.triangles, triangles]),
        triangle_part=torch.cat([head.triangle_part, sheet_part]),
        uv=torch.cat([head.uv, head.uv.new_zeros(len(points), 2)]),
        identity_basis=padded(head.identity_basis),
        expression_basis=padded(head.expression_basis),
        skin_weights=torch.cat([head.skin_weights, weights]),
        mirror=torch.cat([head.mirror, index.flip(1).reshape(-1)]),
        pose_correctives=None if head.pose_correctives is None else padded(head.pose_correctives),
    )
