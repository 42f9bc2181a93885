"""From a sound in the microphone to the picture that it moved: the live path, in real time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from avatar3d.animation import portrait_camera
from avatar3d.audio.driver import VoiceDriver
from avatar3d.audio.microphone import BLOCK
from avatar3d.audio.model import VoiceModel
from avatar3d.avatar import Avatar
from avatar3d.codes import ExpressionCode
from render.speak import perform_live

_BLOCK_S = 0.02
_SETTLED_S = 0.5


def sound_to_picture(
    avatar: Avatar, model: VoiceModel, seconds: float = 6.0, size_px: int = 512
) -> dict[str, float]:
    """`speak --live` fed at the pace of a microphone; nothing is shown, but all is drawn.

    The delay of a picture is the time since the moment of the sound that its code stands for:
    look-ahead, block, network, posing and drawing, in ms; `.._95_ms` is that of the 95th percent.
    A sound card's own buffers and a screen's come on top.
    """
    driver = _Counting(model)
    delays: list[float] = []
    begun = 0.0

    def microphone() -> Iterator[np.ndarray]:
        nonlocal begun
        rng = np.random.default_rng(0)
        begun, given, total = time.perf_counter(), 0, int(seconds / _BLOCK_S)
        while given < total:
            heard = int((time.perf_counter() - begun) / _BLOCK_S)
            if heard <= given:
                time.sleep(max(0.0, begun + (given + 1) * _BLOCK_S - time.perf_counter()))
                continue
            heard = min(heard, total)
            yield (0.1 * rng.standard_normal((heard - given) * BLOCK)).astype(np.float32)
            given = heard

    def show(picture: np.ndarray) -> bool:
        now = time.perf_counter() - begun
        if now > _SETTLED_S:
            delays.append(1e3 * (now - driver.newest_s))
        return True

    perform_live(avatar, driver, portrait_camera(avatar, size_px), microphone(), show)
    middle, late = np.percentile(delays, [50, 95])
    return {"sound_to_picture_ms": float(middle), "sound_to_picture_95_ms": float(late)}


class _Counting(VoiceDriver):
    """Knows which moment of the sound its newest code stands for."""

    def __init__(self, model: VoiceModel) -> None:
        super().__init__(model)
        self.newest_s = 0.0
        self._codes_given = 0

    def push(self, samples: np.ndarray) -> ExpressionCode:
        codes = super().push(samples)
        self._codes_given += len(codes.coefficients)
        self.newest_s = max(0, self._codes_given - 1) / 25.0
        return codes
