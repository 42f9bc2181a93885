"""A clip that nobody filmed: a coloured texture with a face's landmarks, moving together."""

from __future__ import annotations

import numpy as np

from recon.benchmark.clip import PreparedClip
from recon.benchmark.protocol import NOSE_TIP, Protocol, support_indices, test_indices
from recon.capture.mesh_points import OVAL

CROP_PX = 512
MIDDLE_PX, HALF_WIDTH_PX, HALF_HEIGHT_PX = 256.0, 90.0, 120.0


def face_landmarks() -> np.ndarray:
    """[478, 3] px of a 512 crop: points spread over an ellipse, the oval on its edge."""
    k = np.arange(478)
    radius, angle = np.sqrt((k + 0.5) / 478) * 0.9, k * np.pi * (3 - np.sqrt(5))
    unit = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    turn = np.linspace(0, 2 * np.pi, len(OVAL), endpoint=False)
    unit[list(OVAL)] = np.stack([np.sin(turn), -np.cos(turn)], 1)  # clockwise from the top
    unit[NOSE_TIP] = 0
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[:, :2] = MIDDLE_PX + unit * [HALF_WIDTH_PX, HALF_HEIGHT_PX]
    return landmarks


def texture(shift_px: np.ndarray) -> np.ndarray:
    """uint8 [512, 512, 3]: waves that are moved by `shift_px` (x, y)."""
    centres = np.arange(CROP_PX) + 0.5
    x, y = centres[None, :] - shift_px[0], centres[:, None] - shift_px[1]
    waves = [np.sin(x / 17) * np.cos(y / 23), np.sin((x + y) / 31), np.cos((x - 2 * y) / 41)]
    return (127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)


def make_clip(
    frames: int = 64, protocol: Protocol | None = None, name: str = "waves"
) -> PreparedClip:
    """The face wanders a few pixels; a border of the crop lies outside the camera's picture."""
    protocol = protocol or Protocol()
    angle = np.linspace(0, 3 * np.pi, frames)
    # It drifts as well: no test frame repeats a support frame.
    drift = np.linspace(0, 9, frames)
    across, down = 12 * np.sin(angle) + drift, 8 * np.cos(2 * angle) - drift
    shifts = np.stack([across, down, 0 * angle], 1).astype(np.float32)
    landmarks = face_landmarks() + shifts[:, None]
    ok = np.ones(frames, bool)
    support = {count: support_indices(landmarks, ok, count) for count in protocol.shots}
    test = test_indices(ok, protocol.test_frames)
    needed = sorted(set(test).union(*support.values()))
    matte = np.zeros((CROP_PX, CROP_PX), np.uint8)
    matte[60:, 100:-100] = 255
    valid = np.ones((CROP_PX, CROP_PX), bool)
    valid[:, :16] = False
    return PreparedClip(
        name=name,
        fps=25.0,
        landmarks=landmarks,
        ok=ok,
        support=support,
        test=test,
        images={index: texture(shifts[index, :2]) for index in needed},
        mattes=dict.fromkeys(needed, matte),
        valid=valid,
        pinned=landmarks.copy(),
    )


def fixed_detector(picture: np.ndarray) -> np.ndarray:
    """Finds the same face everywhere, in px of a picture of any size."""
    return face_landmarks()[:, :2] * (len(picture) / CROP_PX)
