"""Hair's strands differ in brightness, not in hue; skin keeps every colour."""

from __future__ import annotations

import torch

from avatar3d.avatar import Attributes
from avatar3d.template import SKIN
from recon.fit.hues import with_even_hues
from render.metrics.sharpness import LUMA
from tests.recon.fit.synthetic import scene

BROWN = torch.tensor([0.4, 0.3, 0.2])


def evened(colors: torch.Tensor) -> torch.Tensor:
    zeros = torch.zeros(len(colors), 3)
    given = Attributes(zeros, torch.zeros(len(colors), 4), zeros, torch.zeros(len(colors)), colors)
    return with_even_hues(scene().template, given).colors


def noise(channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.08 * torch.randn(scene().template.count, channels, generator=generator)


def brightness(colors: torch.Tensor) -> torch.Tensor:
    return colors @ torch.tensor(LUMA, dtype=colors.dtype)


def test_leaves_of_green_and_violet_become_strands():
    template = scene().template
    before = BROWN + noise(3).clamp(-0.15, 0.15)
    after = evened(before)
    hair = template.layer != SKIN
    hue = (after - brightness(after)[:, None])[hair]
    assert hue.std(0).max() < 0.035
    assert (before - brightness(before)[:, None])[hair].std(0).max() > 0.06
    torch.testing.assert_close(brightness(after)[hair], brightness(before)[hair], atol=5e-3, rtol=0)
    assert torch.equal(after[~hair], before[~hair])


def test_brighter_and_darker_strands_stay_as_they_are():
    before = BROWN + noise(1).clamp(-0.19)
    torch.testing.assert_close(evened(before), before, atol=1e-6, rtol=0)


def test_a_streak_of_another_colour_stays():
    """Dyed on one side: inside both halves every hue is that of its surroundings."""
    template = scene().template
    left = template.neutral_points()[:, 0] > 0
    before = torch.where(left[:, None], torch.tensor([0.6, 0.1, 0.1]), BROWN)
    after = evened(before)
    away = template.neutral_points()[:, 0].abs() > 0.03
    torch.testing.assert_close(after[away], before[away], atol=1e-6, rtol=0)
