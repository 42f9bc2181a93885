"""The sheet behind the head: it takes what is seen beside the head, and nothing where nobody is."""

from __future__ import annotations

import numpy as np
import pytest

from avatar3d.template import SHEET
from recon.fit.sheet import start_sheet
from recon.fit.start import start_attributes
from tests.recon.fit.synthetic import EVERYWHERE, SIZE_PX, look, observe, scene, turned

RED, GREEN = np.array([0.8, 0.1, 0.1]), np.array([0.1, 0.7, 0.2])


def test_the_sheet_lies_where_the_matte_is():
    """A person who fills the picture's lower two thirds, red on the left and green on the right."""
    matte = EVERYWHERE.copy()
    matte[:32] = 0
    colors = np.where(np.arange(SIZE_PX)[None, :, None] < 48, RED, GREEN)
    sighting = look(observe(np.repeat(colors, SIZE_PX, axis=0), matte))
    sheet = start_sheet(scene().template, [sighting], sighting)
    assert (scene().template.layer.numpy()[sheet.anchors] == SHEET).all()
    pixels, _ = sighting.project(sighting.positions[sheet.anchors])
    seen = sheet.opacities > 0
    assert seen.sum() > 50
    assert (sheet.opacities <= 0.9).all()
    assert not seen[pixels[:, 1] < 30].any()
    beside = (np.abs(pixels[:, 0] - 48) > 36) & (pixels[:, 1] > 40) & (pixels[:, 1] < 90)
    beside &= (pixels > 4).all(1) & (pixels < SIZE_PX - 4).all(1)
    assert seen[beside].all()
    left = beside & (pixels[:, 0] < 48)
    np.testing.assert_allclose(sheet.colors[left], np.tile(RED, (left.sum(), 1)), atol=0.02)
    right = beside & (pixels[:, 0] > 48)
    np.testing.assert_allclose(sheet.colors[right], np.tile(GREEN, (right.sum(), 1)), atol=0.02)


def test_behind_the_heads_rim_it_goes_on_a_little_farther_back():
    sighting = look(observe(RED, EVERYWHERE))
    sheet = start_sheet(scene().template, [sighting], sighting)
    pushed = sheet.offsets[:, 2] < 0
    assert pushed.any()
    assert (sheet.opacities[pushed] > 0).all()
    pixels, _ = sighting.project(sighting.positions[sheet.anchors[pushed]])
    row, column = pixels.astype(int).T.clip(0, SIZE_PX - 1)[::-1]
    assert np.isfinite(sighting.depth[row, column]).mean() > 0.9  # the head is before them


def test_nobody_there_means_nothing_there():
    sighting = look(observe(RED, 0 * EVERYWHERE))
    sheet = start_sheet(scene().template, [sighting], sighting)
    assert not sheet.opacities.any()
    assert not sheet.offsets.any()


def test_a_turned_heads_hair_hangs_beside_it_when_it_turns_back():
    """The offsets leave the picture as it is, and bring what stands off the far side to the head."""
    sighting = look(observe(RED, EVERYWHERE), turned(0.7))
    sheet = start_sheet(scene().template, [sighting], sighting)
    frames = sighting.rotations[sheet.anchors]
    places = sighting.positions[sheet.anchors]
    moved = places + np.einsum("mij,mj->mi", frames, sheet.offsets)
    shown = sheet.opacities > 0
    apart = sighting.project(moved)[0] - sighting.project(places)[0]
    assert np.abs(apart[shown]).max() < 0.01
    axis = sighting.positions[scene().template.is_part("scalp").numpy()].mean(0)

    def from_axis(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm((points - axis)[:, [0, 2]], axis=1)

    far = shown & (from_axis(places) > 0.15)
    assert far.sum() > 10
    assert (from_axis(moved)[far] <= from_axis(places)[far] + 1e-6).all()
    assert (from_axis(moved)[far] < from_axis(places)[far] - 0.02).any()


def test_a_head_that_looks_ahead_keeps_its_sheet_in_the_plane_of_the_ears():
    sighting = look(observe(RED, EVERYWHERE), turned(0.15))
    sheet = start_sheet(scene().template, [sighting], sighting)
    assert not sheet.offsets[:, :2].any()


def shoulders(slope: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A matte of shoulders that the picture's lower edge cuts off, [S, S], and the valid pixels; they
    begin so much lower per px from the middle."""
    row, column = np.mgrid[:SIZE_PX, :SIZE_PX]
    valid = row < 78
    aside = np.abs(column - 48)
    return ((aside < 40) & (row > 60 + slope * aside) & valid).astype(np.float32), valid


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_shoulders_go_on_below_the_picture(slope: float):
    """Whole even where they fill only the last rows of the picture, and those only half."""
    matte, valid = shoulders(slope)
    matte[77] *= 0.5
    sighting = look(observe(RED, matte, valid))
    sheet = start_sheet(scene().template, [sighting, sighting], sighting)
    pixels, _ = sighting.project(sighting.positions[sheet.anchors])
    points = scene().template.neutral_points().numpy()
    floor = points[scene().template.is_part("bust").numpy(), 1].min()
    below = (pixels[:, 1] > 78) & (points[sheet.anchors, 1] > floor)
    aside = np.abs(pixels[:, 0] - 48)
    inside = below & (aside < 32) & (aside > 20)
    assert inside.sum() > 10
    assert sheet.continued[inside].mean() > 0.9
    assert (sheet.opacities[sheet.continued] > 0.5).all()
    np.testing.assert_allclose(
        sheet.colors[sheet.continued], np.tile(RED, (sheet.continued.sum(), 1)), atol=0.02
    )
    assert not sheet.continued[~below].any()
    assert not (sheet.opacities > 0)[below & (aside > 46)].any()


def test_what_ends_above_the_pictures_edge_does_not_go_on():
    """Somebody cut out of their picture, with nothing at the lower edge."""
    matte, valid = shoulders()
    matte[40:68, 8:88] = 1.0
    matte[68:] = 0.0
    sighting = look(observe(RED, matte, valid))
    sheet = start_sheet(scene().template, [sighting], sighting)
    assert (sheet.opacities > 0).sum() > 20
    assert not sheet.continued.any()


def test_cloth_that_goes_on_teaches_nothing():
    """It is a guess: refinement and what is filled in beside it do not count it as seen."""
    matte, valid = shoulders()
    sighting = look(observe(RED, matte, valid))
    sheet = start_sheet(scene().template, [sighting], sighting)
    start = start_attributes(scene().template, [sighting], 0)
    continued = sheet.anchors[sheet.continued]
    shown = sheet.anchors[(sheet.opacities > 0) & ~sheet.continued]
    assert start.confidence.look[continued].max() < 0.1
    assert start.confidence.look[shown].min() > 0.9
