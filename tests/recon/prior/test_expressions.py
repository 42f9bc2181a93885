"""The prior's expression basis: silent where frames showed a look, and kept by the fit."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avatar3d.codes import ARKIT_INDEX, ExpressionCode, both_sides, other_side
from avatar3d.heads import load_head
from recon.fit.config import RefineConfig
from recon.fit.refine import refine
from recon.prior.expressions import MOVEMENTS, movement_basis, movements_of
from recon.prior.regions import REGIONS
from recon.prior.surface import surface_of
from tests.recon.fit.synthetic import scene
from tests.recon.prior.synthetic import episode
from tests.recon.prior.test_meta import still, stirred

WIDTH = 52
rows = st.lists(st.floats(0, 1), min_size=WIDTH, max_size=WIDTH)


@lru_cache(maxsize=1)
def known() -> torch.Tensor:
    return movements_of(load_head("default"))


@given(rows, rows)
def test_at_the_mean_of_what_was_shown_it_changes_nothing(
    one: list[float], other: list[float]
) -> None:
    shown = torch.tensor([one, other])
    nothing = torch.zeros(len(MOVEMENTS), 4, 3)
    weights = movement_basis(shown, known(), nothing, nothing).weights(shown.mean(0))
    torch.testing.assert_close(weights, torch.zeros(len(MOVEMENTS)), atol=1e-5, rtol=0)


@given(rows)
def test_a_mirrored_face_makes_the_same_movements(coefficients: list[float]) -> None:
    face = torch.tensor(coefficients)
    mirrored = face.clone()
    for name, index in ARKIT_INDEX.items():
        mirrored[ARKIT_INDEX[other_side(name)]] = face[index]
    torch.testing.assert_close(mirrored @ known(), face @ known(), atol=0.05, rtol=0.02)


@pytest.mark.parametrize(
    ("coefficients", "more", "less"),
    [
        ({"jawOpen": 0.3}, ("jaw_down", "lips_apart"), ()),
        (both_sides(mouthSmile=0.5), ("corners_out", "corners_up"), ()),
        (both_sides(mouthFrown=0.5), (), ("corners_up",)),
        ({"mouthPucker": 0.5}, ("lips_forward",), ("corners_out",)),
        ({"browInnerUp": 0.5, **both_sides(browOuterUp=0.5)}, ("brows_up",), ()),
        (both_sides(browDown=0.5), (), ("brows_up",)),
    ],
)
def test_an_expression_makes_the_movements_it_is_named_for(
    coefficients: dict[str, float], more: tuple[str, ...], less: tuple[str, ...]
) -> None:
    made = ExpressionCode.from_named(**coefficients).coefficients @ known()
    for names, sign in ((more, 1.0), (less, -1.0)):
        for name in names:
            assert sign * float(made[list(MOVEMENTS).index(name)]) > 0.4, name
    mouth = "jawOpen" in coefficients or any(name.startswith("mouth") for name in coefficients)
    other = made[list(MOVEMENTS).index("brows_up")] if mouth else made[1]
    assert abs(float(other)) < 0.1


def test_it_moves_the_face_alone() -> None:
    template, one = scene().template, episode()
    basis = stirred().start(one.start, template, one.support_codes.coefficients).basis
    assert basis is not None
    face = surface_of(template).region == REGIONS.index("face")
    for values in (basis.offsets, basis.colors):
        assert values[:, face].abs().max() > 1e-4
        assert not values[:, ~face].any()


def test_each_movement_changes_the_skin_about_what_moves() -> None:
    """A mouth neither the eyes nor the ears, and no movement the lids."""
    template, one = scene().template, episode()
    basis = stirred().start(one.start, template, one.support_codes.coefficients).basis
    assert basis is not None
    points, skin = template.neutral_points(), template.is_part("face")
    changed = (basis.offsets.abs() + basis.colors.abs()).amax(-1) > 0
    brows = list(MOVEMENTS).index("brows_up")
    for side in ("left", "right"):
        centre = points[template.is_part(f"{side}_eyeball")].mean(0)
        off = points - centre
        lids = skin & (off[:, :2].norm(dim=1) < 0.013)
        assert lids.any()
        assert not changed[:, lids].any()
        assert changed[brows, skin & (off[:, 1] > 0.02)].any()
        cheeks = skin & (off[:, 1] < -0.05)
        assert changed[:brows, cheeks].any(1).all()
        assert not changed[brows, cheeks].any()
        above = skin & (off[:, 1] > -0.005)
        assert not changed[:brows, above].any()
    assert not changed[:, template.is_part("ears")].any()


def test_a_movement_that_no_frame_makes_is_not_refined() -> None:
    """One frame teaches nothing of what changes from frame to frame; its gradient is noise."""
    template, one = scene().template, episode(1)
    codes = one.support_codes
    start = still(stirred().start(one.start, template, codes.coefficients))
    views = [view.observation(one.valid) for view in one.support]
    config = RefineConfig(iterations=12, refine_codes_after=0.0)
    basis = refine(template, scene().binding, start, views, codes, one.camera, config).basis
    assert basis is not None
    assert start.basis is not None
    assert torch.equal(basis.colors, start.basis.colors)
    assert torch.equal(basis.offsets, start.basis.offsets)


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
    count = len(MOVEMENTS)
    assert count < len(basis.offsets) <= count + 8 // 4
    unseen = start.confidence.geometry[:, 0] == 0
    moved = told.colors.abs().amax((0, 2)) > 0
    assert (unseen & moved).any()
    assert (~unseen & moved).any()
    assert torch.equal(basis.colors[:count, unseen], told.colors[:, unseen])
    assert not torch.equal(basis.colors[:count, ~unseen], told.colors[:, ~unseen])

    frozen = replace(config, iterations=0, max_iterations=0)
    same = refine(template, binding, start, views, codes, one.camera, frozen).basis
    assert same is not None
    torch.testing.assert_close(same.offsets[:count], told.offsets)
    torch.testing.assert_close(
        same.weights(codes.coefficients)[:, :count], told.weights(codes.coefficients)
    )


def test_the_page_can_draw_the_basis_of_many_frames() -> None:
    """Movements, components of the frames' own, and one for each eye that shuts."""
    page = (Path(__file__).parents[3] / "viewer/web/src/asset.ts").read_text()
    most = re.search(r"MAX_RANK = (\d+)", page)
    assert most is not None
    assert len(MOVEMENTS) + RefineConfig().basis_rank + 2 <= int(most[1])
