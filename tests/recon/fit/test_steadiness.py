"""Where frames disagree on hair, it is neither narrowed nor made transparent to suit some of them."""

from __future__ import annotations

import numpy as np
import torch

from avatar3d.avatar import Attributes
from avatar3d.template import SKIN
from recon.fit.observation import Observation, Sighting
from recon.fit.steadiness import steadiness
from tests.recon.fit.synthetic import EVERYWHERE, SIZE_PX, look, observe, scene

ABOVE = np.arange(SIZE_PX)[:, None] < 40


def steady_of(observations: list[Observation]) -> tuple[np.ndarray, Sighting]:
    template = scene().template
    zeros = torch.zeros(template.count, 3)
    at_rest = Attributes(zeros, torch.zeros(template.count, 4), zeros, zeros[:, 0], zeros)
    sightings = [look(observation) for observation in observations]
    hidden = [sighting.behind_the_head(template) for sighting in sightings]
    return steadiness(template, at_rest, sightings, hidden)[:, 0].numpy(), sightings[0]


def halves(upper: float) -> Observation:
    """Grey below, of a given grey above."""
    grey = np.where(ABOVE, upper, 0.5) * np.ones((1, SIZE_PX))
    return observe(np.repeat(grey[..., None], 3, axis=2), EVERYWHERE)


def test_what_every_frame_shows_alike_is_steady_and_what_changes_is_not():
    steady, sighting = steady_of([halves(grey) for grey in (0.2, 0.5, 0.8, 0.35, 0.65)])
    pixels, _ = sighting.project(sighting.positions)
    template = scene().template
    loose = (template.layer != SKIN).numpy()
    shown = ~sighting.behind_the_head(template) & (pixels > 4).all(1) & (pixels < 92).all(1)
    assert (loose & shown & (pixels[:, 1] < 34)).sum() > 20
    assert (steady[loose & shown & (pixels[:, 1] < 34)] < 0.1).all()
    assert (steady[loose & (pixels[:, 1] > 46)] > 0.99).all()
    assert (steady[~loose] == 1).all()


def test_two_frames_or_hidden_hair_tell_nothing():
    steady, _ = steady_of([halves(0.1), halves(0.9)])
    assert (steady == 1).all()
    steady, sighting = steady_of([halves(grey) for grey in (0.2, 0.5, 0.8)])
    hidden = sighting.behind_the_head(scene().template)
    assert hidden.sum() > 20
    assert (steady[hidden] == 1).all()


def test_an_outline_that_moves_is_not_steady():
    """Of hair that half of the frames have and half have not, the mean is neither."""
    whole = observe((0.5, 0.5, 0.5), EVERYWHERE)
    cut = observe((0.5, 0.5, 0.5), EVERYWHERE * ~ABOVE)
    steady, sighting = steady_of([whole, cut, whole, cut])
    pixels, _ = sighting.project(sighting.positions)
    template = scene().template
    loose = (template.layer != SKIN).numpy() & ~sighting.behind_the_head(template)
    above = loose & (pixels[:, 1] < 36) & (pixels > 4).all(1) & (pixels < 92).all(1)
    assert above.sum() > 20
    assert (steady[above] < 0.4).all()
