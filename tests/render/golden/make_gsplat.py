"""Regenerates gsplat.npz: what gsplat's own torch code says about projection and harmonics.

Run it where gsplat 1.5.3 is installed (no GPU is needed):  python -m tests.render.golden.make_gsplat
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.render.scenes import random_gaussians, tilted_camera

PATH = Path(__file__).with_name("gsplat.npz")
COUNT, SEED = 40, 11


def inputs():
    """The scene, unit directions [COUNT, 3] and SH coefficients [COUNT, 16, 3], in float64."""
    gaussians = random_gaussians(COUNT, SEED, dtype=torch.float64)
    camera = tilted_camera(dtype=torch.float64)
    generator = torch.Generator().manual_seed(SEED)
    directions = torch.randn(COUNT, 3, generator=generator, dtype=torch.float64)
    coefficients = torch.randn(COUNT, 16, 3, generator=generator, dtype=torch.float64)
    return gaussians, camera, torch.nn.functional.normalize(directions, dim=-1), coefficients


def main() -> None:
    from gsplat.cuda import _torch_impl as gsplat  # pyright: ignore[reportMissingImports]

    gaussians, camera, directions, coefficients = inputs()
    quaternions = torch.nn.functional.normalize(gaussians.quaternions, dim=-1)
    covariances, _ = gsplat._quat_scale_to_covar_preci(quaternions, gaussians.scales, True, False)
    _, means_px, depths, conics, compensations = gsplat._fully_fused_projection(
        gaussians.means, covariances, camera.viewmat[None], camera.K[None],
        camera.width, camera.height, calc_compensations=True,
    )  # fmt: skip
    harmonics = [gsplat._spherical_harmonics(k, directions, coefficients) for k in range(4)]
    arrays = {
        "means_px": means_px[0], "depths": depths[0], "conics": conics[0],
        "compensations": compensations[0], "harmonics": torch.stack(harmonics),
    }  # fmt: skip
    np.savez_compressed(PATH, **{name: value.numpy() for name, value in arrays.items()})


if __name__ == "__main__":
    main()
