"""First colours: what is seen, what is mirrored, and what no frame can tell."""

from __future__ import annotations

import numpy as np
import torch

from avatar3d.light import irradiance, neutral_light
from avatar3d.template import SHEET
from recon.fit.colors import MAX_ALBEDO, FirstColors, unproject
from recon.fit.light import estimate_light, shading
from recon.fit.observation import Sighting
from tests.recon.fit.synthetic import EVERYWHERE, SIZE_PX, look, observe, scene, turned

SKIN = np.array([0.7, 0.5, 0.4])
BLUE = np.array([0.2, 0.3, 0.8])


def first(*sightings: Sighting, light_ridge: float | None = None) -> FirstColors:
    template = scene().template
    return unproject(template, sightings, np.zeros(template.count, np.float32), light_ridge)


def halves() -> np.ndarray:
    """The subject's left half (the picture's right) is blue, the other like skin."""
    columns = np.where(np.arange(SIZE_PX)[:, None] < SIZE_PX // 2, SKIN, BLUE)
    return np.repeat(columns[None], SIZE_PX, axis=0)


def face() -> np.ndarray:
    return scene().template.is_part("face").numpy()


def test_anchors_take_the_colours_that_they_fall_on():
    found = first(look(observe(halves(), EVERYWHERE)))
    x = scene().template.neutral_points().numpy()[:, 0]
    seen = (found.sightings > 0.9) & face()
    assert seen.sum() > 200
    left, right = seen & (x > 0.01), seen & (x < -0.01)
    np.testing.assert_allclose(found.colors[left], np.tile(BLUE, (left.sum(), 1)), atol=0.03)
    np.testing.assert_allclose(found.colors[right], np.tile(SKIN, (right.sum(), 1)), atol=0.03)
    assert found.colors.dtype == np.float32
    assert np.isfinite(found.colors).all()
    assert found.colors.min() >= 0
    assert found.colors.max() <= MAX_ALBEDO


def test_what_is_not_seen_is_mirrored():
    """The picture ends at the nose: the side beyond it looks like the side before it."""
    valid = np.zeros((SIZE_PX, SIZE_PX), bool)
    valid[:, : SIZE_PX // 2 + 2] = True
    # A blue cheek on the seen side must come again on the other.
    colors = np.tile(SKIN, (SIZE_PX, SIZE_PX, 1))
    colors[50:64, 32:42] = BLUE
    found = first(look(observe(colors, EVERYWHERE, valid)))
    points = scene().template.neutral_points().numpy()
    unseen = face() & (found.sightings == 0) & (points[:, 0] > 0.01)
    assert unseen.sum() > 100
    mirrored = points * np.array([-1.0, 1.0, 1.0])
    nearest = np.linalg.norm(mirrored[unseen][:, None] - points[None], axis=2)
    nearest[:, ~face() | (found.sightings < 0.5)] = np.inf
    partner = nearest.argmin(1)
    close = nearest.min(1) < 0.003
    error = np.abs(found.colors[unseen] - found.colors[partner]).max(1)[close]
    assert np.median(error) < 0.05
    bluish = found.colors[unseen][:, 2] > found.colors[unseen][:, 0]
    assert bluish.sum() > 5


def test_backs_are_not_seen_and_are_filled():
    found = first(look(observe(SKIN, EVERYWHERE)))
    template = scene().template
    back = template.neutral_points().numpy()[:, 2] < -0.12
    assert not found.sightings[back].any()
    neck = template.is_part("neck").numpy()
    np.testing.assert_allclose(
        found.colors[neck], np.tile(SKIN, (neck.sum(), 1)), atol=0.05
    )  # one colour seen, one colour everywhere
    assert not found.sightings[template.layer.numpy() == SHEET].any()


def test_folded_lids_are_not_seen_and_look_like_skin():
    """Over the eyes the picture is white; lids that the open eyes hide must not become so."""
    colors = np.tile(SKIN, (SIZE_PX, SIZE_PX, 1))
    sighting = look(observe(colors, EVERYWHERE))
    eyes = scene().template.is_part("left_eyeball", "right_eyeball").numpy()
    pixels, _ = sighting.project(sighting.positions[eyes & (sighting.positions[:, 2] > 0.008)])
    for x, y in pixels.astype(int):
        colors[y - 1 : y + 2, x - 1 : x + 2] = 1.0
    sighting = look(observe(colors, EVERYWHERE))
    found = first(sighting)
    assert sighting.folded.any()
    assert not found.sightings[sighting.folded].any()
    lids = found.colors[sighting.folded & face()]
    if len(lids):
        np.testing.assert_allclose(np.median(lids, axis=0), SKIN, atol=0.15)


def test_several_frames_show_more_and_count():
    one = look(observe(SKIN, EVERYWHERE))
    left = look(observe(SKIN, EVERYWHERE), turned(0.7))
    right = look(observe(SKIN, EVERYWHERE), turned(-0.7))
    alone, together = first(one), first(one, left, right)
    assert ((together.sightings > 0) >= (alone.sightings > 0)).all()
    assert (together.sightings > 0).sum() > 1.1 * (alone.sightings > 0).sum()
    assert together.sightings.max() > 2.5
    assert alone.sightings.max() <= 1


def test_light_is_told_from_skin():
    """Known light on one skin: found again, and taken out of the colours."""
    template = scene().template
    truth = neutral_light()
    truth[3] = 0.25  # from +X
    rng = np.random.default_rng(0)
    normals = [np.asarray(look(observe(SKIN, EVERYWHERE), turned(yaw)).normals)
               for yaw in (-0.6, -0.3, 0.0, 0.3, 0.6)]  # fmt: skip
    weights = [(n[:, 2] > 0.2).astype(np.float32) for n in normals]
    colors = [
        SKIN * irradiance(truth, torch.from_numpy(n).float()).numpy()
        + rng.normal(0, 0.01, (template.count, 3))
        for n in normals
    ]
    found = estimate_light(template, colors, normals, weights, ridge=0.001)
    assert found is not None
    lit = template.lit.numpy()
    for color, normal, weight in zip(colors, normals, weights):
        seen = lit & (weight > 0)
        without = (color / shading(found, normal, lit))[seen]
        assert without.std(0).max() < 0.5 * color[seen].std(0).max()
    assert float(found[3].mean()) > 0.15


def test_without_skin_there_is_no_light():
    template = scene().template
    nothing = np.zeros(template.count, np.float32)
    normals = np.tile(np.array([0.0, 0.0, 1.0]), (template.count, 1))
    assert estimate_light(template, [normals], [normals], [nothing], 0.1) is None
    assert (shading(None, normals, template.lit.numpy()) == 1).all()


def test_the_mouth_of_a_grey_picture_is_grey():
    grey = first(look(observe(np.full(3, 0.55), EVERYWHERE)))
    colourful = first(look(observe(SKIN, EVERYWHERE)))
    for part in ("mouth", "gums", "tongue", "upper_teeth"):
        inside = scene().template.is_part(part).numpy()
        assert np.ptp(grey.colors[inside], axis=1).max() < 0.01
        assert np.ptp(colourful.colors[inside], axis=1).mean() > 0.05


def test_teeth_are_light_beside_dark_skin_and_not_glaring_beside_pale():
    teeth = scene().template.is_part("upper_teeth").numpy()
    for skin in (0.3 * SKIN, 1.4 * SKIN):
        brightness = first(look(observe(skin, EVERYWHERE))).colors[teeth].mean()
        assert 0.55 < brightness < 0.92


def hair_over_the_far_cheek(yaw: float) -> tuple[FirstColors, np.ndarray]:
    """A head turned to its left, hair painted over its far (left) cheek; and that cheek's anchors."""
    template = scene().template
    x, y, z = template.neutral_points().numpy().T
    cheek = face() & (x > 0.03) & (x < 0.055) & (y < -0.02) & (y > -0.06) & (z > -0.03)
    sighting = look(observe(SKIN, EVERYWHERE), turned(yaw))
    colors = np.tile(SKIN, (SIZE_PX, SIZE_PX, 1))
    pixels, _ = sighting.project(sighting.positions[cheek & (sighting.normals[:, 2] > 0.1)])
    for column, row in pixels.astype(int):
        colors[row - 1 : row + 2, column - 1 : column + 2] = 0.1
    return first(look(observe(colors, EVERYWHERE), turned(yaw))), cheek


def test_hair_before_the_far_cheek_of_a_turned_face_is_not_painted_on_it():
    found, cheek = hair_over_the_far_cheek(0.75)
    assert cheek.sum() > 20
    assert np.median(np.abs(found.colors[cheek] - SKIN).max(1)) < 0.1


def test_a_face_that_looks_ahead_may_have_one_side_in_shade():
    found, cheek = hair_over_the_far_cheek(0.1)
    assert np.median(found.colors[cheek].max(1)) < 0.3


def test_it_is_dark_deep_in_a_mouth():
    colors = first(look(observe(SKIN, EVERYWHERE))).colors.mean(1)
    depth = -scene().template.neutral_points()[:, 2].numpy()
    tongue = np.where(scene().template.is_part("tongue").numpy())[0]
    order = tongue[np.argsort(depth[tongue])]
    assert (np.diff(colors[order]) <= 1e-6).all()
    assert colors[order[-1]] < 0.5 * colors[order[0]]
