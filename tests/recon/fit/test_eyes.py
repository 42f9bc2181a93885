"""Eyeballs are whole: what a photo hides of an iris is there, round, when the gaze moves."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from avatar3d.codes import ExpressionCode
from avatar3d.heads.model import LandmarkRig
from recon.fit.eyes import with_whole_eyes
from recon.fit.observation import Sighting
from render.mesh import project_points
from render.rasterize import rasterize
from tests.recon.fit.close_up import CAMERA, COUNT, SIZE_PX, photograph, scene, unknown
from tests.support.avatars import plain_avatar

SKIN, WHITE, IRIS = (
    np.array([0.9, 0.2, 0.1]),
    np.array([0.85, 0.85, 0.8]),
    np.array([0.1, 0.3, 0.5]),
)
CENTRES, RINGS = (468, 473), (469, 474)


def seen(code: ExpressionCode, shown: ExpressionCode, radius: float = 1.0) -> Sighting:
    """A photo of eyes that look as `shown` says, tracked as `code`: white balls, round irises, and
    what is no eyeball is red. radius: of the irises, in the head's."""
    template, binding, _ = scene()
    landmarks = LandmarkRig(template.head, None).pose(shown).numpy()
    points = binding.positions(shown)
    picture = np.broadcast_to(SKIN, (SIZE_PX, SIZE_PX, 3)).astype(np.float32).copy()

    def disc(middle: np.ndarray, radius_m: float, color: np.ndarray) -> None:
        pixel, depth = project_points(middle[None], CAMERA.viewmat.numpy(), CAMERA.K.numpy())
        size = radius_m * float(CAMERA.K[0, 0]) / float(depth[0])
        centre = tuple(int(round(value * 16)) for value in pixel[0] - 0.5)
        cv2.circle(picture, centre, int(size * 16), color.tolist(), -1, cv2.LINE_AA, shift=4)

    for side, centre, ring in zip(("right_eyeball", "left_eyeball"), CENTRES, RINGS):
        disc(points[template.is_part(side)].mean(0).numpy(), 0.0125, WHITE)
        size = np.linalg.norm(landmarks[ring] - landmarks[centre]) * radius
        disc(landmarks[centre], float(size), IRIS)
    return photograph(picture, code)


def eyeballs() -> torch.Tensor:
    return scene().template.is_part("left_eyeball", "right_eyeball")


def distance_to_pupil() -> np.ndarray:
    """Of the eyeballs' anchors, metres, neutral."""
    template = scene().template
    middles = LandmarkRig(template.head, None).pose(ExpressionCode.neutral())[list(CENTRES)]
    points = template.neutral_points()[eyeballs()]
    return torch.cdist(points, middles).min(1).values.numpy()


NEUTRAL = ExpressionCode.neutral()
ASIDE = ExpressionCode.from_named(eyeLookInLeft=0.25, eyeLookOutRight=0.25)


@pytest.mark.parametrize(("shown", "radius"), [(NEUTRAL, 1.0), (ASIDE, 1.0), (NEUTRAL, 0.88)])
def test_the_whole_ball_is_iris_and_white(shown: ExpressionCode, radius: float):
    """Lids, which cover half of it in the photo, leave nothing on it; the gaze that the tracker
    missed and the person's own iris are found."""
    start = with_whole_eyes(scene().template, unknown(), [seen(NEUTRAL, shown, radius)])
    colors, distance = start.attributes.colors[eyeballs()].numpy(), distance_to_pupil()
    head = scene().template.head
    landmarks = LandmarkRig(head, None).pose(NEUTRAL)
    own = radius * float((landmarks[RINGS[0]] - landmarks[CENTRES[0]]).norm())
    inside, outside = distance < 0.75 * own, (distance > 1.3 * own) & (distance < 0.012)
    assert inside.sum() > 30
    assert outside.sum() > 100
    to_iris, to_white = (np.linalg.norm(colors - color, axis=1) for color in (IRIS, WHITE))
    assert np.mean((to_iris < to_white)[inside]) > 0.95
    assert np.mean((to_white < to_iris)[outside]) > 0.95
    assert np.median(to_iris[inside]) < 0.06
    assert np.median(to_white[outside]) < 0.06
    redness = colors[:, 0] - colors[:, 1]
    assert redness.max() < 0.3, "a lid's colour lies on the ball"


def test_nobody_looks_through_an_eye():
    before = unknown()
    start = with_whole_eyes(scene().template, before, [seen(NEUTRAL, NEUTRAL)])
    ball = eyeballs()
    assert (start.attributes.opacity_logits[ball] >= 4.0).all()
    assert (start.confidence.opacity[ball] == 0.0).all()
    torch.testing.assert_close(start.attributes.colors[~ball], before.attributes.colors[~ball])
    assert (start.attributes.opacity_logits[~ball] == 0.0).all()
    assert (start.confidence.opacity[~ball] == 1.0).all()


def test_the_iris_goes_where_the_gaze_goes():
    """And leaves nothing behind: the picture's dark part moves as the iris' landmarks do."""
    template = scene().template
    start = with_whole_eyes(template, unknown(), [seen(NEUTRAL, NEUTRAL)])
    avatar = replace(plain_avatar(COUNT), attributes=start.attributes, basis=None)

    def middle(code: ExpressionCode) -> np.ndarray:
        """Of what is as blue as the iris, px."""
        gaussians = avatar.gaussians(code)
        gaussians = gaussians._replace(opacities=gaussians.opacities * eyeballs().float())
        with torch.no_grad():
            picture = rasterize(gaussians, CAMERA, background=torch.ones(3)).colors.numpy()
        row, column = np.where(np.linalg.norm(picture - IRIS, axis=-1) < 0.25)
        assert len(row) > 100
        return np.array([column.mean(), row.mean()])

    code = ExpressionCode.from_named(eyeLookOutLeft=0.8, eyeLookInRight=0.8)
    rig = LandmarkRig(template.head, None)
    moved = rig.pose(code)[list(CENTRES)] - rig.pose(NEUTRAL)[list(CENTRES)]
    expected = float(moved[:, 0].mean()) * float(CAMERA.K[0, 0]) / 0.9
    assert abs(expected) > 5
    change = middle(code) - middle(NEUTRAL)
    assert abs(change[0] - expected) < 0.25 * abs(expected)


def test_shut_eyes_tell_nothing():
    shut = ExpressionCode.from_named(eyeBlinkLeft=1.0, eyeBlinkRight=1.0)
    before = unknown()
    start = with_whole_eyes(scene().template, before, [seen(shut, shut)])
    torch.testing.assert_close(start.attributes.colors, before.attributes.colors)


def test_an_open_frame_tells_for_a_shut_one():
    shut = ExpressionCode.from_named(eyeBlinkLeft=1.0, eyeBlinkRight=1.0)
    alone = with_whole_eyes(scene().template, unknown(), [seen(NEUTRAL, NEUTRAL)])
    both = with_whole_eyes(scene().template, unknown(), [seen(shut, shut), seen(NEUTRAL, NEUTRAL)])
    apart = (both.attributes.colors - alone.attributes.colors)[eyeballs()].abs()
    assert float(apart.mean()) < 0.02
