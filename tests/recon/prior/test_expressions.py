"""The prior's expression basis: silent where frames showed a look, and kept by the fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from recon.fit.config import RefineConfig
from recon.fit.refine import refine
from recon.prior.expressions import MOVEMENTS, movement_basis, movements
from recon.prior.regions import REGIONS
from recon.prior.surface import surface_of
from tests.recon.fit.synthetic import scene
from tests.recon.prior.synthetic import episode
from tests.recon.prior.test_meta import still, stirred

WIDTH = 52
rows = st.lists(st.floats(0, 1), min_size=WIDTH, max_size=WIDTH)


@given(rows, rows)
def test_at_the_mean_of_what_was_shown_it_changes_nothing(
    one: list[float], other: list[float]
) -> None:
    shown = torch.tensor([one, other])
    nothing = torch.zeros(len(MOVEMENTS), 4, 3)
    weights = movement_basis(shown, nothing, nothing).weights(shown.mean(0))
    torch.testing.assert_close(weights, torch.zeros(len(MOVEMENTS)), atol=1e-5, rtol=0)


@given(rows)
def test_a_mirrored_face_makes_the_same_movements(coefficients: list[float]) -> None:
    face = torch.tensor(coefficients)
    mirrored = face.clone()
    for name, index in ARKIT_INDEX.items():
        side = "Left" if name.endswith("Left") else "Right" if name.endswith("Right") else None
        if side:
            other = name.removesuffix(side) + {"Left": "Right", "Right": "Left"}[side]
            mirrored[ARKIT_INDEX[other]] = face[index]
    torch.testing.assert_close(movements(mirrored), movements(face))


@pytest.mark.parametrize("movement", MOVEMENTS)
def test_each_movement_has_its_own_component(movement: str) -> None:
    code = ExpressionCode.from_named(**dict.fromkeys(MOVEMENTS[movement], 0.3))
    weights = movement_basis(
        torch.zeros(1, WIDTH), *torch.zeros(2, len(MOVEMENTS), 4, 3)
    ).weights(code.coefficients)  # fmt: skip
    expected = torch.zeros(len(MOVEMENTS))
    expected[list(MOVEMENTS).index(movement)] = 1.0
    torch.testing.assert_close(weights, expected)


def test_it_moves_the_face_alone() -> None:
    template, one = scene().template, episode()
    basis = stirred().start(one.start, template, one.support_codes.coefficients).basis
    assert basis is not None
    face = surface_of(template).region == REGIONS.index("face")
    for values in (basis.offsets, basis.colors):
        assert values[:, face].abs().max() > 1e-4
        assert not values[:, ~face].any()


def test_refinement_goes_on_from_it_and_keeps_it_where_no_frame_looks() -> None:
    """Eight frames get components of their own after it; hidden anchors keep what they were told."""
    template, one = scene().template, episode(8)
    codes = one.support_codes
    start = still(stirred().start(one.start, template, codes.coefficients))
    told = start.basis
    assert told is not None
    views = [view.observation(one.valid) for view in one.support]
    binding = scene().binding
    config = RefineConfig(iterations=8, iterations_per_frame=0)
    basis = refine(template, binding, start, views, codes, one.camera, config).basis
    assert basis is not None
    known = len(MOVEMENTS)
    assert known < len(basis.offsets) <= known + 8 // 4
    unseen = start.confidence.geometry[:, 0] == 0
    moved = told.colors.abs().amax((0, 2)) > 0
    assert (unseen & moved).any()
    assert (~unseen & moved).any()
    assert torch.equal(basis.colors[:known, unseen], told.colors[:, unseen])
    assert not torch.equal(basis.colors[:known, ~unseen], told.colors[:, ~unseen])

    frozen = replace(config, iterations=0, max_iterations=0)
    same = refine(template, binding, start, views, codes, one.camera, frozen).basis
    assert same is not None
    torch.testing.assert_close(same.offsets[:known], told.offsets)
    torch.testing.assert_close(
        same.weights(codes.coefficients)[:, :known], told.weights(codes.coefficients)
    )
