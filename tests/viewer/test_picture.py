"""The page draws what `render` draws: same code, same camera."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from avatar3d.animation import expression_code, portrait_camera
from avatar3d.avatar import Avatar
from avatar3d.codes import ExpressionCode
from avatar3d.geometry import rotation_vector_to_quaternion
from render.frames import frames
from render.metrics.psnr import psnr
from tests.support.avatars import plain_avatar
from tests.viewer.browser import canvas_picture
from tests.viewer.conftest import SIZE_PX

LEAST_DB = 35.0
CULLED_DB = 35.0


def pose_of(expression: str) -> ExpressionCode:
    """An expression with head and neck turned apart, and the head moved."""
    head, neck = (
        rotation_vector_to_quaternion(torch.tensor(vector))
        for vector in ([0.1, -0.2, 0.05], [0.05, -0.3, 0.0])
    )
    code = expression_code(expression)
    return code._replace(
        head_rotation=head, neck_rotation=neck, head_translation=torch.tensor([0.01, -0.02, 0.03])
    )


def show(page: Any, code: ExpressionCode, yaw: float, pitch: float, *, cull: bool) -> np.ndarray:
    page.evaluate(
        """([coefficients, head, translation, neck, yaw, pitch, cull]) => {
            const { viewer } = avatar3d, [avatar] = viewer.avatars;
            viewer.suspended = true;
            viewer.background = [1, 1, 1, 1];
            avatar.setExpression(coefficients);
            avatar.setPose({ head, translation, neck });
            Object.assign(viewer.camera, { yaw, pitch });
            viewer.renderer.cull = cull;
        }""",
        [
            *(
                value.tolist()
                for value in (code.coefficients, code.head_rotation, code.head_translation)
            ),
            code.neck_rotation.tolist(),
            yaw,
            pitch,
            cull,
        ],
    )
    return canvas_picture(page)[..., :3]


def likeness(avatar: Avatar, page: Any, code: ExpressionCode, yaw: float, cull: bool) -> float:
    camera = portrait_camera(avatar, SIZE_PX, yaw, 0.1)
    truth = next(frames(avatar, [code], camera))
    assert (truth < 250).mean() > 0.2, "the truth shows no head"
    drawn = show(page, code, yaw, 0.1, cull=cull)
    return float(psnr(torch.from_numpy(drawn / 255.0), torch.from_numpy(truth / 255.0)))


@pytest.mark.parametrize(
    ("expression", "yaw"),
    [("neutral", 0.0), ("laugh", 0.5), ("look aside", -1.0), ("eyes closed", math.pi)],
)
def test_the_page_draws_what_python_draws(page: Any, expression: str, yaw: float):
    found = likeness(plain_avatar(), page, pose_of(expression), yaw, cull=False)
    assert found > LEAST_DB, f"{found:.1f} dB"


def test_the_picture_is_told_apart_from_another_one(page: Any):
    """The test above can fail: a different expression, or a turn of 3 degrees, is no match."""
    avatar, code = plain_avatar(), pose_of("laugh")
    truth = next(frames(avatar, [code], portrait_camera(avatar, SIZE_PX, 0.05, 0.1)))
    drawn = show(page, code, 0.0, 0.1, cull=False)
    assert psnr(torch.from_numpy(drawn / 255.0), torch.from_numpy(truth / 255.0)) < LEAST_DB


def test_a_prefix_is_drawn_as_the_coarser_avatar(page: Any):
    avatar = plain_avatar()
    page.evaluate("() => { avatar3d.viewer.avatars[0].count = 1200; }")
    found = likeness(avatar.level(1200), page, pose_of("smile"), 0.2, cull=False)
    assert found > LEAST_DB, f"{found:.1f} dB"
