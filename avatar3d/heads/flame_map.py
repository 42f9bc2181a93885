"""The 52 of ARKit as FLAME's parameters, and back.

Forward: each of the default head's 52 shapes, carried over to FLAME, is approximated by FLAME's own
means: expression modes, eyelids, and the jaw's rotation where the shape moves the jaw. Gaze turns
FLAME's eyeballs. The combination is fixed when the head is added and lies in its file (`own_map`),
so that FLAME answers to the 52 as any head does.

Back: the 52 in 0..1 whose motion of the skin comes nearest to that of FLAME's parameters.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.heads.correspondence import find_correspondence
from avatar3d.heads.model import PART_INDEX, HeadModel
from avatar3d.heads.skinning import LEFT_EYE, RIGHT_EYE

COUNT = len(ARKIT_NAMES)
EXPRESSIONS, EYELIDS, JAW_AT, EYES = (
    slice(0, 100),
    slice(100, 102),
    slice(102, 105),
    slice(105, 111),
)
_FACE = ("face", "eyelids", "mouth")
_RIDGE_M = 5e-5  # a coefficient of 1 must move the skin by more than this to be worth it
_JAW_STEPS = 3  # Gauss-Newton: the jaw's turn is not linear
_ALIKE_M = 0.006  # farther apart after the fit, two points do not speak for each other


def arkit_to_flame(
    bare: HeadModel,
    base: HeadModel,
    laid: tuple[np.ndarray, float] | None = None,
    eyelids: np.ndarray | None = None,
) -> HeadModel:
    """FLAME whose 52 do what `base`'s do; `eyelids` [2, V, 3] are derived from `base` when None.
    `laid` is `lay_over(base, bare)` where that is known already."""
    carried = find_correspondence(base, bare, laid)
    neutral = base.vertices(None, ExpressionCode.neutral())
    goals = torch.zeros(COUNT, len(bare.neutral), 3)
    for index, name in enumerate(ARKIT_NAMES):
        moved = base.vertices(None, ExpressionCode.from_named(**{name: 1.0})) - neutral
        goals[index] = carried.scale * carried.carry(moved)
    skin = _vertices(bare, *_FACE)
    other = _vertices(bare, "scalp", "ears", "neck")
    sure = (carried.distance < _ALIKE_M).float()
    weights = skin * sure + 0.2 * other
    goals = goals * (skin + other)[:, None]

    basis = bare.expression_basis.clone()
    if eyelids is None:
        lids = goals[[ARKIT_NAMES.index("eyeBlinkLeft"), ARKIT_NAMES.index("eyeBlinkRight")]]
    else:
        lids = torch.as_tensor(eyelids)
    basis[COUNT:][EYELIDS] = lids
    with_lids = replace(bare, expression_basis=basis)

    own = torch.zeros(COUNT, bare.expression_count - COUNT)
    by_jaw = [name.startswith("jaw") for name in ARKIT_NAMES]
    still = torch.tensor(by_jaw).logical_not()
    own[still] = _solve(with_lids, goals[still], weights, uses_jaw=False)
    for index in torch.tensor(by_jaw).nonzero()[:, 0].tolist():
        own[index] = _solve(with_lids, goals[index : index + 1], weights, uses_jaw=True)[0]
    for index in range(COUNT):
        own[index, EYES] = base.joint_drive[index, [LEFT_EYE, RIGHT_EYE]].flatten()
    return with_own_map(with_lids, own)


def with_own_map(head: HeadModel, own: Tensor) -> HeadModel:
    """The head whose first 52 coefficients are the combinations `own` [52, E - 52] of its own."""

    def combined(values: Tensor) -> Tensor:
        result = values.clone()
        result[:COUNT] = torch.einsum("ao,o...->a...", own, values[COUNT:])
        return result

    shift = head.joint_expression
    return replace(
        head,
        expression_basis=combined(head.expression_basis),
        joint_drive=combined(head.joint_drive),
        joint_expression=None if shift is None else combined(shift),
        own_map=own,
    )


def to_own(head: HeadModel, coefficients: Tensor) -> Tensor:
    """A head's own coefficients [..., E - 52] of a code's [..., 52 or more]: what is meant."""
    if head.own_map is None:
        raise ValueError(f"the head {head.name!r} has no parameters of its own behind the 52")
    own = coefficients[..., :COUNT] @ head.own_map
    extra = coefficients[..., COUNT:]
    return own + torch.nn.functional.pad(extra, (0, own.shape[-1] - extra.shape[-1]))


def from_own(head: HeadModel, own: Tensor, steps: int = 400) -> Tensor:
    """The 52 in 0..1 that come nearest to own coefficients [T, E - 52], [T, 52].

    Nearest is measured on the skin and the eyeballs; solved by accelerated projected gradients
    (FISTA) over all frames at once. Shapes that FLAME cannot make stay 0.
    """
    if head.own_map is None:
        raise ValueError(f"the head {head.name!r} has no parameters of its own behind the 52")
    gram = _own_gram(head)
    rows = head.own_map.double()
    curvature = rows @ gram @ rows.T
    # A little pull to zero: among shapes that look alike the smaller coefficients win.
    curvature = curvature + 1e-4 * curvature.diagonal().mean() * torch.eye(COUNT).double()
    pull = own.double() @ gram @ rows.T
    rate = 1 / torch.linalg.eigvalsh(curvature)[-1]
    code = torch.zeros(*own.shape[:-1], COUNT, dtype=torch.float64)
    ahead, momentum = code, 1.0
    for _ in range(steps):
        moved = (ahead - rate * (ahead @ curvature - pull)).clamp(0, 1)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = moved + (momentum - 1) / following * (moved - code)
        code, momentum = moved, following
    return code.float()


@lru_cache(maxsize=4)
def _own_gram(head: HeadModel) -> Tensor:
    """[O, O] mean squared motion in mm^2 of the skin (and a share of the eyeballs) by the head's own
    coefficients, linear about the neutral face."""
    own = head.expression_count - COUNT
    weights = _vertices(head, *_FACE)
    weights = weights / weights.sum()
    balls = _vertices(head, "left_eyeball", "right_eyeball")
    if balls.any():
        weights = weights + 0.3 * balls / balls.sum()
    columns = _columns(head, torch.zeros(own)) * 1e3
    scaled = (columns * weights.sqrt()[:, None]).flatten(1).double()
    return scaled @ scaled.T


def _solve(head: HeadModel, goals: Tensor, weights: Tensor, uses_jaw: bool) -> Tensor:
    """Own coefficients [G, O] whose motion is nearest to `goals` [G, V, 3]; one goal with the jaw."""
    own = torch.zeros(len(goals), head.expression_count - COUNT)
    allowed = torch.zeros(own.shape[1], dtype=torch.bool)
    allowed[EXPRESSIONS] = allowed[EYELIDS] = True
    allowed[JAW_AT] = uses_jaw
    share = (weights / weights.sum()).sqrt()[:, None]
    still = _posed(head, own[0])
    # The jaw's angles are radians: a tenth of one is as likely as an expression mode of 1.
    prior = torch.where(torch.arange(own.shape[1]) >= JAW_AT.start, 1e-3, 1.0)[allowed]
    ridge = torch.diag((_RIDGE_M**2 * prior).double())
    for _ in range(_JAW_STEPS if uses_jaw else 1):
        columns = (_columns(head, own[0] * uses_jaw)[allowed] * share).flatten(1).double()
        moved = _posed(head, own[0]) - still if uses_jaw else torch.zeros_like(still)
        left = ((goals - moved) * share).flatten(1).double()
        right = columns @ left.T - ridge @ own[:, allowed].double().T
        own[:, allowed] += torch.linalg.solve(columns @ columns.T + ridge, right).T.float()
    return own


def _columns(head: HeadModel, own: Tensor) -> Tensor:
    """How each own coefficient moves the vertices about `own`, [O, V, 3] metres."""
    columns = head.expression_basis[COUNT:].clone()
    small = 1e-2
    for index in range(JAW_AT.start, len(own)):  # rotations: central differences
        ahead, behind = own.clone(), own.clone()
        ahead[index] += small
        behind[index] -= small
        columns[index] = (_posed(head, ahead) - _posed(head, behind)) / (2 * small)
    return columns


def _posed(head: HeadModel, own: Tensor) -> Tensor:
    code = ExpressionCode.neutral(coefficient_count=head.expression_count)
    code.coefficients[COUNT:] = own
    return head.vertices(None, code)


def _vertices(head: HeadModel, *parts: str) -> Tensor:
    """1 at the vertices of these parts, else 0, [V]."""
    wanted = torch.isin(head.triangle_part, torch.tensor([PART_INDEX[p] for p in parts]))
    inside = torch.zeros(len(head.neutral))
    inside[head.triangles[wanted].flatten()] = 1.0
    return inside


__all__ = ["COUNT", "arkit_to_flame", "from_own", "to_own", "with_own_map"]
