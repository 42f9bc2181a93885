"""First stage: the network learns phones and mouth curves from synthetic speech.

python -m recon.audio.pretrain     the trunk of all shipped weights; resumes where it stopped
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from avatar3d.audio.features import Normaliser
from avatar3d.audio.network import CLASS_COUNT, LOOKAHEAD, MEASURE_COUNT, VoiceNetwork
from avatar3d.files import atomic_output, cache_folder
from avatar3d.progress import progress
from recon.audio import visemes
from recon.audio.corpus import Corpus, corpus
from recon.audio.head_measures import measures_by_channel
from recon.audio.outputs import CLOSURE, COUNT, ENERGY
from recon.audio.voices import disguise

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PretrainConfig:
    chunks: int = 20  # of ten minutes of speech
    steps: int = 1900
    # The rate falls by a cosine over `horizon` steps; from `cool_from` on, faster, to end at `steps`.
    horizon: int = 2400
    cool_from: int = 1300
    batch: int = 16
    frames: int = 250  # output frames of an item: 5 s
    ignored: int = 15  # frames at the start of an item, while the network hears too little
    rate: float = 1.5e-3
    class_weight: float = 0.3
    closure_weight: float = 0.3
    speed_weight: float = 1.0
    energy_weight: float = 0.2
    seed: int = 1
    checkpoint_every: int = 100


@dataclass(frozen=True)
class Batch:
    """What is heard, and what the mouth did `LOOKAHEAD` frames ago."""

    features: Float[Tensor, "B F 81"]
    channels: Float[Tensor, "B T 19"]
    visemes: Int[Tensor, "B T"]
    energy: Float[Tensor, "B T"]


class Trunk(nn.Module):
    """The network with the head for phones, which is not shipped."""

    def __init__(self) -> None:
        super().__init__()
        self.network = VoiceNetwork()
        self.classes = nn.Linear(self.network.width, CLASS_COUNT)
        with torch.no_grad():  # begin at a mouth at rest: errors are divided by small spreads
            self.network.head.weight *= 0.05
            self.network.head.bias.zero_()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        outputs, hidden, _ = self.network(features, self.network.start(len(features)))
        return outputs, self.classes(hidden), hidden


class Speech:
    """The corpus as one long talk, from which items are cut anywhere."""

    def __init__(self, spoken: Corpus) -> None:
        self.bands = np.concatenate([one.bands for one in spoken.utterances])
        self.channels = np.concatenate([one.channels for one in spoken.utterances])
        self.visemes = np.concatenate([one.visemes for one in spoken.utterances])
        self.channel_sizes = np.maximum(self.channels.astype(np.float32).std(0), 0.02)

    def batch(self, rng: np.random.Generator, size: int, frames: int) -> Batch:
        items = [self._item(rng, frames) for _ in range(size)]
        bands, channels, spoken = (np.stack(parts) for parts in zip(*items))
        features = Normaliser(size)(bands)
        energy = smooth_activity(spoken != visemes.SILENCE)
        return Batch(
            torch.from_numpy(features),
            torch.from_numpy(delayed(channels)),
            torch.from_numpy(delayed(spoken)),
            torch.from_numpy(delayed(energy)),
        )

    def _item(self, rng: np.random.Generator, frames: int) -> tuple[np.ndarray, ...]:
        speed = rng.uniform(0.8, 1.25) if rng.random() < 0.5 else 1.0
        length = int(np.ceil(frames * speed)) + 1
        start = int(rng.integers(0, len(self.visemes) - length))
        bands = self.bands[2 * start : 2 * (start + length)].astype(np.float32)
        at = np.arange(2 * frames) * speed
        low = at.astype(int)
        share = (at - low).astype(np.float32)[:, None]
        bands = bands[low] * (1 - share) + bands[np.minimum(low + 1, len(bands) - 1)] * share
        at = start + np.round(np.arange(frames) * speed).astype(int)
        channels = self.channels[at].astype(np.float32)
        return disguise(bands, rng), channels, self.visemes[at].astype(np.int64)


def delayed(values: np.ndarray) -> np.ndarray:
    """[B, T, ...]: outputs speak of the sound `LOOKAHEAD` frames ago."""
    first = np.repeat(values[:, :1], LOOKAHEAD, axis=1)
    return np.concatenate([first, values[:, :-LOOKAHEAD]], axis=1)


def smooth_activity(active: np.ndarray) -> Float[np.ndarray, "B T"]:
    """How much was spoken in the last and next 0.2 s, 0..1."""
    kernel = np.hanning(23)[1:-1]
    kernel /= kernel.sum()
    padded = np.pad(active.astype(np.float32), ((0, 0), (10, 10)), "edge")
    return np.stack([np.convolve(row, kernel, "valid") for row in padded]).astype(np.float32)


def speech_loss(
    outputs: Tensor, classes: Tensor, batch: Batch, sizes: Tensor, config: PretrainConfig
) -> Tensor:
    by_channel = measures_by_channel().to(outputs)
    wanted = torch.cat([batch.channels, batch.channels @ by_channel], dim=2)
    said = outputs[..., : COUNT + MEASURE_COUNT]
    error = ((said - wanted) / sizes)[:, config.ignored :]
    speed = error[:, 1:] - error[:, :-1]
    at = slice(config.ignored, None)
    closed = (batch.visemes == visemes.CLOSED).float()
    return (
        F.smooth_l1_loss(error, torch.zeros_like(error))
        + config.speed_weight * F.smooth_l1_loss(speed, torch.zeros_like(speed))
        + config.class_weight
        * F.cross_entropy(classes[:, at].flatten(0, 1), batch.visemes[:, at].flatten())
        + config.closure_weight
        * F.binary_cross_entropy_with_logits(outputs[:, at, CLOSURE], closed[:, at])
        + config.energy_weight
        * F.smooth_l1_loss(outputs[:, at, ENERGY], batch.energy[:, at], beta=0.1)
    )


def output_sizes(channel_sizes: Float[np.ndarray, " 19"], channels: np.ndarray) -> Tensor:
    """The spread of each channel and measure, by which errors are divided."""
    measures = channels.astype(np.float32) @ measures_by_channel().numpy()
    return torch.from_numpy(np.concatenate([channel_sizes, measures.std(0) + 1e-3])).float()


def pretrain(config: PretrainConfig = PretrainConfig()) -> Trunk:
    """Train, or go on where an earlier call stopped; the cache keeps the finished trunk."""
    key = hashlib.sha256(f"{config} {LOOKAHEAD} {visemes.VISEMES}".encode()).hexdigest()[:12]
    file = cache_folder() / "audio" / f"trunk-{key}.pt"
    torch.manual_seed(config.seed)
    trunk = Trunk()
    optimizer = torch.optim.AdamW(trunk.parameters(), config.rate, weight_decay=0.01)
    step = _resume(file, trunk, optimizer)
    if step >= config.steps:
        return trunk.eval()
    speech = Speech(corpus(config.chunks))
    sizes = output_sizes(speech.channel_sizes, speech.channels[::50])
    trunk.train()
    running = 0.0
    with progress("learning from synthetic speech", config.steps - step) as advance:
        while step < config.steps:
            # Each step draws from its own seed, so a resumed run is the same run.
            torch.manual_seed(config.seed + 7919 * step)
            batch = speech.batch(
                np.random.default_rng([config.seed, step]), config.batch, config.frames
            )
            for group in optimizer.param_groups:
                group["lr"] = config.rate * _rate(step, config)
            outputs, classes, _ = trunk(batch.features)
            loss = speech_loss(outputs, classes, batch, sizes, config)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trunk.parameters(), 1.0)
            optimizer.step()
            step += 1
            value = float(loss.detach())
            running = value if running == 0 else 0.98 * running + 0.02 * value
            if step % config.checkpoint_every == 0 or step == config.steps:
                logger.info("step %d: loss %.3f", step, running)
                _save(file, trunk, optimizer, step)
            advance()
    return trunk.eval()


def _rate(step: int, config: PretrainConfig) -> float:
    slow = learning_rate(min(step, config.cool_from), config.horizon)
    cooled = max(0, step - config.cool_from) / max(1, config.steps - config.cool_from)
    return slow * (0.5 + 0.5 * float(np.cos(np.pi * cooled)))


def learning_rate(step: int, steps: int) -> float:
    """Up in fifty steps, down by a cosine, 0..1."""
    return min(1.0, (step + 1) / 50) * (0.5 + 0.5 * float(np.cos(np.pi * step / steps))) + 0.005


def _save(file: Path, trunk: Trunk, optimizer: torch.optim.Optimizer, step: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {"trunk": trunk.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    with atomic_output(file) as beside:
        torch.save(state, beside)


def _resume(file: Path, trunk: Trunk, optimizer: torch.optim.Optimizer) -> int:
    if not file.exists():
        return 0
    state = torch.load(file, weights_only=True)
    trunk.load_state_dict(state["trunk"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    pretrain()
