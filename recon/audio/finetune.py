"""Second stage: real mouths. A new head by ridge regression, then gentle steps with replay.

The trunk knows phones from synthetic speech. Its hidden state is regressed on what real mouths did;
a few steps then move everything together, while synthetic speech keeps coming so that the trunk
does not forget (40 % of a batch, through the head that it had).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from avatar3d.audio.features import Normaliser
from recon.audio.head_measures import measures_by_channel
from recon.audio.material import CHANNEL_SPREAD, MEASURE_SPREAD, Lesson
from recon.audio.outputs import CLOSURE, COUNT, ENERGY, MEASURES, UNTAUGHT, run
from recon.audio.personal import refit, targets
from recon.audio.pretrain import (
    PretrainConfig,
    Speech,
    Trunk,
    delayed,
    learning_rate,
    output_sizes,
    speech_loss,
)
from recon.audio.voices import disguise

_CHANNEL_WEIGHT = torch.ones(COUNT)
_CHANNEL_WEIGHT[UNTAUGHT] = 0.0
# The head's protrusion hardly shows in the measures of a posed head: it does not judge channels.
_POSED_WEIGHT = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0])


@dataclass(frozen=True)
class FinetuneConfig:
    steps: int = 100
    lessons: int = 10  # of a batch
    replayed: int = 6
    frames: int = 200
    trunk_rate: float = 2e-4
    head_rate: float = 1e-3
    ridge: float = 200.0  # frames' worth of trust in a head that says the mean
    toward_synthetic: bool = False  # ... in the head of synthetic speech instead
    replay_weight: float = 0.5
    # Of synthetic channels through the new head, if toward_synthetic.
    own_replay_weight: float = 0.7
    channel_weight: float = 0.7
    posed_weight: float = 0.5
    closure_weight: float = 0.3
    dropout: float = 0.2  # of the hidden state
    ignored: int = 20  # frames
    seed: int = 3


def finetune(
    trunk: Trunk,
    taught: list[Lesson],
    speech: Speech | None,
    config: FinetuneConfig = FinetuneConfig(),
) -> Trunk:
    """A copy of `trunk` whose head says what the people of `taught` would do.

    `speech` is what is replayed; without steps there is none.
    """
    synthetic_head = copy.deepcopy(trunk.network.head)
    trunk = copy.deepcopy(trunk)
    states = [run(trunk.network, lesson.bands)[1][lesson.seen] for lesson in taught]
    wanted = [targets(lesson)[lesson.seen] for lesson in taught]
    trunk.network.head = refit(
        trunk.network,
        np.concatenate(states),
        np.concatenate(wanted),
        config.ridge,
        from_nothing=not config.toward_synthetic,
    )
    if config.steps == 0:
        return trunk.eval()
    if speech is None:
        raise ValueError("gentle steps need speech to replay")
    optimizer = torch.optim.AdamW(
        [
            {"params": [*trunk.network.stem.parameters(), *trunk.network.blocks.parameters()]},
            {"params": trunk.network.head.parameters(), "factor": config.head_rate},
            {"params": [*trunk.classes.parameters(), *synthetic_head.parameters()]},
        ],
        config.trunk_rate,
        weight_decay=0.05,
    )
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    weights = np.array([lesson.seen.sum() for lesson in taught], float) ** 0.7
    weights /= weights.sum()
    sizes = output_sizes(speech.channel_sizes, speech.channels[::50])
    replay_config = PretrainConfig(ignored=config.ignored)
    trunk.train()
    for step in range(config.steps):
        for group in optimizer.param_groups:
            rate = group.get("factor", config.trunk_rate)
            group["lr"] = rate * learning_rate(step, config.steps)
        batch = _lesson_batch(taught, weights, rng, config)
        replay = speech.batch(rng, config.replayed, config.frames)
        _, classes, hidden = trunk(torch.cat([batch.features, replay.features]))
        kept = F.dropout(hidden[: config.lessons], config.dropout)
        loss = _lesson_loss(trunk.network.head(kept), batch, config)
        replayed = synthetic_head(hidden[config.lessons :])
        loss = loss + config.replay_weight * speech_loss(
            replayed, classes[config.lessons :], replay, sizes, replay_config
        )
        said = trunk.network.head(hidden[config.lessons :])
        loss = loss + 0.1 * F.smooth_l1_loss(said[..., ENERGY], replay.energy, beta=0.1)
        off = (said[..., :COUNT] - replay.channels) / sizes[:COUNT]
        loss = loss + 0.1 * F.smooth_l1_loss(
            off[..., UNTAUGHT], torch.zeros_like(off[..., UNTAUGHT])
        )
        if config.toward_synthetic:  # few people say little of channels, synthetic speech more
            loss = loss + config.own_replay_weight * F.smooth_l1_loss(off, torch.zeros_like(off))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trunk.parameters(), 1.0)
        optimizer.step()
    return trunk.eval()


@dataclass(frozen=True)
class _LessonBatch:
    features: Float[Tensor, "B F 81"]
    measures: Float[Tensor, "B T 7"]
    channels: Float[Tensor, "B T 19"]
    closed: Float[Tensor, "B T"]
    weight: Float[Tensor, "B T"]


def _lesson_batch(
    taught: list[Lesson], weights: np.ndarray, rng: np.random.Generator, config: FinetuneConfig
) -> _LessonBatch:
    items = []
    for _ in range(config.lessons):
        lesson = taught[rng.choice(len(taught), p=weights)]
        missing = max(0, config.frames - len(lesson))
        start = int(rng.integers(0, len(lesson) + missing - config.frames + 1))
        at = np.arange(start, start + config.frames)
        inside = np.minimum(at, len(lesson) - 1)
        bands = lesson.bands.reshape(-1, 2, lesson.bands.shape[1])[inside]
        bands = disguise(bands.reshape(-1, lesson.bands.shape[1]), rng, strength=0.6)
        seen = (lesson.seen[inside] & (at < len(lesson))).astype(np.float32)
        items.append(
            (
                bands,
                lesson.measures[inside],
                lesson.channels[inside],
                lesson.closed[inside].astype(np.float32),
                seen,
            )
        )
    bands, *targets = (np.stack(parts) for parts in zip(*items))
    measures, channels, closed, seen = (torch.from_numpy(delayed(part)) for part in targets)
    seen[:, : config.ignored] = 0
    features = torch.from_numpy(Normaliser(len(items))(bands))
    return _LessonBatch(features, measures, channels, closed, seen)


def _lesson_loss(outputs: Tensor, batch: _LessonBatch, config: FinetuneConfig) -> Tensor:
    weight = batch.weight[..., None]
    spread, channel_spread = torch.from_numpy(MEASURE_SPREAD), torch.from_numpy(CHANNEL_SPREAD)
    error = (outputs[..., MEASURES] - batch.measures) / spread
    channel_error = (outputs[..., :COUNT] - batch.channels) / channel_spread
    channel_error = channel_error * _CHANNEL_WEIGHT
    # What the channels do to the measures of a posed head; its resting place is not asked for.
    posed = outputs[..., :COUNT] @ measures_by_channel()
    seen = weight.sum(1, keepdim=True).clamp(min=1)
    centre = ((posed - batch.measures) * weight).sum(1, keepdim=True) / seen
    posed_error = (posed - centre - batch.measures) / spread * _POSED_WEIGHT

    def mean(value: Tensor) -> Tensor:
        return (F.smooth_l1_loss(value, torch.zeros_like(value), reduction="none") * weight).mean()

    def speed(value: Tensor) -> Tensor:
        change = value[:, 1:] - value[:, :-1]
        cost = F.smooth_l1_loss(change, torch.zeros_like(change), reduction="none")
        return (cost * weight[:, 1:]).mean()

    closure = F.binary_cross_entropy_with_logits(
        outputs[..., CLOSURE], batch.closed, weight=batch.weight
    )
    return (
        mean(error)
        + speed(error)
        + config.channel_weight * (mean(channel_error) + speed(channel_error))
        + config.posed_weight * mean(posed_error)
        + config.closure_weight * closure
    )
