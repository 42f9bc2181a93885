"""Sound in pieces of any size to mouth codes at 50 Hz; the same codes for every cutting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar3d.audio.channels import CHANNELS
from avatar3d.audio.features import FEATURES, HOP, RATE_HZ, WINDOW, FeatureStream
from avatar3d.audio.model import EngineName, VoiceModel
from avatar3d.audio.network import LOOKAHEAD, MEASURE_COUNT, OUTPUTS
from avatar3d.audio.style import Style, perform

FRAME_S = 2 * HOP / RATE_HZ  # 20 ms
# Output j is known at the end of feature frame 2 j + 1 and means LOOKAHEAD frames before.
FIRST_S = (HOP + WINDOW) / RATE_HZ - LOOKAHEAD * FRAME_S  # time of output 0: -65 ms
_ENERGY = len(CHANNELS) + MEASURE_COUNT + 1


class VoiceFrames(NamedTuple):
    """Consecutive frames, 20 ms apart."""

    coefficients: Float[Tensor, "T 52"]
    energy: Float[Tensor, " T"]  # 0..1: how much is being said around this frame
    raw: Float[Tensor, "T C"]  # the network's outputs

    @staticmethod
    def joined(parts: Iterable[VoiceFrames]) -> VoiceFrames:
        parts = [*parts] or [
            VoiceFrames(torch.zeros(0, 52), torch.zeros(0), torch.zeros(0, OUTPUTS))
        ]
        return VoiceFrames(*(torch.cat(values) for values in zip(*parts)))


class VoiceStream:
    """`push` sound as it comes; frames come out as soon as their look-ahead has been heard.

    Frame k is at `k * FRAME_S + start_s` seconds from the first sample; frames before the sound
    began are left out.
    """

    def __init__(
        self, model: VoiceModel, style: Style | None = None, engine: EngineName = "auto"
    ) -> None:
        self.style, self._calibration = style or Style(), model.calibration
        self._features, self._engine = FeatureStream(), model.engine(engine)
        self._rest = np.zeros((0, FEATURES), np.float32)
        self._early = int(np.ceil(-FIRST_S / FRAME_S - 0.5))  # outputs about the time before
        self.start_s = FIRST_S + self._early * FRAME_S
        self._samples = self._frames = 0

    def push(self, samples: Float[np.ndarray, " N"]) -> VoiceFrames:
        """The next samples: mono, 16 kHz, in -1..1."""
        self._samples += len(samples)
        features = np.concatenate([self._rest, self._features.push(samples)])
        even = len(features) // 2 * 2
        self._rest = features[even:]
        if not even:
            return VoiceFrames.joined([])
        outputs = self._engine.step(features[:even])
        skipped = min(self._early, len(outputs))
        self._early -= skipped
        frames = self._performed(outputs[skipped:])
        self._frames += len(frames.energy)
        return frames

    def finish(self) -> VoiceFrames:
        """The frames whose look-ahead reaches beyond the end of the sound: silence follows it."""
        wanted = int(np.ceil(self._samples / RATE_HZ / FRAME_S - 1e-9)) + 1
        missing = wanted - self._frames
        silence = np.zeros(int((LOOKAHEAD + 4 + max(0, missing)) * FRAME_S * RATE_HZ), np.float32)
        frames = self.push(silence)
        return VoiceFrames(*(values[: max(0, missing)] for values in frames))

    def _performed(self, outputs: np.ndarray) -> VoiceFrames:
        coefficients = perform(outputs, self.style, self._calibration)
        energy = np.minimum(np.maximum(outputs[:, _ENERGY], 0), 1)
        return VoiceFrames(*map(torch.from_numpy, (coefficients, energy, outputs)))


def voice_frames(
    model: VoiceModel,
    sound: Iterable[Float[np.ndarray, "_"]],
    style: Style | None = None,
    engine: EngineName = "auto",
) -> Iterator[VoiceFrames]:
    """Pieces of sound to pieces of frames, to the end of the sound."""
    stream = VoiceStream(model, style, engine)
    for samples in sound:
        yield stream.push(samples)
    yield stream.finish()
