"""The back of neck and shoulders goes on as the shoulders do, not as the opening of a shirt."""

from __future__ import annotations

from dataclasses import replace

import torch

from avatar3d.avatar import Attributes
from avatar3d.template import HAIR_INNER, HAIR_OUTER, SHEET, make_template
from recon.fit.unseen_back import with_plain_back
from tests.recon.fit import synthetic as scene

SKIN, LEFT, RIGHT, OPENING, BLOTCH, HAIR = 0.7, 0.3, 0.2, 0.95, 0.5, 0.05
TEMPLATE = make_template(scene.scene().template.head, 20_000)
X, Y, Z = TEMPLATE.neutral_points().unbind(-1)
SHEETS, LAYERS = (
    TEMPLATE.layer == SHEET,
    (TEMPLATE.layer == HAIR_INNER) | (TEMPLATE.layer == HAIR_OUTER),
)
FRONT = (Z > -0.07) | SHEETS
LOOK = torch.where(FRONT, 1.0, 0.05)[:, None]
BUST, NECK = TEMPLATE.is_part("bust"), TEMPLATE.is_part("neck")
BACK = Z < -0.12


def _attributes(*, empty_sheet: bool = True) -> Attributes:
    color = torch.full((TEMPLATE.count,), SKIN)
    color[BUST] = torch.where(X > 0, LEFT, RIGHT)[BUST]
    color[BUST & (X.abs() < 0.04)] = OPENING
    color[(BUST | NECK) & ~FRONT] = BLOTCH
    color[SHEETS | LAYERS] = HAIR
    logits = torch.full((TEMPLATE.count,), 3.0)
    if empty_sheet:
        logits[SHEETS] = -6.0
    rotations = torch.zeros(TEMPLATE.count, 4)
    rotations[:, 0] = 1.0
    zeros = torch.zeros(TEMPLATE.count, 3)
    return Attributes(zeros, rotations, zeros - 6.0, logits, color[:, None].repeat(1, 3))


def _with_back(before: Attributes, look: torch.Tensor = LOOK) -> Attributes:
    return with_plain_back(TEMPLATE, before, look, torch.ones(TEMPLATE.count, 3))


def test_cloth_goes_round_the_shoulders_and_a_nape_is_skin():
    before = _attributes()
    after = _with_back(before)
    low = BUST & BACK & (Y < -0.17)
    for side, wanted in ((X > 0.06, LEFT), (X < -0.06, RIGHT)):
        assert (after.colors[low & side] - wanted).abs().mean() < 0.03
    middle = after.colors[low & (X.abs() < 0.01)]
    assert (middle - (LEFT + RIGHT) / 2).abs().mean() < 0.03  # one into the other, no opening
    nape = NECK & BACK & (Y > -0.12)
    assert (after.colors[nape] - SKIN).abs().mean() < 0.05


def test_what_is_seen_and_other_parts_stay():
    before = _attributes()
    after = _with_back(before)
    others = FRONT | ~(BUST | NECK)
    torch.testing.assert_close(after.colors[others], before.colors[others])
    assert after.log_scales is before.log_scales
    assert after.opacity_logits is before.opacity_logits


def test_a_high_collar_goes_round_too():
    before = _attributes()
    colors = before.colors.clone()
    colors[NECK & FRONT] = LEFT
    after = _with_back(replace(before, colors=colors))
    nape = NECK & BACK & (Y < -0.1) & (X > 0.02)
    assert (after.colors[nape] - LEFT).abs().mean() < 0.05


def test_hair_that_hangs_on_both_sides_hangs_behind():
    after = _with_back(_attributes(empty_sheet=False))
    nape = NECK & BACK & (Y > -0.14)
    assert (after.colors[nape] - HAIR).abs().mean() < 0.05


def test_where_no_shoulder_is_seen_nothing_is_made_up():
    before = _attributes()
    after = _with_back(before, torch.where(BUST[:, None], 0.05, LOOK))
    torch.testing.assert_close(after.colors, before.colors)
