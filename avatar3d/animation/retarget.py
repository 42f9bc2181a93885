"""One person's motion on another person's avatar: what is carried over, and relative to what.

Codes are semantic, but a driver's face at rest need not be a code of zeros, nor does everyone reach
as far; and every driver sits differently before the camera. Three choices, each with a name:

    neutral  keep: coefficients as they are.  relative: what the driver always shows is taken off.
    reach    keep: as they are.  driver: each coefficient is scaled so that the driver's strongest
             becomes a usual strong one; who smiles little smiles whole on the avatar.
    pose     mean, first: turned and moved by what the driver is away from the mean, or the first
             frame.  absolute: as the driver before the camera.  still: not at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from avatar3d.codes import ExpressionCode
from avatar3d.geometry import (
    matrix_to_quaternion,
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_matrix,
)
from avatar3d.motion import Motion

REST_QUANTILE = 0.1  # a coefficient is at rest in at least this share of the frames
MOST_REST = 0.5  # more than this is an expression that is held, not a face at rest
STRONG_QUANTILE = 0.98
USUAL_STRONG = 0.75
GAINS = (0.7, 1.6)  # a coefficient that is hardly used says nothing about reach
LEAST_USED = 0.15


@dataclass(frozen=True)
class Transfer:
    """How a driver's motion becomes an avatar's; the module's text says what the words mean."""

    neutral: Literal["keep", "relative"] = "keep"
    reach: Literal["keep", "driver"] = "keep"
    pose: Literal["mean", "first", "absolute", "still"] = "mean"


def transfer(motion: Motion, modes: Transfer | None = None) -> Motion:
    """A driver's motion for another person's avatar."""
    modes = modes or Transfer()
    if len(motion) == 0:
        return motion
    values = motion.codes.coefficients
    if modes.neutral == "relative":
        values = relative_to_rest(values, resting_values(values))
    if modes.reach == "driver":
        values = (values * reach_gains(values)).clamp(0, 1)
    return replace(motion, codes=_posed(motion.codes._replace(coefficients=values), modes.pose))


def resting_values(coefficients: Float[Tensor, "T E"]) -> Float[Tensor, " E"]:
    """What a driver shows of each coefficient even at rest."""
    rest = torch.quantile(coefficients, REST_QUANTILE, dim=0)
    return torch.where(rest > MOST_REST, torch.zeros_like(rest), rest)


def relative_to_rest(
    coefficients: Float[Tensor, "T E"], rest: Float[Tensor, " E"]
) -> Float[Tensor, "T E"]:
    """0 where the driver is at rest, 1 where a coefficient is whole."""
    return ((coefficients - rest) / (1 - rest).clamp_min(1e-3)).clamp(0, 1)


def reach_gains(coefficients: Float[Tensor, "T E"]) -> Float[Tensor, " E"]:
    """Factors that bring the driver's strongest of each coefficient to USUAL_STRONG."""
    strong = torch.quantile(coefficients, STRONG_QUANTILE, dim=0)
    gains = (USUAL_STRONG / strong.clamp_min(1e-3)).clamp(*GAINS)
    return torch.where(strong < LEAST_USED, torch.ones_like(gains), gains)


def _posed(codes: ExpressionCode, pose: str) -> ExpressionCode:
    if pose == "absolute":
        return codes
    if pose == "still":
        still = ExpressionCode.neutral(len(codes.coefficients))
        return still._replace(coefficients=codes.coefficients)
    head = codes.head_rotation
    bust = quaternion_multiply(head, quaternion_conjugate(codes.neck_rotation))
    place = codes.head_translation
    if pose == "first":
        head, bust, place = _from(head, head[0]), _from(bust, bust[0]), place - place[0]
    else:
        head, bust = _from(head, mean_rotation(head)), _from(bust, mean_rotation(bust))
        place = place - place.mean(0)
    return codes._replace(
        head_rotation=head,
        head_translation=place,
        neck_rotation=quaternion_multiply(quaternion_conjugate(bust), head),
    )


def mean_rotation(rotations: Float[Tensor, "T 4"]) -> Float[Tensor, "4"]:
    """The chordal mean of quaternions."""
    u, _, vt = torch.linalg.svd(quaternion_to_matrix(rotations).mean(0))
    flip = torch.diag(torch.tensor([1.0, 1.0, float(torch.linalg.det(u @ vt).sign())]))
    return matrix_to_quaternion(u @ flip @ vt)


def _from(rotations: Float[Tensor, "T 4"], reference: Float[Tensor, "4"]) -> Float[Tensor, "T 4"]:
    return quaternion_multiply(quaternion_conjugate(reference).expand_as(rotations), rotations)
