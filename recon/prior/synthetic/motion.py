"""Poses and expressions as people have them: coefficients that belong together move together."""

from __future__ import annotations

import numpy as np
import torch

from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.geometry import (
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_matrix,
    rotation_vector_to_quaternion,
)

_MAX_YAW, _MAX_PITCH, _MAX_ROLL = np.radians([50.0, 25.0, 18.0])

# What faces do, each as a group of coefficients; names without a side stand for both.
_FACES: dict[str, dict[str, float]] = {
    "smile": {"mouthSmile": 0.75, "cheekSquint": 0.35, "eyeSquint": 0.15, "mouthDimple": 0.2},
    "laugh": {"mouthSmile": 0.8, "jawOpen": 0.35, "cheekSquint": 0.45, "eyeSquint": 0.25,
              "mouthUpperUp": 0.35, "mouthLowerDown": 0.35},
    "surprise": {"browInnerUp": 0.8, "browOuterUp": 0.7, "eyeWide": 0.6, "jawOpen": 0.4},
    "anger": {"browDown": 0.8, "noseSneer": 0.4, "mouthPress": 0.4, "eyeSquint": 0.15},
    "sorrow": {"browInnerUp": 0.6, "mouthFrown": 0.6, "mouthShrugLower": 0.35},
    "ah": {"jawOpen": 0.45, "mouthLowerDown": 0.2, "mouthUpperUp": 0.15},
    "ee": {"mouthStretch": 0.4, "mouthSmile": 0.25, "jawOpen": 0.15, "mouthLowerDown": 0.3},
    "oo": {"mouthPucker": 0.6, "mouthFunnel": 0.3, "jawOpen": 0.15},
    "oh": {"mouthFunnel": 0.5, "jawOpen": 0.35},
    "mm": {"mouthPress": 0.4, "mouthRollLower": 0.3, "mouthRollUpper": 0.3},
    "eff": {"mouthRollLower": 0.45, "mouthUpperUp": 0.25, "jawOpen": 0.08},
    "smirk": {"mouthSmileLeft": 0.6, "mouthLeft": 0.2, "browOuterUpLeft": 0.3},
    "puff": {"cheekPuff": 0.7, "mouthPress": 0.2},
}  # fmt: skip
_UPPER = ("surprise", "anger", "sorrow", "smile")


def random_codes(rng: np.random.Generator, count: int, frontal_first: bool) -> ExpressionCode:
    """Codes [count, ...] of one person before one camera, around the world's origin."""
    usual_yaw, usual_pitch = rng.normal(0, 0.15), rng.normal(0, 0.07)
    liveliness = rng.uniform(0.4, 1.2)
    codes = []
    for index in range(count):
        calm = 0.25 if frontal_first and index == 0 else 1.0
        yaw = np.clip(calm * (usual_yaw + rng.normal(0, 0.38)), -_MAX_YAW, _MAX_YAW)
        pitch = np.clip(calm * (usual_pitch + rng.normal(0, 0.13)), -_MAX_PITCH, _MAX_PITCH)
        roll = np.clip(calm * rng.normal(0, 0.09), -_MAX_ROLL, _MAX_ROLL)
        body = usual_yaw + rng.uniform(0.1, 0.4) * (yaw - usual_yaw)
        codes.append(_posed(random_expression(rng, liveliness), pitch, yaw, roll, body, rng))
    return ExpressionCode.stack(codes)


def random_expression(rng: np.random.Generator, liveliness: float = 1.0) -> np.ndarray:
    """52 coefficients: one or two faces at once, gaze, a blink now and then."""
    values = np.zeros(len(ARKIT_INDEX))
    names = list(_FACES)
    for name in (str(rng.choice(names)), str(rng.choice(_UPPER))):
        if rng.random() < 0.7:
            _add(values, _FACES[name], liveliness * rng.beta(1.6, 1.8), rng)
    if rng.random() < 0.5:
        _add(values, {"jawOpen": 0.3}, rng.beta(1.2, 2.5), rng)
    values += rng.exponential(0.015, len(values))
    across, up = rng.normal(0, 0.28), rng.normal(0, 0.16)
    gaze = {
        "eyeLookOutLeft": across, "eyeLookInRight": across, "eyeLookInLeft": -across,
        "eyeLookOutRight": -across, "eyeLookUpLeft": up, "eyeLookUpRight": up,
        "eyeLookDownLeft": -up, "eyeLookDownRight": -up,
    }  # fmt: skip
    for name, value in gaze.items():
        values[ARKIT_INDEX[name]] = max(value, 0.0)
    lid = 0.35 * max(-up, 0.0)
    if rng.random() < 0.08:
        lid = rng.uniform(0.4, 1.0)
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        values[ARKIT_INDEX[name]] = lid
    values[ARKIT_INDEX["tongueOut"]] = 0.0
    return values.clip(0, 1)


def _add(values: np.ndarray, face: dict[str, float], amount: float, rng) -> None:
    for name, value in face.items():
        for own in (name, f"{name}Left", f"{name}Right"):
            if own in ARKIT_INDEX:
                values[ARKIT_INDEX[own]] += amount * value * rng.uniform(0.8, 1.2)


def _posed(coefficients: np.ndarray, pitch, yaw, roll, body, rng) -> ExpressionCode:
    head = _turn(0, yaw, 0)
    head = quaternion_multiply(head, quaternion_multiply(_turn(-pitch, 0, 0), _turn(0, 0, roll)))
    bust = _turn(0, body, 0)
    shift = np.array([0.0, 0.012, -0.03]) + rng.normal(0, [0.008, 0.006, 0.01])
    # The head turns about the neck, so the face swings to the side that it looks to.
    pivot = torch.tensor([0.0, -0.045, -0.088])
    moved = pivot - quaternion_to_matrix(head) @ pivot
    return ExpressionCode(
        torch.from_numpy(coefficients).float(),
        head,
        torch.from_numpy(shift).float() + moved,
        quaternion_multiply(quaternion_conjugate(bust), head),
    )


def _turn(x: float, y: float, z: float) -> torch.Tensor:
    return rotation_vector_to_quaternion(torch.tensor([x, y, z], dtype=torch.float32))
