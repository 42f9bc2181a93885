"""Low-order light: what diffuse light a surface receives, as a function of its normal.

Ramamoorthi and Hanrahan 2001: nine spherical-harmonic coefficients a channel describe the
irradiance of any distant light to about 1 %. Coefficients live in the world, so that shading
stays in place while the head turns. They multiply sRGB colours directly, as photographs do.
"""

from __future__ import annotations

import torch
from torch import Tensor

SH_COUNT = 9
IRRADIANCE_FLOOR = 0.05


def sh_basis(normals: Tensor) -> Tensor:
    """Real spherical harmonics up to degree 2 without their constants, [..., 3] -> [..., 9].

    1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2: the first is 1, so that light (1, 0, ...) is neutral.
    """
    x, y, z = normals.unbind(-1)
    return torch.stack(
        [torch.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], dim=-1
    )


def irradiance(light: Tensor, normals: Tensor) -> Tensor:
    """Factors on the albedo, [..., 3], of coefficients [9, 3] at unit normals [..., 3]."""
    return (sh_basis(normals) @ light).clamp(min=IRRADIANCE_FLOOR)


def shade(light: Tensor, normals: Tensor, lit: Tensor | None = None) -> Tensor:
    """`irradiance` where `lit` [N] says so (everywhere, when None), 1 elsewhere: [..., N, 3]."""
    factor = irradiance(light, normals)
    return factor if lit is None else torch.where(lit[:, None], factor, 1.0)


def neutral_light() -> Tensor:
    """Light that changes nothing, [9, 3]."""
    light = torch.zeros(SH_COUNT, 3)
    light[0] = 1.0
    return light
