"""Truth from outside: numbers that gsplat 1.5.3's own torch code produced (golden/make_gsplat.py)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from render import spherical_harmonics
from render.backends import reference
from tests.render.golden.make_gsplat import PATH, inputs


@pytest.fixture(scope="module")
def golden():
    with np.load(PATH) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.mark.parametrize("antialiased", [False, True])
def test_projection(golden, antialiased):
    gaussians, camera, _, _ = inputs()
    splats = reference.project(
        gaussians, camera.viewmat, camera.K, camera.width, camera.height, antialiased
    )
    order = torch.argsort(golden["depths"], stable=True)
    torch.testing.assert_close(splats.means_px, golden["means_px"][order])
    torch.testing.assert_close(splats.conics, golden["conics"][order])
    factor = golden["compensations"] if antialiased else torch.ones_like(golden["compensations"])
    torch.testing.assert_close(splats.opacities, (gaussians.opacities * factor)[order])


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics(golden, degree):
    _, _, directions, coefficients = inputs()
    count = spherical_harmonics.coefficient_count(degree)
    basis = spherical_harmonics.basis(directions, degree)
    values = torch.einsum("nk,nkc->nc", basis, coefficients[:, :count])
    torch.testing.assert_close(values, golden["harmonics"][degree])
