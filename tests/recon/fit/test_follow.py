"""An avatar that is moved until it covers a picture: it nears the code that the picture shows."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from avatar3d.avatar import Avatar
from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.geometry import quaternion_conjugate, quaternion_multiply
from recon.fit.follow import FollowConfig, follow
from tests.recon.fit.synthetic import CAMERA, COUNT, photograph, scene, turned
from tests.support.avatars import plain_avatar

TRUTH = turned(0.06, jawOpen=0.3)._replace(head_translation=torch.tensor([0.004, -0.003, 0.0]))


@lru_cache(maxsize=1)
def motley() -> Avatar:
    template, avatar = scene().template, plain_avatar(COUNT)
    covering = template.spacing.clamp(4e-4, 1e-2).log()[:, None].expand(-1, 3)
    attributes = replace(
        avatar.attributes,
        colors=0.5 + 0.3 * torch.sin(90 * template.neutral_points()),
        log_scales=covering,
        opacity_logits=torch.full((COUNT,), 4.0),
    )
    return replace(avatar, attributes=attributes)


def _followed(**settings) -> ExpressionCode:
    picture = photograph(motley(), TRUTH)
    config = FollowConfig(**settings)
    return follow(motley(), CAMERA, ExpressionCode.neutral(), picture, config)


def _angle(code: ExpressionCode) -> float:
    apart = quaternion_multiply(quaternion_conjugate(TRUTH.head_rotation), code.head_rotation)
    return float(2 * torch.acos(apart[0].abs().clamp(max=1)))


def _miss(code: ExpressionCode) -> float:
    truth, now = (photograph(motley(), each) for each in (TRUTH, code))
    return float(np.abs(truth.over((0.0,) * 3) - now.over((0.0,) * 3)).mean())


def test_pose_and_expression_near_the_pictures():
    start, end = ExpressionCode.neutral(), _followed(iterations=40)
    assert _angle(end) < 0.5 * _angle(start)
    moved = (end.head_translation - TRUTH.head_translation)[:2].norm()
    assert moved < 0.5 * TRUTH.head_translation.norm()
    assert 0.1 < end.coefficients[ARKIT_INDEX["jawOpen"]] < 0.5
    assert _miss(end) < 0.6 * _miss(start)
    assert end.coefficients.min() >= 0
    assert not any(value.requires_grad for value in end)


def test_what_already_fits_stays():
    picture = photograph(motley(), TRUTH)
    end = follow(motley(), CAMERA, TRUTH, picture)
    assert _angle(end) < 0.01
    assert _miss(end) < 0.2 * _miss(ExpressionCode.neutral())


def test_the_landmarks_code_is_held_on_to():
    free, held = _followed(), _followed(hold=0.1)
    assert _angle(held) > 2 * _angle(free)
    np.testing.assert_allclose(held.coefficients, 0.0, atol=0.02)


def test_no_step_leaves_the_code():
    end = _followed(iterations=0)
    for after, before in zip(end, ExpressionCode.neutral()):
        torch.testing.assert_close(after, before)
