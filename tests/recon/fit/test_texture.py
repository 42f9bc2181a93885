"""Texture energy: it asks how much detail there is, not where exactly, and not at the outline."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.fit.config import RefineConfig
from recon.fit.texture import agreement, coarse_grey, texture_energy, texture_weight


def _stripes(size_px: int, shift_px: int = 0) -> torch.Tensor:
    columns = (torch.arange(size_px) + shift_px) % 4 < 2
    return columns.float().expand(size_px, size_px)[..., None].repeat(1, 1, 3)


def test_energy_is_the_mean_laplacian_of_each_window():
    picture = torch.rand(20, 23, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    picture = picture.float()
    grey = picture @ torch.tensor([0.299, 0.587, 0.114])
    energy = texture_energy(picture)
    assert energy.shape == (4, 5)
    for row in range(4):
        for column in range(5):
            total = 0.0
            for y in range(1 + 3 * row, 10 + 3 * row):
                for x in range(1 + 3 * column, 10 + 3 * column):
                    around = grey[y - 1, x] + grey[y + 1, x] + grey[y, x - 1] + grey[y, x + 1]
                    total += abs(float(around - 4 * grey[y, x]))
            assert abs(float(energy[row, column]) - total / 81) < 1e-5


def test_detail_moved_by_pixels_keeps_its_energy_and_blur_loses_it():
    picture, moved = _stripes(64), _stripes(64, 2)
    assert (picture - moved).abs().mean() == 1.0  # all wrong, pixel by pixel
    kept = (texture_energy(picture) - texture_energy(moved)).abs().mean()
    blurred = torch.full_like(picture, 0.5)
    lost = (texture_energy(picture) - texture_energy(blurred)).abs().mean()
    assert kept < 0.15 * lost


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), strength=st.floats(0.2, 0.9))
def test_its_gradient_gives_back_contrast(seed, strength):
    """A picture whose detail is weaker than the truth's gets more of its own detail."""
    generator = torch.Generator().manual_seed(seed)
    truth = 0.5 + 0.2 * torch.randn(32, 32, 1, generator=generator).expand(-1, -1, 3)
    faint = (0.5 + strength * (truth - 0.5)).requires_grad_()
    loss = (texture_energy(faint) - texture_energy(truth)).abs().sum()
    (gradient,) = torch.autograd.grad(loss, faint)
    sharper = faint.detach() - 1e-3 * gradient / gradient.norm()
    inside = slice(6, 26)
    deviation = faint.detach()[inside, inside].std()
    assert sharper[inside, inside].std() > deviation


def test_lost_detail_is_asked_for_and_strands_in_another_place_are_not():
    fine, blurred = 0.3 + 0.4 * _stripes(64), torch.full((64, 64, 3), 0.5)
    lost = agreement(coarse_grey(blurred), coarse_grey(fine))
    assert lost.shape == texture_energy(fine).shape
    assert lost.min() > 0.8
    strands = 0.4 + 0.2 * ((torch.arange(64) // 16) % 2).float()
    strands = strands.expand(64, 64)[..., None].repeat(1, 1, 3)
    swung = strands.roll(16, dims=1)
    apart = agreement(coarse_grey(swung), coarse_grey(strands))
    assert apart.min() < 0.01
    assert apart.mean() < 0.3
    assert (agreement(coarse_grey(strands), coarse_grey(strands)) == 1).all()


def test_windows_at_the_outline_and_beside_the_person_weigh_nothing():
    matte = torch.zeros(60, 60)
    matte[20:, 15:45] = 1.0
    weights = texture_weight(matte, torch.ones(60, 60))
    assert abs(float(weights.sum()) - 1.0) < 1e-5
    rows, columns = (weights > 0).nonzero().unbind(1)
    # The window of row r covers the picture's rows 3 r + 1 to 3 r + 9.
    assert int((3 * rows + 9).min()) >= 23
    assert int((3 * rows + 6).min()) < 26
    assert int((3 * columns + 9).min()) >= 18
    assert int((3 * columns + 1).max()) <= 41
    assert texture_weight(torch.zeros(60, 60), torch.ones(60, 60)).sum() == 0


def test_many_frames_are_believed_more_detail():
    config = RefineConfig()
    weights = [config.texture_weight_for(count) for count in (1, 8, 32, 100)]
    assert weights[0] == config.texture_weight
    assert weights[0] < weights[1] < weights[2]
    assert weights[2:] == [config.texture_weight_of_many] * 2
