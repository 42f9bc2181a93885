"""The golden pictures: the demo's avatar at the draft preset, as the tests and the regenerator
draw it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from avatar3d.animation import expression_code, portrait_camera
from render.frames import frames
from tests.support.avatars import draft_of_portrait

FOLDER = Path(__file__).parent
SIDE_PX = 128
# name -> expression and yaw in degrees
CASES = {
    "front": ("neutral", 0),
    "laugh": ("laugh", 0),
    "turned": ("neutral", 30),
    "behind": ("neutral", 180),
}


def draw(name: str) -> np.ndarray:
    """u8 [128, 128, 3], averaged down from four times the size so that edges are calm."""
    expression, yaw = CASES[name]
    avatar = draft_of_portrait().avatar
    camera = portrait_camera(avatar, 4 * SIDE_PX, math.radians(yaw))
    picture = next(frames(avatar, [expression_code(expression)], camera)).astype(np.float32)
    small = picture.reshape(SIDE_PX, 4, SIDE_PX, 4, 3).mean((1, 3))
    return np.rint(small).astype(np.uint8)


def golden_file(name: str) -> Path:
    return FOLDER / f"astronaut_{name}.png"
