"""Hair that no frame shows takes its colour from what is seen of it and hangs from the crown."""

from __future__ import annotations

import numpy as np
import torch

from avatar3d.avatar import Attributes
from avatar3d.binding import Binding
from avatar3d.codes import ExpressionCode
from avatar3d.geometry import quaternion_to_matrix
from avatar3d.template import HAIR_INNER, HAIR_OUTER, SHEET, make_template
from recon.fit.unseen_hair import with_hair_all_round
from tests.recon.fit import synthetic as scene

BLACK, SKIN, FILLED = 0.1, 0.7, 0.5
TEMPLATE = make_template(scene.scene().template.head, 20_000)
POINTS = TEMPLATE.neutral_points()
HAIR = (TEMPLATE.layer == HAIR_INNER) | (TEMPLATE.layer == HAIR_OUTER)
FRONT = POINTS[:, 2] > -0.07
LOOK = torch.where(FRONT, 1.0, 0.05)[:, None]


def _frames():
    binding = Binding(TEMPLATE, torch.zeros(TEMPLATE.head.identity_count))
    return binding.frames(ExpressionCode.neutral())


def _attributes(hair_color: float) -> Attributes:
    grown = HAIR & (POINTS[:, 1] > 0.05)
    colors = torch.where(grown, hair_color, SKIN)
    colors = torch.where(FRONT, colors, FILLED)[:, None].expand(-1, 3).contiguous()
    rotations = torch.zeros(TEMPLATE.count, 4)
    rotations[:, 0] = 1.0
    zeros = torch.zeros(TEMPLATE.count, 3)
    logits = torch.full((TEMPLATE.count,), 2.0)
    return Attributes(zeros, rotations, zeros - 6.0, logits, colors)


def _grown(hair_color: float = BLACK) -> tuple[Attributes, Attributes]:
    before = _attributes(hair_color)
    ones = torch.ones(TEMPLATE.count, 3)
    return before, with_hair_all_round(TEMPLATE, before, _frames(), LOOK, ones)


def test_the_back_of_the_head_has_the_hair_and_what_is_seen_stays():
    before, after = _grown()
    back = HAIR & ~FRONT & (POINTS[:, 2] < -0.12)
    assert (after.colors[back] - BLACK).abs().mean() < 0.03
    below = TEMPLATE.is_part("scalp") & ~FRONT & (POINTS[:, 2] < -0.12)
    assert (after.colors[below] - 0.8 * BLACK).abs().mean() < 0.03
    for field in ("colors", "rotations", "log_scales"):
        torch.testing.assert_close(getattr(after, field)[FRONT], getattr(before, field)[FRONT])
    neck = TEMPLATE.is_part("neck", "bust", "ears")
    torch.testing.assert_close(after.colors[neck], before.colors[neck])
    torch.testing.assert_close(after.opacity_logits, before.opacity_logits)


def test_a_bald_head_stays_bald():
    before, after = _grown(hair_color=SKIN)
    torch.testing.assert_close(after.colors, before.colors)
    torch.testing.assert_close(after.log_scales, before.log_scales)


def test_a_cheek_in_the_light_grows_no_hair():
    """A patch before the ear that no frame shows, amid skin far lighter than the rest."""
    before = _attributes(BLACK)
    face = TEMPLATE.is_part("face")
    cheek = face & (POINTS[:, 0] > 0.05) & (POINTS[:, 1].abs() < 0.03)
    before.colors[cheek] = SKIN + 0.25
    patch = face & ((POINTS - torch.tensor([0.068, -0.015, -0.045])).norm(dim=1) < 0.012)
    assert patch.sum() > 20
    look = torch.where(patch[:, None], 0.05, LOOK)
    ones = torch.ones(TEMPLATE.count, 3)
    after = with_hair_all_round(TEMPLATE, before, _frames(), look, ones)
    torch.testing.assert_close(after.colors[patch], before.colors[patch])


def test_strands_fall():
    _, after = _grown()
    sides = HAIR & ~FRONT & (POINTS[:, 1].abs() < 0.04)
    axes = _frames().rotations @ quaternion_to_matrix(after.rotations)
    longest = axes[sides][:, :, 0]
    assert (after.log_scales[sides, 0] > after.log_scales[sides, 1] + 1.0).all()
    assert longest[:, 1].mean() < -0.75  # down
    turned = np.degrees(np.arccos(np.clip(-longest[:, 1].numpy(), -1, 1)))
    assert 5 < turned.std() < 40  # not combed


def test_a_crown_above_the_pictures_edge_has_the_strands_of_what_hangs():
    before = _attributes(BLACK)
    hanging = torch.nonzero((TEMPLATE.layer == SHEET) & (POINTS[:, 1] > -0.06))[::4, 0]
    strands = 0.2 + 0.05 * torch.randn(len(hanging), 1, generator=torch.Generator().manual_seed(0))
    before.colors[hanging] = strands.expand(-1, 3)
    look = torch.where(TEMPLATE.is_part("face"), 1.0, 0.05)[:, None]
    look[hanging] = 1.0
    ones = torch.ones(TEMPLATE.count, 3)
    after = with_hair_all_round(TEMPLATE, before, _frames(), look, ones)
    crown = after.colors[HAIR & (POINTS[:, 1] > 0.09)]
    assert 0.02 < float(crown[:, 0].std()) < 0.08
    assert abs(float(crown.mean()) - 0.2) < 0.04
