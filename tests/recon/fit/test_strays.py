"""Lone dots of hair and of cloth go; hair among hair, hair on skin, and everything else stay."""

from __future__ import annotations

import torch

from avatar3d.avatar import Attributes
from avatar3d.template import HAIR_INNER, HAIR_OUTER, SHEET
from recon.fit.strays import with_even_scalp, without_strays
from tests.recon.fit import synthetic as scene


def _cleaned(positions: torch.Tensor, logits: torch.Tensor, frame_count: int = 1) -> torch.Tensor:
    template, _ = scene.scene()
    zeros = torch.zeros(template.count, 3)
    attributes = Attributes(zeros, torch.zeros(template.count, 4), zeros, logits, zeros)
    cleaned = without_strays(template, positions, attributes, frame_count)
    for name in ("offsets", "rotations", "log_scales", "colors"):
        assert getattr(cleaned, name) is getattr(attributes, name)
    return cleaned.opacity_logits


def test_one_opaque_dot_in_transparent_hair_far_off_the_head_goes():
    template, _ = scene.scene()
    positions = template.neutral_points().clone()
    outer = torch.where(template.layer == HAIR_OUTER)[0]
    positions[outer] += torch.tensor([0.0, 0.0, 0.5])  # nothing else is there
    logits = torch.full((template.count,), 3.0)
    logits[outer] = -6.0
    dot = int(outer[7])
    logits[dot] = 4.0
    cleaned = _cleaned(positions, logits)
    assert cleaned[dot].sigmoid() < 0.01
    others = torch.ones(template.count, dtype=torch.bool)
    others[outer] = False
    assert torch.equal(cleaned[others], logits[others])


def test_hair_in_company_stays_bit_for_bit():
    template, _ = scene.scene()
    positions = template.neutral_points()
    for level in (3.0, 0.0):
        logits = torch.full((template.count,), level)
        assert torch.equal(_cleaned(positions, logits), logits)


def test_a_dot_above_the_shoulder_goes_however_many_frames_and_hair_beside_the_face_stays():
    template, _ = scene.scene()
    points = template.neutral_points()
    below = (template.layer == SHEET) & (points[:, 1] < -0.11)
    positions = points.clone()
    positions[template.layer == SHEET] -= torch.tensor([0.0, 0.0, 0.5])
    for chosen, goes in ((below, True), ((template.layer == SHEET) & ~below, False)):
        logits = torch.full((template.count,), 3.0)
        logits[template.layer == SHEET] = -6.0
        dot = int(torch.where(chosen)[0][3])
        logits[dot] = 4.0
        cleaned = _cleaned(positions, logits, frame_count=32)
        assert bool(cleaned[dot].sigmoid() < 0.01) == goes


def test_opacity_is_only_lowered_and_only_of_hair_and_cloth():
    template, _ = scene.scene()
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(template.count, generator=generator) - 2
    cleaned = _cleaned(template.neutral_points(), logits)
    assert (cleaned <= logits).all()
    changed = cleaned != logits
    assert changed.any()
    layers = template.layer[changed]
    assert ((layers == HAIR_INNER) | (layers == HAIR_OUTER) | (layers == SHEET)).all()


def test_more_frames_lower_less():
    template, _ = scene.scene()
    logits = 4 * torch.randn(template.count, generator=torch.Generator().manual_seed(0)) - 2
    points = template.neutral_points()
    one, eight, many = (_cleaned(points, logits, count).sigmoid().sum() for count in (1, 8, 32))
    assert one < eight < many <= logits.sigmoid().sum()


def test_one_piece_of_scalp_above_the_others_or_wider_is_as_they_are_and_a_raised_scalp_stays():
    template, _ = scene.scene()
    scalp = torch.where(template.is_part("scalp"))[0]
    zeros = torch.zeros(template.count, 3)
    offsets = zeros.clone()
    offsets[scalp, 2] = 0.01  # a bald head, larger than the mesh
    offsets[scalp[5]] = torch.tensor([0.001, 0.002, 0.02])
    logits = torch.full((template.count,), 3.0)
    log_scales = zeros - 5.0
    log_scales[scalp[9], :2] += 0.7
    attributes = Attributes(offsets, torch.zeros(template.count, 4), log_scales, logits, zeros)
    cleaned = with_even_scalp(template, attributes)
    assert cleaned.offsets[scalp[5], 2] < 0.014
    offsets[scalp[5], 2] = cleaned.offsets[scalp[5], 2]
    assert torch.equal(cleaned.offsets, offsets)
    assert (cleaned.log_scales[scalp[9], :2] < -4.8).all()
    log_scales[scalp[9]] = cleaned.log_scales[scalp[9]]
    assert torch.equal(cleaned.log_scales, log_scales)


def test_a_wide_piece_of_scalp_is_found_however_it_is_turned():
    """A thin axis where the others have a wide one is no reason to pass, nor the reverse to change."""
    template, _ = scene.scene()
    scalp = torch.where(template.is_part("scalp"))[0]
    log_scales = torch.full((template.count, 3), -5.0)
    log_scales[:, 2] = -7.0
    turned, wide = scalp[5], scalp[9]
    log_scales[turned] = torch.tensor([-7.0, -5.0, -5.0])
    log_scales[wide] = torch.tensor([-7.0, -5.0, -4.0])
    zeros, logits = torch.zeros(template.count, 3), torch.full((template.count,), 3.0)
    given = Attributes(zeros, torch.zeros(template.count, 4), log_scales, logits, zeros)
    cleaned = with_even_scalp(template, given).log_scales
    assert cleaned[wide, 2] < -4.7
    assert torch.equal(cleaned[wide, :2], log_scales[wide, :2])
    cleaned[wide] = log_scales[wide]
    assert torch.equal(cleaned, log_scales)
