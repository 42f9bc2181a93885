"""The hierarchy of graphs over the template's anchors."""

from __future__ import annotations

import torch

from avatar3d.template import HAIR_INNER, HAIR_OUTER
from recon.prior.regions import REGIONS, groups_of, regions_of
from recon.prior.surface import surface_of
from tests.recon.fit.synthetic import scene


def test_what_is_the_same_everywhere_stays_so_on_every_way() -> None:
    surface = surface_of(scene().template)
    for level, pool, lift in zip(surface.levels, surface.pool, surface.lift):
        constant = torch.full((level.count, 2), 3.0)
        for moved in (level.average(constant), level.mirror(constant), lift(pool(constant))):
            torch.testing.assert_close(moved, constant)


def test_messages_stay_in_their_group() -> None:
    surface = surface_of(scene().template)
    group = groups_of(surface.region)
    for number in group.unique():
        alone = (group == number).float()[:, None]
        assert (surface.levels[0].average(alone)[group != number] == 0).all()


def test_the_mirror_of_a_place_is_across_the_middle() -> None:
    surface = surface_of(scene().template)
    mirrored = surface.levels[0].mirror(surface.points)
    expected = surface.points * torch.tensor([-1.0, 1.0, 1.0])
    assert (mirrored - expected).norm(dim=1).median() < 0.006


def test_every_anchor_has_its_region() -> None:
    template = scene().template
    region = regions_of(template)
    assert set(region.tolist()) == set(range(len(REGIONS)))
    assert (template.layer[region == REGIONS.index("hair_inner")] == HAIR_INNER).all()
    assert (template.layer[region == REGIONS.index("hair_outer")] == HAIR_OUTER).all()
    assert template.is_part("eyelids")[region == REGIONS.index("eyelids")].all()
