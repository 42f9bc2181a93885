"""The microphone as blocks of 16 kHz mono."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from avatar3d.audio.features import RATE_HZ
from avatar3d.errors import UserError
from avatar3d.optional import require

BLOCK = RATE_HZ // 50  # 20 ms: what the network takes at a time
_UNPLUGGED_AFTER_S = 2.0  # a microphone that hears silence still delivers blocks
_WAITING_BLOCKS = 250  # 5 s; when nobody fetches them, the oldest go


class Microphone:
    """`with Microphone() as microphone: for samples in microphone: ...`, until it is closed."""

    def __init__(self, device: int | str | None = None) -> None:
        self._device = device
        self._blocks: queue.Queue[np.ndarray] = queue.Queue(_WAITING_BLOCKS)
        self._stream: Any = None

    def __enter__(self) -> Microphone:
        sounddevice = _sounddevice()
        try:
            self._stream = sounddevice.InputStream(
                samplerate=RATE_HZ,
                blocksize=BLOCK,
                channels=1,
                dtype="float32",
                device=self._device,
                callback=self._heard,
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            raise UserError(
                f"no microphone could be opened ({' '.join(str(error).split())}); plug one in and "
                "allow its use, or give a recording with --audio"
            ) from None
        return self

    def __exit__(self, *error: object) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def __iter__(self) -> Iterator[Float[np.ndarray, " N"]]:
        """Everything that was heard since the last block, and waits for at least one."""
        while self._stream is not None:
            try:
                blocks = [self._blocks.get(timeout=_UNPLUGGED_AFTER_S)]
            except queue.Empty:
                raise UserError(
                    f"the microphone has delivered nothing for {_UNPLUGGED_AFTER_S:.0f} s: it may "
                    "have been unplugged; plug it in and start again"
                ) from None
            while not self._blocks.empty():
                blocks.append(self._blocks.get_nowait())
            yield np.concatenate(blocks)

    def _heard(self, samples: np.ndarray, count: int, time: object, status: object) -> None:
        """Called by the sound system's own thread."""
        del count, time, status
        if self._blocks.full():
            self._blocks.get_nowait()
        self._blocks.put_nowait(np.nan_to_num(samples[:, 0]).astype(np.float32))


def _sounddevice() -> Any:
    try:
        return require("sounddevice", extra="audio")
    except OSError:  # the package is there, the library below it is not
        raise UserError(
            "the microphone needs the PortAudio library, which is not on this machine; install it "
            "(Debian, Ubuntu: apt-get install libportaudio2), or give a recording with --audio"
        ) from None
