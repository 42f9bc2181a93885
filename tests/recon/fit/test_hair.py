"""The hull of the hair under a matte that is the bare head grown by a few pixels: a helmet."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from avatar3d.template import HAIR_INNER, HAIR_OUTER
from recon.fit.hair import hair_heights
from recon.fit.observation import Sighting
from tests.recon.fit.synthetic import EVERYWHERE, look, observe, scene

PX_PER_M = 230 / 0.9  # of the synthetic camera at the head's middle
STEP_M = 0.0025  # of the search along the normal


def helmet(thickness_px: int) -> Sighting:
    """A frame whose matte is the head's silhouette, so much thicker all around."""
    bare = np.isfinite(look(observe((0.2, 0.1, 0.1), EVERYWHERE)).depth).astype(np.uint8)
    size = 2 * abs(thickness_px) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    matte = (cv2.dilate if thickness_px > 0 else cv2.erode)(bare, kernel)
    return look(observe((0.2, 0.1, 0.1), matte))


def hair() -> np.ndarray:
    layer = scene().template.layer.numpy()
    return (layer == HAIR_INNER) | (layer == HAIR_OUTER)


def crown() -> np.ndarray:
    return hair() & (scene().template.neutral_points().numpy()[:, 1] > 0.06)


def outline(sighting: Sighting) -> np.ndarray:
    """Outer hair on the crown that the camera sees edge-on."""
    aslant = np.abs(sighting.facing(sighting.positions, sighting.normals)) < 0.2
    return crown() & aslant & (scene().template.layer.numpy() == HAIR_OUTER)


@pytest.mark.parametrize("thickness_px", [3, 6, 9])
def test_hair_is_as_high_as_the_silhouette_says(thickness_px: int):
    sighting = helmet(thickness_px)
    heights = hair_heights(scene().template, [sighting])[outline(sighting)]
    assert len(heights) > 5
    # Two steps of the search, and what smoothing over the neighbours takes.
    assert np.median(heights) == pytest.approx(thickness_px / PX_PER_M, abs=2 * STEP_M, rel=0.15)


@pytest.mark.parametrize("thickness_px", [3, 6, 9])
def test_hair_stays_within_the_silhouette(thickness_px: int):
    sighting = helmet(thickness_px)
    heights = hair_heights(scene().template, [sighting])[crown()]
    tops = sighting.positions[crown()] + sighting.normals[crown()] * heights[:, None]
    column, row = sighting.project(tops)[0].round().astype(int).T
    reach = cv2.dilate(sighting.observation.matte, np.ones((3, 3), np.uint8))
    assert reach[row, column].min() == 1


def test_more_matte_more_hair():
    means = [hair_heights(scene().template, [helmet(px)])[crown()].mean() for px in (2, 5, 8)]
    assert means[0] < means[1] < means[2]


@pytest.mark.parametrize("thickness_px", [2, 4, 6])
def test_hair_is_nowhere_higher_than_a_helmet_is_thick(thickness_px: int):
    """Anchors before and behind the widest place of the head are seen edge-on far inside its
    outline: how far off that is from them is no height."""
    heights = hair_heights(scene().template, [helmet(thickness_px)])[hair()]
    assert heights.max() < thickness_px / PX_PER_M + 2 * STEP_M


def test_only_scalp_and_hair_have_a_height():
    template = scene().template
    heights = hair_heights(template, [helmet(5)])
    assert not heights[~(hair() | template.is_part("scalp").numpy())].any()
    assert heights.dtype == np.float32


def test_a_matte_inside_the_skull_presses_it_in():
    """The tracked skull may be larger than the person: what sticks out is drawn in."""
    sighting = helmet(-3)
    heights = hair_heights(scene().template, [sighting])
    assert heights[outline(sighting)].mean() < -0.005
    assert heights.min() >= -0.0201


def test_a_matte_without_an_edge_tells_nothing():
    """Everywhere person: the usual short hair, not the greatest height."""
    sighting = look(observe((0.2, 0.1, 0.1), EVERYWHERE))
    assert 0.002 < hair_heights(scene().template, [sighting])[hair()].mean() < 0.015


def test_one_disagreeing_frame_of_three_does_not_cut():
    template = scene().template
    full, cut = helmet(6), helmet(2)
    both = hair_heights(template, [full, cut, full])[crown()].mean()
    alone, thin = (hair_heights(template, [frame])[crown()].mean() for frame in (full, cut))
    assert both > 0.8 * alone > 1.2 * thin
