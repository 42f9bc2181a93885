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
    template, _ = scene.scene()
    zeros = torch.zeros(template.count, 3)
    colors = torch.where(seen[:, None], SEEN, FILLED).expand(-1, 3).contiguous()
    attributes = Attributes(
        zeros, torch.zeros(template.count, 4), zeros, torch.zeros(template.count), colors
    )
    look = torch.where(seen, 1.0, 0.05)[:, None]
    return without_seams(template, attributes, look).colors, colors


def test_the_edge_becomes_a_gradient_and_far_from_it_nothing_changes():
    side, seen, beyond = _half_seen()
    colors, before = _joined(seen)
    assert torch.equal(colors[~side], before[~side])
    near = side & ~seen & (beyond > -0.004)
    far = side & ~seen & (beyond < -0.035)
    assert near.any()
    assert far.any()
    assert colors[near].mean() > 0.5 * (SEEN + FILLED)
    assert colors[far].mean() < FILLED + 0.1
    deep_inside = seen & (beyond > 0.015)
    torch.testing.assert_close(colors[deep_inside], before[deep_inside])
    assert colors.min() >= FILLED - 1e-5
    assert colors.max() <= SEEN + 1e-5


def test_a_head_seen_whole_or_not_at_all_stays():
    template, _ = scene.scene()
    for seen in (torch.ones(template.count), torch.zeros(template.count)):
        colors, before = _joined(seen.bool())
        assert torch.equal(colors, before)
