"""Skin filled in beside skin that was seen goes on in its colours; the rest of the head stays."""

from __future__ import annotations

import torch

from avatar3d.avatar import Attributes
from recon.fit.seams import without_seams
from tests.recon.fit import synthetic as scene

SEEN, FILLED = 0.7, 0.3  # grey


def _half_seen() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Side anchors of the face, those of them that are seen, and the distance from the edge, m."""
    template, _ = scene.scene()
    points = template.neutral_points()
    side = template.is_part("face", "ears") & (points[:, 2] < -0.01)
    return side, side & (points[:, 2] > -0.05), points[:, 2] + 0.05


def _joined(seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    colors = torch.where(seen[:, None], SEEN, FILLED).expand(-1, 3).contiguous()
    return _filled_in(colors, seen), colors


def _filled_in(colors: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Colours [N, 3] after the joining, where those in `seen` [N] are known, without light."""
    template, _ = scene.scene()
    look = torch.where(seen, 1.0, 0.05)[:, None]
    shade = torch.ones(template.count, 3)
    return without_seams(template, _attributes(colors), look, shade).colors


def _attributes(colors: torch.Tensor) -> Attributes:
    zeros = torch.zeros_like(colors)
    return Attributes(zeros, torch.zeros(len(colors), 4), zeros, torch.zeros(len(colors)), colors)


def test_the_edge_becomes_a_gradient_and_the_front_stays():
    side, seen, beyond = _half_seen()
    colors, before = _joined(seen)
    neck = scene.scene().template.is_part("neck")
    assert torch.equal(colors[~side & ~neck], before[~side & ~neck])
    near = side & ~seen & (beyond > -0.004)
    assert near.any()
    assert colors[near].mean() > 0.5 * (SEEN + FILLED)
    deep_inside = seen & (beyond > 0.015)
    torch.testing.assert_close(colors[deep_inside], before[deep_inside])
    assert colors.min() >= FILLED - 1e-5
    assert colors.max() <= SEEN + 1e-5


def test_far_from_the_edge_the_seen_colour_goes_on_between_its_own_brightness_and_the_filled():
    side, seen, beyond = _half_seen()
    colors, _ = _joined(seen)
    far = side & ~seen & (beyond < -0.03)
    assert far.any()
    between = (SEEN * FILLED) ** 0.5  # half a say each, as factors; the darkest is half as light
    assert abs(float(colors[far].mean()) - max(between, SEEN * 0.5**0.5)) < 0.06


def test_what_goes_on_has_the_seen_skins_detail():
    """Freckles on what is seen come again on what is not, where it would be one flat patch."""
    template, _ = scene.scene()
    side, seen, beyond = _half_seen()
    shown = seen | (template.is_part("face") & ~side)
    freckles = torch.rand(template.count, generator=torch.Generator().manual_seed(0)) < 0.3
    colors = torch.where((shown & freckles)[:, None], SEEN - 0.15, SEEN).expand(-1, 3).contiguous()
    after = _filled_in(colors, shown)
    far = side & ~shown & (beyond < -0.02)
    assert far.sum() > 10
    assert after[far].mean(1).std() > 0.02


def test_a_brow_is_no_detail_that_goes_on():
    """A dark band across plain skin: mirrored onto the unseen cheek it would be a stain."""
    template, _ = scene.scene()
    side, seen, beyond = _half_seen()
    shown = seen | (template.is_part("face") & ~side)
    points = template.neutral_points()
    pores = 0.01 * torch.randn(template.count, 1, generator=torch.Generator().manual_seed(0))
    brow = shown & points[:, 1].abs().lt(0.006)
    colors = (torch.where(brow[:, None], 0.2, SEEN) + pores).expand(-1, 3).contiguous()
    after = _filled_in(colors, shown)
    cheek = side & ~shown & (beyond < -0.02)
    assert cheek.sum() > 10
    assert 0.002 < after[cheek].mean(1).std() < 0.03
    assert (after[cheek] - SEEN).abs().max() < 0.05


def test_what_goes_on_is_what_one_sees_whatever_the_light_there():
    """Half the light on the side that no frame shows: its colour makes up for it."""
    template, _ = scene.scene()
    side, seen, beyond = _half_seen()
    shade = torch.where(seen[:, None], 1.0, 0.6).expand(-1, 3)
    attributes = _attributes(torch.full((template.count, 3), 0.5))
    look = torch.where(seen, 1.0, 0.05)[:, None]
    after = without_seams(template, attributes, look, shade).colors * shade
    far = side & ~seen & (beyond < -0.03)
    assert after[far].mean() > 0.5 * 0.6 + 0.05  # lighter than the light there would have it


def test_a_head_seen_whole_or_not_at_all_stays():
    template, _ = scene.scene()
    for seen in (torch.ones(template.count), torch.zeros(template.count)):
        colors, before = _joined(seen.bool())
        assert torch.equal(colors, before)
