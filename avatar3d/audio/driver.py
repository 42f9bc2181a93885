"""A voice as a driver: sound in, expression codes at a video's rate out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avatar3d.audio.behaviour import Behaviour
from avatar3d.audio.model import EngineName, VoiceModel
from avatar3d.audio.network import LOOKAHEAD
from avatar3d.audio.stream import FRAME_S, VoiceFrames, VoiceStream
from avatar3d.audio.style import Style
from avatar3d.codes import ExpressionCode
from avatar3d.geometry import rotation_vector_to_quaternion

# From the last sample that a code needs to the code: look-ahead, the frame, its window.
DELAY_S = LOOKAHEAD * FRAME_S + FRAME_S


class VoiceDriver:
    """Sound in pieces of any size to codes at `frames_per_second`, code k at k / rate seconds.

    `seed` chooses the performance of eyes, brows and head; None keeps them still.
    """

    def __init__(
        self,
        model: VoiceModel,
        style: Style | None = None,
        *,
        frames_per_second: float = 25.0,
        seed: int | None = 0,
        engine: EngineName = "auto",
    ) -> None:
        self._stream = VoiceStream(model, style, engine)
        self._behaviour = None if seed is None else Behaviour(seed)
        self._rate = frames_per_second
        self._samples = 0
        self._given = 0  # codes
        # The last frame at 50 Hz and its number: the next codes may lie between it and what comes.
        self._last: Float[Tensor, "1 55"] | None = None
        self._heard = 0

    def push(self, samples: Float[np.ndarray, " N"]) -> ExpressionCode:
        """The codes [K, ...] that this sound completes: mono, 16 kHz, in -1..1."""
        self._samples += len(samples)
        return self._codes(self._stream.push(samples), until=None)

    def finish(self) -> ExpressionCode:
        """The codes to the end of the sound."""
        count = math.ceil(self._samples / 16_000 * self._rate - 1e-6)
        return self._codes(self._stream.finish(), until=max(count, self._given))

    def _codes(self, frames: VoiceFrames, until: int | None) -> ExpressionCode:
        rows = self._rows(frames)
        if self._last is not None:
            rows = torch.cat([self._last, rows])
        first = self._heard - (self._last is not None)
        self._heard += len(frames.energy)
        if len(rows):
            self._last = rows[-1:]
        # Code k lies at this row of the 50 Hz grid.
        newest = first + len(rows) - 1
        end = self._given
        while (until is None and self._row_of(end) <= newest) or (
            until is not None and end < until
        ):
            end += 1
        wanted = [self._row_of(k) - first for k in range(self._given, end)]
        self._given = end
        if not wanted:
            return ExpressionCode.neutral(0)
        if not len(rows):  # less sound than one frame
            rows = torch.zeros(1, 55)
        at = torch.tensor(wanted, dtype=torch.float64).clamp(0, len(rows) - 1)
        low = at.floor().long()
        share = (at - low)[:, None].float()
        mixed = rows[low] * (1 - share) + rows[(low + 1).clamp(max=len(rows) - 1)] * share
        turn = rotation_vector_to_quaternion(mixed[:, 52:])
        # The shoulders stay: the neck takes the whole turn.
        return ExpressionCode(mixed[:, :52], turn, torch.zeros(len(mixed), 3), turn.clone())

    def _row_of(self, code: int) -> float:
        return max(0.0, (code / self._rate - self._stream.start_s) / FRAME_S)

    def _rows(self, frames: VoiceFrames) -> Float[Tensor, "T 55"]:
        """Coefficients and the head's turn."""
        coefficients = frames.coefficients
        turn = torch.zeros(len(coefficients), 3)
        if self._behaviour is not None:
            extras = self._behaviour.push(frames.energy)
            coefficients = (coefficients + extras.coefficients).clamp(0, 1)
            turn = extras.turn
        return torch.cat([coefficients, turn], dim=1)


def voice_codes(
    driver: VoiceDriver, sound: Iterable[Float[np.ndarray, "_"]]
) -> Iterator[ExpressionCode]:
    """Pieces of sound to codes, one after the other, to the sound's end."""
    for samples in sound:
        yield from _each(driver.push(samples))
    yield from _each(driver.finish())


def _each(codes: ExpressionCode) -> Iterator[ExpressionCode]:
    for index in range(len(codes.coefficients)):
        yield codes.at(index)
