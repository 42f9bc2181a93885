"""What no frame shows ends where the person does: made-up hair leaves no halo around them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatar3d.avatar import Attributes, Avatar
from avatar3d.codes import ExpressionCode
from avatar3d.geometry import rotate
from recon.fit.observation import Sighting
from recon.fit.outline import within_outline
from render.rasterize import rasterize
from tests.recon.fit.synthetic import CAMERA, EVERYWHERE, SIZE_PX, disc, look, observe, scene

BROWN = (0.3, 0.2, 0.1)
UNSEEN = np.zeros(scene().template.count, np.float32)


def attributes(sigma_m: float = 0.004) -> Attributes:
    template = scene().template
    rotations = torch.zeros(template.count, 4)
    rotations[:, 0] = 1.0
    return Attributes(
        offsets=torch.zeros(template.count, 3),
        rotations=rotations,
        log_scales=torch.full((template.count, 3), float(np.log(sigma_m))),
        opacity_logits=torch.full((template.count,), 2.0),
        colors=torch.full((template.count, 3), 0.3),
    )


def hair_and_body() -> torch.Tensor:
    template = scene().template
    return template.is_part("scalp", "neck", "bust") | (template.layer == 1) | (template.layer == 2)


def halo(given: Attributes, sighting: Sighting) -> float:
    """Mean opacity of what the avatar draws outside the person, of hair and body alone."""
    template, _ = scene()
    avatar = Avatar(template.head, torch.zeros(template.head.identity_count), given)
    with torch.no_grad():
        gaussians = avatar.gaussians(ExpressionCode.neutral())
        shown = gaussians.opacities * hair_and_body().float()
        alpha = rasterize(gaussians._replace(opacities=shown), CAMERA).alpha.numpy()
    return float(alpha[sighting.observation.matte < 0.5].mean())


def bare_head() -> np.ndarray:
    """The head's own silhouette as a matte, [S, S]."""
    return np.isfinite(look(observe(BROWN, EVERYWHERE)).depth).astype(np.float32)


def test_unseen_hair_leaves_no_halo():
    sighting = look(observe(BROWN, bare_head()))
    before = attributes()
    after = within_outline(scene().template, before, UNSEEN, [sighting])
    assert halo(before, sighting) > 0.02
    assert halo(after, sighting) < 0.3 * halo(before, sighting)


def test_only_what_is_unseen_and_near_the_outline_moves():
    template = scene().template
    sighting = look(observe(BROWN, bare_head()))
    before = attributes()
    seen = np.where(np.arange(template.count) % 2, 1.0, 0.0).astype(np.float32)
    after = within_outline(template, before, seen, [sighting])
    moved = (after.offsets - before.offsets).norm(dim=1)
    assert not moved[torch.from_numpy(seen) > 0.5].any()
    assert not moved[~hair_and_body()].any()
    assert moved.max() <= 0.0081
    pixels, _ = sighting.project(sighting.positions)
    middle = np.hypot(*(pixels - SIZE_PX / 2).T) < 12
    assert middle.sum() > 50
    assert not moved[torch.from_numpy(middle)].any()
    assert (moved > 0).sum() > 50


def test_moves_lie_in_the_pictures_plane_and_lead_inward():
    template, binding = scene()
    sighting = look(observe(BROWN, disc(48, 48, 22)))
    before = attributes()
    after = within_outline(template, before, UNSEEN, [sighting])
    frames = binding.frames(ExpressionCode.neutral())
    move = rotate(frames.rotations, after.offsets - before.offsets).numpy()
    moved = np.linalg.norm(move, axis=1) > 1e-4
    assert moved.sum() > 50
    np.testing.assert_allclose(move[moved, 2], 0.0, atol=1e-6)  # the camera looks along z
    start, end = (sighting.project(sighting.positions + m)[0] for m in (0 * move, move))
    nearer = np.hypot(*(start - 48).T) - np.hypot(*(end - 48).T)
    assert (nearer[moved] > 0).mean() > 0.95


@pytest.mark.parametrize("matte", [EVERYWHERE, 0 * EVERYWHERE])
def test_a_matte_without_an_edge_moves_nothing(matte: np.ndarray):
    before = attributes()
    after = within_outline(scene().template, before, UNSEEN, [look(observe(BROWN, matte))])
    assert torch.equal(after.offsets, before.offsets)


def test_the_pictures_own_edge_is_no_outline():
    """Cut off at the chest, beside a sliver of background far away, the person goes on below."""
    valid = np.ones((SIZE_PX, SIZE_PX), bool)
    valid[70:] = False
    matte = np.where(valid, 1.0, 0.0).astype(np.float32)
    matte[:2] = 0.0
    matte[68:] = 0.0  # mattes fade there
    before = attributes()
    sighting = look(observe(BROWN, matte, valid))
    after = within_outline(scene().template, before, UNSEEN, [sighting])
    pixels, _ = sighting.project(sighting.positions)
    low = torch.from_numpy((pixels[:, 1] > 60) & (pixels < SIZE_PX).all(1))
    assert low.sum() > 50
    assert torch.equal(after.offsets[low], before.offsets[low])


def test_frames_that_show_an_outline_are_heard_alike():
    """Of two frames one of which has room for all, half of the other's move is left; one that shows
    no outline says nothing."""
    template = scene().template
    tight, wide = look(observe(BROWN, bare_head())), look(observe(BROWN, disc(48, 48, 300)))
    roomy = np.ones_like(EVERYWHERE)
    roomy[:2] = 0.0
    spacious = look(observe(BROWN, roomy))
    before = attributes()
    alone, with_wide, with_spacious = (
        within_outline(template, before, UNSEEN, sightings).offsets
        for sightings in ([tight], [tight, wide], [tight, spacious])
    )
    torch.testing.assert_close(with_wide, alone)
    pixels, _ = tight.project(tight.positions)
    inner = torch.from_numpy(((pixels > 8) & (pixels < SIZE_PX - 8)).all(1))
    torch.testing.assert_close(2 * with_spacious[inner], alone[inner])


def test_a_hole_at_the_rim_is_no_outline():
    """Nothing moves outward because the matte has a hole beneath it."""
    template = scene().template
    bare = bare_head()
    holed = bare.copy()
    rows, columns = np.where(bare > 0)
    top = rows[columns == SIZE_PX // 2].min()
    holed[top + 2 : top + 4, SIZE_PX // 2 - 1 : SIZE_PX // 2 + 1] = 0
    before = attributes()
    moved = [
        within_outline(template, before, UNSEEN, [look(observe(BROWN, matte))]).offsets
        for matte in (bare, holed)
    ]
    torch.testing.assert_close(*moved, atol=5e-4, rtol=0)
