"""Expression codes: what every driver emits and every head consumes."""

from __future__ import annotations

from difflib import get_close_matches
from typing import NamedTuple

import torch
from torch import Tensor

from avatar3d.errors import UserError

# ARKit's blend shapes in Apple's order (ARFaceAnchor.BlendShapeLocation; the order of Live Link Face).
ARKIT_NAMES: tuple[str, ...] = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft",
    "eyeSquintLeft", "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight",
    "eyeLookOutRight", "eyeLookUpRight", "eyeSquintRight", "eyeWideRight", "jawForward", "jawLeft",
    "jawRight", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight",
    "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft",
    "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight", "mouthRollLower",
    "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight",
    "tongueOut",
)  # fmt: skip
ARKIT_INDEX: dict[str, int] = {name: index for index, name in enumerate(ARKIT_NAMES)}


def other_side(name: str) -> str:
    """The mirror image of a coefficient: eyeBlinkLeft for eyeBlinkRight; itself in the middle."""
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    return name.removesuffix("Right") + "Left" if name.endswith("Right") else name


def both_sides(**values: float) -> dict[str, float]:
    """The same values on the left and on the right, named without side: mouthSmile=0.5."""
    return {f"{name}{side}": value for name, value in values.items() for side in ("Left", "Right")}


def unknown_name(name: str) -> str:
    """One sentence about a coefficient that is none of ARKit's."""
    near = get_close_matches(
        name.lower(), [known.lower() for known in ARKIT_NAMES], n=4, cutoff=0.6
    )
    found = [known for known in ARKIT_NAMES if known.lower() in near]
    listed = ", ".join(found) if found else "one of ARKit's 52, such as jawOpen or eyeBlinkLeft"
    return f"there is no coefficient named {name!r}; expected {listed}"


class ExpressionCode(NamedTuple):
    """ARKit coefficients with the pose of the head; leading dimensions are a batch.

    `head_rotation` and `head_translation` place the skull: x_world = R x_head + t.
    `neck_rotation` is the skull's rotation relative to the bust, so the bust stands at
    head_rotation * neck_rotation^-1 and follows the skull through the neck's joints.
    """

    coefficients: Tensor  # [..., E] in 0..1; the 52 of ARKit first, a head's own after them
    head_rotation: Tensor  # [..., 4] wxyz, unit
    head_translation: Tensor  # [..., 3] metres
    neck_rotation: Tensor  # [..., 4] wxyz, unit

    @staticmethod
    def neutral(*batch: int, coefficient_count: int = len(ARKIT_NAMES)) -> ExpressionCode:
        identity = torch.zeros(*batch, 4)
        identity[..., 0] = 1.0
        return ExpressionCode(
            torch.zeros(*batch, coefficient_count),
            identity,
            torch.zeros(*batch, 3),
            identity.clone(),
        )

    @staticmethod
    def from_named(**coefficients: float) -> ExpressionCode:
        """A neutral pose with some coefficients set by name."""
        code = ExpressionCode.neutral()
        for name, value in coefficients.items():
            if name not in ARKIT_INDEX:
                raise UserError(unknown_name(name))
            code.coefficients[ARKIT_INDEX[name]] = value
        return code

    def at(self, index: int | slice | Tensor) -> ExpressionCode:
        """The codes at `index` of the first batch dimension."""
        return ExpressionCode(*(value[index] for value in self))

    @staticmethod
    def stack(codes: list[ExpressionCode]) -> ExpressionCode:
        return ExpressionCode(*(torch.stack(values) for values in zip(*codes)))
