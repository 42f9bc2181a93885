"""Still Gaussians back onto a head: exactly where they are the avatar's own, alike where not."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from avatar3d.avatar import Attributes, Avatar
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.geometry import quaternion_to_matrix
from avatar3d.io.bind import bind_splats, nearest_anchors
from avatar3d.io.splats import Splats
from render import rasterize
from tests.support.avatars import plain_avatar

CODES = {
    "neutral": ExpressionCode.neutral(),
    "turned": ExpressionCode.from_named(jawOpen=0.7, mouthSmileLeft=0.9, eyeBlinkRight=1)._replace(
        head_rotation=torch.tensor([0.9, 0.1, -0.4, 0.1]) / torch.tensor(0.99).sqrt(),
        head_translation=torch.tensor([0.05, -0.1, 0.4]),
    ),
}


def _still(avatar: Avatar, code: ExpressionCode) -> Splats:
    return Splats.from_gaussians(avatar.gaussians(code, path="torch"))


def _picture(avatar: Avatar, code: ExpressionCode) -> torch.Tensor:
    camera = Camera.frontal(focal_length_px=150, size_px=64, distance_m=0.8)
    neutral = code._replace(
        head_rotation=torch.tensor([1.0, 0, 0, 0]), head_translation=torch.zeros(3)
    )
    return rasterize(avatar.gaussians(neutral), camera, background=torch.ones(3)).colors


@pytest.mark.parametrize("pose", CODES)
def test_what_was_posed_comes_back(pose: str):
    avatar, code = plain_avatar(1500), CODES[pose]
    bound = bind_splats(_still(avatar, code), avatar, code)
    assert bound.in_order
    assert bound.lost == 0
    assert bound.avatar.basis is avatar.basis
    shown = _still(avatar, code).sh[:, 0].min(-1) > -1.77  # black is clamped: it hides what it was
    for field in fields(Attributes):
        before = getattr(avatar.attributes, field.name)
        after = getattr(bound.avatar.attributes, field.name)
        if field.name == "rotations":
            before, after = quaternion_to_matrix(before), quaternion_to_matrix(after)
        torch.testing.assert_close(
            after[shown], before[shown], atol=2e-4 if field.name == "opacity_logits" else 2e-5,
            rtol=1e-3, msg=field.name,
        )  # fmt: skip


def test_an_edit_in_one_pose_shows_in_another():
    avatar, code = plain_avatar(1500), CODES["turned"]
    still = _still(avatar, code)
    sh = still.sh.copy()
    sh[:500] = [[1.5, -1.5, -1.5]]
    logits = still.opacity_logits.copy()
    logits[500:600] = -9
    bound = bind_splats(still._replace(sh=sh, opacity_logits=logits), avatar, code)
    posed = bound.avatar.gaussians(code, path="torch")
    np.testing.assert_allclose(posed.colors[:500, 0], 0.5 + 0.2820948 * 1.5, atol=1e-4)
    other = bound.avatar.gaussians(CODES["neutral"], path="torch")
    assert float((other.colors[:500, 0] - other.colors[:500, 1]).mean()) > 0.6
    assert float(other.opacities[500:600].max()) < 2e-4
    torch.testing.assert_close(
        other.means, avatar.gaussians(CODES["neutral"], path="torch").means, atol=2e-5, rtol=0
    )


@pytest.mark.parametrize("count", [700, 3000])
def test_another_number_of_gaussians_looks_alike(count: int):
    """Fewer spread over the anchors, more merge on them; either way the head is seen."""
    source, target = replace(plain_avatar(count), basis=None), plain_avatar(1500)
    target = replace(target, identity=source.identity)
    shuffled = np.random.default_rng(0).permutation(count)
    still = Splats(*(value[shuffled] for value in _still(source, CODES["neutral"])))
    bound = bind_splats(still, target, CODES["neutral"])
    assert not bound.in_order
    assert bound.total == count
    assert bound.lost == 0
    assert bound.avatar.basis is None
    before, after = (_picture(a, CODES["neutral"]) for a in (source, bound.avatar))
    assert float((before - after).square().mean()) < 0.3 * float(before.var())


def test_one_gaussian_alone_keeps_its_shape():
    avatar = plain_avatar(1500)
    still = _still(avatar, CODES["neutral"])
    few = Splats(*(value[[10, 400, 900]] for value in still))
    bound = bind_splats(few, avatar, CODES["neutral"])
    posed = Splats.from_gaussians(bound.avatar.gaussians(CODES["neutral"], path="torch"))
    present = posed.opacity_logits > -10
    assert present.sum() == 3
    order = np.argsort(posed.positions[present][:, 0])
    expected = np.argsort(few.positions[:, 0])
    for name in ("positions", "opacity_logits"):
        np.testing.assert_allclose(
            getattr(posed, name)[present][order], getattr(few, name)[expected], atol=1e-3
        )
    np.testing.assert_allclose(
        np.sort(posed.log_scales[present][order], -1),
        np.sort(few.log_scales[expected], -1), atol=1e-3,
    )  # fmt: skip


def test_the_nearest_anchor_is_the_nearest():
    avatar = plain_avatar(800)
    frames = avatar.binding.frames(CODES["neutral"])
    random = np.random.default_rng(0)
    points = frames.positions[::3].numpy() + 0.01 * random.normal(size=(267, 3))
    distances = np.linalg.norm(points[:, None] - frames.positions.numpy()[None], axis=-1)
    found = nearest_anchors(frames, points.astype(np.float32), None)
    np.testing.assert_allclose(
        distances[np.arange(len(points)), found], distances.min(1), atol=1e-6
    )
    assert (nearest_anchors(frames, points + 5.0, None) == -1).all()


def test_a_thing_elsewhere_is_refused():
    avatar = plain_avatar(800)
    still = _still(avatar, CODES["neutral"])
    far = Splats(*(value[:100] for value in still))._replace(
        positions=still.positions[:100] + np.float32(3)
    )
    with pytest.raises(UserError, match="within 10 cm of the head"):
        bind_splats(far, avatar, CODES["neutral"])
