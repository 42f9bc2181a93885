"""What a frame shows of the anchors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from avatar3d.template import SHEET
from recon.fit.observation import in_picture, sample, signed_distance
from tests.recon.fit.synthetic import EVERYWHERE, SIZE_PX, disc, look, observe, scene, turned


def test_samples_are_bilinear_with_pixel_centres_at_half():
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    points = np.array([[0.5, 0.5], [3.5, 2.5], [1.0, 0.5], [1.5, 1.0], [-5.0, -5.0]])
    assert sample(image, points) == pytest.approx([0, 11, 0.5, 3, 0], abs=0.02)
    stacked = np.stack([image, 2 * image], axis=-1)
    np.testing.assert_allclose(sample(stacked, points)[:, 1], 2 * sample(image, points))


def test_outside_the_picture_its_edge_goes_on():
    valid = np.zeros((SIZE_PX, SIZE_PX), bool)
    valid[:, 20:] = True
    ramp = np.repeat(np.linspace(0, 1, SIZE_PX)[None], SIZE_PX, axis=0)
    observation = observe(np.repeat(ramp[..., None], 3, axis=-1), EVERYWHERE, valid)
    continued = observation.continued()
    np.testing.assert_allclose(continued.colors[:, :20, 0], ramp[0, 20], atol=1e-6)
    np.testing.assert_array_equal(continued.colors[:, 20:], observation.colors[:, 20:])
    inside = in_picture(observation, np.array([[10.0, 50.0], [50.0, 50.0], [95.9, 50.0]]))
    assert inside.tolist() == [False, True, False]
    whole = observe((1, 1, 1), EVERYWHERE)
    assert whole.continued() is whole


def test_the_core_leaves_the_rim_out():
    observation = observe((1, 1, 1), disc(48, 48, 30))
    assert not (observation.core > observation.matte).any()
    assert 0 < (observation.matte - observation.core).sum() < 4 * 2 * np.pi * 30
    # Where the crop leaves the picture there is no rim of the person.
    assert observe((1, 1, 1), EVERYWHERE).core.min() == 1


def test_the_person_over_a_colour():
    observation = observe((1, 0, 0), disc(48, 48, 30))
    over = observation.over((0, 0, 1))
    assert over[48, 48].tolist() == [1, 0, 0]
    assert over[0, 0].tolist() == [0, 0, 1]


def test_lids_are_folded_while_the_eyes_are_open():
    template, _ = scene()
    observation = observe((0.5, 0.5, 0.5), EVERYWHERE)
    opened = look(observation).folded
    closed = look(observation, turned(eyeBlinkLeft=1.0, eyeBlinkRight=1.0)).folded
    assert opened.any()
    assert not closed.any()
    x, y, z = template.neutral_points().numpy()[opened].T
    assert (np.hypot(np.abs(x) - 0.031, y) < 0.03).all()
    assert (z > -0.02).all()
    left_shut = look(observation, turned(eyeBlinkLeft=1.0)).folded
    assert (template.neutral_points().numpy()[left_shut, 0] < 0).all()


def test_the_head_hides_its_back():
    """The depth is that of the nose in the middle, and nothing behind the camera's side faces it."""
    sighting = look(observe((1, 1, 1), EVERYWHERE))
    middle = sighting.depth[SIZE_PX // 2 - 10 : SIZE_PX // 2 + 20, SIZE_PX // 2]
    assert 0.82 < middle.min() < 0.9  # the eyes lie at 0.9, the nose before them
    assert np.isinf(sighting.depth[0, 0])
    facing = sighting.facing(sighting.positions, sighting.normals)
    face = scene().template.is_part("face").numpy() & (sighting.positions[:, 2] > 0)
    assert (facing[face] > 0).mean() > 0.95


def test_the_back_of_the_head_is_hidden_and_what_is_seen_is_not():
    template = scene().template
    hidden = look(observe((1, 1, 1), EVERYWHERE)).behind_the_head(template)
    points = template.neutral_points().numpy()
    back = (points[:, 2] < -0.15) & (np.abs(points[:, 0]) < 0.03) & (np.abs(points[:, 1]) < 0.03)
    back &= template.layer.numpy() != SHEET
    assert back.sum() > 10
    assert hidden[back].all()
    sighting = look(observe((1, 1, 1), EVERYWHERE))
    front = (
        template.is_part("face").numpy() & (sighting.normals[:, 2] > 0.3) & (points[:, 2] > -0.03)
    )
    assert not hidden[front].any()
    # What stands beside the outline may be seen: hair over the ears, the sheet beside the neck.
    beside = (np.abs(points[:, 0]) > 0.12) & (points[:, 1] > -0.08)
    assert not hidden[beside].any()


def test_shut_lips_hide_teeth_and_open_ones_show_them():
    template = scene().template
    teeth = template.is_part("upper_teeth").numpy()
    teeth &= np.abs(template.neutral_points().numpy()[:, 0]) < 0.008
    shut = look(observe((1, 1, 1), EVERYWHERE)).behind_the_head(template)
    laugh = turned(jawOpen=0.7, mouthUpperUpLeft=1.0, mouthUpperUpRight=1.0)
    opened = look(observe((1, 1, 1), EVERYWHERE), laugh).behind_the_head(template)
    assert teeth.sum() > 5
    assert shut[teeth].mean() > 0.6
    assert opened[teeth].mean() < 0.4


@given(arrays(bool, (7, 9)))
def test_the_signed_distance_is_the_distance_to_the_other_side(mask: np.ndarray):
    """Against every pair of pixels; one more pixel is half a pixel beyond the outline."""
    found = signed_distance(mask)
    assert ((found > 0) == mask).all()
    np.testing.assert_allclose(signed_distance(~mask), -found)
    if mask.all() or not mask.any():
        assert (np.abs(found) >= 9).all()
        return
    places = np.argwhere(np.ones_like(mask))
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    other = np.where(mask.ravel()[None] != mask.ravel()[:, None], apart, np.inf).min(1)
    np.testing.assert_allclose(np.abs(found).ravel(), other - 0.5, atol=1e-6)
