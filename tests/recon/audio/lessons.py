"""Made-up people whose mouths follow their sound in a way that a test knows."""

from __future__ import annotations

import numpy as np

from avatar3d.audio.features import log_mel
from recon.audio.material import CHANNEL_SPREAD, MEASURE_SPREAD, Lesson, speaking
from recon.audio.outputs import run
from tests.avatar3d.audio.voices import babble, random_voice


def made_lesson(identity: str, seconds: float = 12.0, seed: int = 0, noise: float = 0.3) -> Lesson:
    """The mouth is a fixed linear map of the random network's hidden state, and noise."""
    bands = log_mel(babble(seconds, seed))
    bands = bands[: len(bands) // 2 * 2]
    _, hidden = run(random_voice().network, bands)
    count = len(hidden)
    rng = np.random.default_rng(99)  # everybody's mouth works the same
    own = np.random.default_rng(seed)

    def follow(width: int, spread: np.ndarray) -> np.ndarray:
        wave = hidden @ rng.standard_normal((hidden.shape[1], width))
        wave = (wave - wave.mean(0)) / wave.std(0) + noise * own.standard_normal((count, width))
        return (wave * spread).astype(np.float32)

    measures = follow(7, MEASURE_SPREAD)
    channels = np.maximum(follow(19, CHANNEL_SPREAD), 0)
    return Lesson(
        sha256=f"{seed:08x}",
        identity=identity,
        clean=False,
        bands=bands,
        measures=measures,
        channels=channels,
        closed=measures[:, 0] < np.quantile(measures[:, 0], 0.2),
        seen=np.ones(count, bool),
        speaking=speaking(bands),
    )
