"""View-dependent colour: real spherical harmonics of degree 0 to 3 in the 3DGS convention."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from avatar3d.gaussians import SH_C0

# Normalisation of the real basis with 3DGS's signs (Condon-Shortley phase kept), by degree.
DEGREE_1 = 0.4886025119029199
DEGREE_2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
DEGREE_3 = (
    0.5900435899266435,
    2.890611442640554,
    0.4570457994644658,
    0.3731763325901154,
    1.445305721320277,
)
MAX_DEGREE = 3


def coefficient_count(degree: int) -> int:
    return (degree + 1) ** 2


def basis(directions: Float[Tensor, "*batch 3"], degree: int) -> Float[Tensor, "*batch K"]:
    """The (degree + 1)^2 basis functions at unit `directions` (from the camera to the splat)."""
    if not 0 <= degree <= MAX_DEGREE:
        raise ValueError(f"spherical harmonics go from degree 0 to {MAX_DEGREE}, got {degree}")
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, SH_C0)]
    if degree >= 1:
        values += [-DEGREE_1 * y, DEGREE_1 * z, -DEGREE_1 * x]
    if degree >= 2:
        a, b, c = DEGREE_2
        values += [
            a * x * y,
            -a * y * z,
            b * (3 * z * z - 1),
            -a * x * z,
            c * (x * x - y * y),
        ]
    if degree >= 3:
        a, b, c, d, e = DEGREE_3
        values += [
            -a * y * (3 * x * x - y * y),
            b * x * y * z,
            -c * y * (5 * z * z - 1),
            d * z * (5 * z * z - 3),
            -c * x * (5 * z * z - 1),
            e * z * (x * x - y * y),
            -a * x * (x * x - 3 * y * y),
        ]
    return torch.stack(values, -1)


def evaluate(
    coefficients: Float[Tensor, "*batch N K 3"],
    means: Float[Tensor, "*batch N 3"],
    camera_position: Float[Tensor, "*batch 3"],
    degree: int,
) -> Float[Tensor, "*batch N 3"]:
    """Colours seen from `camera_position` (world, metres): basis . coefficients + 0.5, >= 0."""
    count = coefficient_count(degree)
    if coefficients.shape[-2] < count:
        raise ValueError(
            f"degree {degree} needs {count} coefficients per channel, got {coefficients.shape[-2]}"
        )
    if degree == 0:  # the same from everywhere
        return (SH_C0 * coefficients[..., 0, :] + 0.5).clamp_min(0)
    directions = torch.nn.functional.normalize(means - camera_position[..., None, :], dim=-1)
    weights = basis(directions, degree)
    colors = torch.einsum("...nk,...nkc->...nc", weights, coefficients[..., :count, :])
    return (colors + 0.5).clamp_min(0)
