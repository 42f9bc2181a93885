"""Voices and sounds for tests."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import torch

from avatar3d.audio.model import VoiceModel
from avatar3d.audio.network import VoiceNetwork


def babble(seconds: float, seed: int = 0, rate_hz: int = 16_000) -> np.ndarray:
    """Noise that swells and fades as syllables do, f32 [N]."""
    rng = np.random.default_rng(seed)
    count = int(seconds * rate_hz)
    knots_s = np.arange(0, seconds + 0.1, 0.1)
    loudness = np.interp(np.arange(count) / rate_hz, knots_s, rng.random(len(knots_s)))
    return (0.2 * loudness * rng.standard_normal(count)).astype(np.float32)


def random_voice(seed: int = 0) -> VoiceModel:
    """A network that has learned nothing, but says something else for every sound."""
    torch.manual_seed(seed)
    network = VoiceNetwork().eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.copy_(parameter.half().float())
    return VoiceModel(network, {"name": "random"})


def pieces(sound: np.ndarray, seed: int) -> list[np.ndarray]:
    """The sound cut anywhere, some pieces empty or of one sample."""
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, len(sound) + 1, rng.integers(1, 60)))
    return np.split(sound, cuts)


def write_sound(
    path: Path, samples: np.ndarray, rate_hz: int, codec: str = "pcm_s16le", layout: str = "mono"
) -> Path:
    """Samples [N, channels] in -1..1 to a sound file of the suffix's kind."""
    kind = {"pcm_s16le": "s16", "pcm_f32le": "flt", "flac": "s16"}[codec]
    values = samples if kind == "flt" else np.clip(samples * 32767, -32768, 32767).astype(np.int16)
    values = values.astype(np.float32) if kind == "flt" else values
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz)
        stream.layout = layout
        for start in range(0, len(values), 4096):
            piece = np.ascontiguousarray(values[start : start + 4096]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(piece, format=kind, layout=layout)
            frame.sample_rate, frame.pts = rate_hz, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
