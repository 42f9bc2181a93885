"""The fixed anchors: every prefix is an even covering, and the same head gives the same anchors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from avatar3d.heads import load_head
from avatar3d.heads.model import PART_INDEX, PARTS
from avatar3d.heads.skinning import HEAD, ROOT
from avatar3d.template import LAYERS, SHEET, SHEET_PART, SKIN, Template, make_template

PREFIXES = (1_000, 2_500, 5_000, 10_000, 20_000)


@pytest.fixture(scope="module")
def template() -> Template:
    return make_template(load_head("default"), PREFIXES[-1])


def test_anchors_are_well_formed(template: Template):
    assert template.barycentrics.min() >= 0
    torch.testing.assert_close(template.barycentrics.sum(1), torch.ones(template.count))
    assert (template.spacing > 0).all()
    part = template.head.triangle_part[template.triangle]
    assert torch.equal(part, template.part)
    assert torch.equal(template.part == SHEET_PART, template.layer == SHEET)
    assert set(template.part.tolist()) == {*PART_INDEX.values(), SHEET_PART}


@pytest.mark.parametrize("count", PREFIXES)
def test_a_prefix_is_the_smaller_template(template: Template, count: int):
    small = make_template(load_head("default"), count)
    assert torch.equal(small.triangle, template.triangle[:count])
    assert torch.equal(small.barycentrics, template.barycentrics[:count])
    assert torch.equal(small.layer, template.layer[:count])
    # Fewer anchors stand farther apart, as the root of their number.
    torch.testing.assert_close(
        small.spacing, template.spacing[:count] * (template.count / count) ** 0.5
    )


@pytest.mark.parametrize("count", PREFIXES)
def test_every_prefix_has_its_share_of_layers_and_parts(template: Template, count: int):
    """Layers exactly, parts within less than half of what a draw at random would miss by."""
    for layer in range(len(LAYERS)):
        share = float((template.layer == layer).double().mean())
        assert abs(int((template.layer[:count] == layer).sum()) - share * count) < 4, layer
    kinds = template.part + 100 * template.layer
    for kind in kinds.unique().tolist():
        whole = float((kinds == kind).double().mean())
        part = int((kinds[:count] == kind).sum())
        assert abs(part - whole * count) < 4 + 0.4 * (whole * count) ** 0.5, kind


@pytest.mark.parametrize("layer", range(len(LAYERS)))
@pytest.mark.parametrize("count", PREFIXES)
def test_neighbours_keep_their_distance(template: Template, count: int, layer: int):
    """Nearest neighbours are farther off than at random, where they lie at half the spacing on
    average (Clark and Evans 1954), and the stated spacing is the one that is found."""
    inside = (template.layer[:count] == layer).numpy()
    points = template.neutral_points()[:count].numpy()[inside]
    nearest = np.asarray(KDTree(points).query(points, k=2)[0])[:, 1]
    spacing = template.spacing[:count].numpy()[inside] * (template.count / count) ** 0.5
    relative = nearest / spacing
    assert 0.53 < relative.mean() < 0.75
    if count <= 10_000:
        assert np.quantile(relative, 0.05) > 0.17  # at random 0.13


def test_both_sides_get_alike(template: Template):
    x = template.neutral_points()[:, 0]
    for names in (("face", "eyelids"), ("ears",), ("bust",), ("scalp",)):
        side = x[template.is_part(*names)]
        assert abs(float((side > 0).double().mean()) - 0.5) < 0.03, names
    left, right = (int(template.is_part(f"{s}_eyeball").sum()) for s in ("left", "right"))
    assert abs(left - right) < 5


def test_eyes_and_lips_are_denser_than_cheeks(template: Template):
    points, face = template.neutral_points(), template.is_part("face", "eyelids")
    cheek = face & ((points - torch.tensor([0.045, -0.05, 0.0])).abs()[:, :2].max(1).values < 0.01)
    lips = face & (points[:, 0].abs() < 0.015) & ((points[:, 1] + 0.068).abs() < 0.008)
    assert template.spacing[lips].mean() < 0.75 * template.spacing[cheek].mean()


def test_the_same_head_gives_the_same_anchors(template: Template):
    make_template.cache_clear()
    # Another object with the same arrays, as another process reads it.
    again = make_template(replace(load_head("default")), template.count)
    assert again is not template
    for name in ("triangle", "barycentrics", "part", "layer", "spacing"):
        assert torch.equal(getattr(again, name), getattr(template, name)), name


def test_the_sheet_hangs_on_skull_and_bust(template: Template):
    head, own = template.head, load_head("default")
    sheet = slice(len(own.neutral), None)
    assert not head.identity_basis[:, sheet].any()
    assert not head.expression_basis[:, sheet].any()
    weights, height = head.skin_weights[sheet], head.neutral[sheet, 1]
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
    assert (weights[height > -0.05, HEAD] == 1).all()
    assert (weights[height < -0.131, ROOT] == 1).all()  # the chin ends at -.12
    mirrored = head.neutral[head.mirror[sheet]] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(mirrored, head.neutral[sheet], atol=1e-6, rtol=0)


def test_lit_anchors_are_skin(template: Template):
    lit = template.lit
    assert (template.layer[lit] == SKIN).all()
    names = {PARTS[number] for number in template.part[lit].tolist()}
    assert names == {"face", "eyelids", "scalp", "ears", "neck"}
