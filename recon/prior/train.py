"""Train the prior on stored episodes.

    python -m recon.prior.train EPISODES -o prior.safetensors --hold-out PERSON...
    torchrun --nproc-per-node 2 -m recon.prior.train EPISODES -o prior.safetensors

What a step draws depends on the seed, the step and the place in the batch alone: a run that was
stopped goes on bit by bit as if it had not been, and any number of processes that divides the batch
sees the same episodes. A checkpoint lies beside the output as NAME.checkpoint.safetensors.
"""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
import tyro
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from avatar3d.heads import load_head
from avatar3d.template import LEVELS, Template, make_template
from recon.fit.config import RefineConfig
from recon.prior.episodes import Episode, coarser, episode_files, load_episode, person_of, tinted
from recon.prior.features import anchor_features
from recon.prior.meta import Judge, backward
from recon.prior.prior import LearnedSteps, Prior, apply_residuals, untrained
from recon.prior.surface import surface_of
from recon.prior.weights import save_prior
from render.ahead import ahead

if TYPE_CHECKING:
    from recon.prior.synthetic.episodes import EpisodeStream


@dataclass(frozen=True)
class TrainConfig:
    """How the prior is trained; `configs/prior/*.yaml` are its presets."""

    steps: int = 4000
    batch: int = 1  # episodes a step
    queries: int = 3  # frames that an episode is judged on in a step
    anchors: int = LEVELS[2]
    refined_share: float = 0.2  # of the episodes are judged after refinement
    refine_steps: int = 40
    learning_rate: float = 2e-3  # Adam's, falls along a half cosine to a twentieth
    steps_rate: float = 5e-3  # of the logarithms of refinement's step sizes
    warm_up: int = 50
    gradient_norm: float = 1.0
    weight_decay: float = 0.1
    synthetic_share: float = 0.0  # of the episodes show synthetic people, made when drawn
    synthetic_people: int = 8  # that there are to draw from, others in every `synthetic_window`
    synthetic_window: int = 64  # steps: making an episode costs several of them
    tint: float = 0.15  # channels are made brighter or darker by up to so much
    average: float = 0.995  # the weights that are kept are a running mean of those that learn
    checkpoint_every: int = 200
    seed: int = 0


@dataclass
class Run:
    """All that changes while training; a checkpoint holds exactly this."""

    prior: Prior
    optimizer: torch.optim.AdamW
    averaged: list[Tensor]  # of the network's parameters
    step: int = 0
    losses: list[float] = field(default_factory=list)


def train(
    files: Sequence[Path],
    config: TrainConfig,
    head: str = "default",
    checkpoint: Path | None = None,
    begin: Prior | None = None,
    log: Path | None = None,
) -> Run:
    """Train on `files`; goes on from `checkpoint` where there is one, else from `begin`."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if config.batch % world:
        raise UserError(
            f"the batch must be a multiple of the processes, got {config.batch} episodes for "
            f"{world}; change --config.batch"
        )
    torch.manual_seed(config.seed)
    run = _new_run(begin or untrained(), config)
    if checkpoint is not None and checkpoint.exists():
        _load(run, checkpoint, config)
    template = make_template(load_head(head), config.anchors)
    by_person = [] if config.synthetic_share >= 1 else _by_person(files)
    stream = _stream(config, head, template)
    writer = _writer(log) if rank == 0 else None
    started, begun = time.perf_counter(), run.step
    with ahead(_draws(by_person, stream, config, begun, rank, world), depth=2) as drawn:
        while run.step < config.steps:
            losses = []
            for _ in range(rank, config.batch, world):
                episode, rng = next(drawn)
                losses.append(_learn(run.prior, episode, template, rng, config))
            loss = _share(run, losses, config.batch, world)
            _step(run, config)
            run.losses.append(loss)
            run.step += 1
            if rank == 0:
                if writer is not None:
                    writer.add_scalar("loss", loss, run.step)
                if run.step % 50 == 0:
                    rate = (time.perf_counter() - started) / (run.step - begun)
                    recent = np.mean(run.losses[-50:])
                    print(f"{run.step} {recent:.4f} {rate:.2f} s/step", flush=True)
                if checkpoint is not None and run.step % config.checkpoint_every == 0:
                    _save(run, checkpoint, config)
    if rank == 0 and checkpoint is not None:
        _save(run, checkpoint, config)
    return run


def _new_run(prior: Prior, config: TrainConfig) -> Run:
    prior = replace(prior, steps=LearnedSteps(*(s.clone().requires_grad_() for s in prior.steps)))
    prior.network.train().requires_grad_(True)
    groups = [
        {"params": list(prior.network.parameters()), "lr": config.learning_rate},
        {"params": list(prior.steps), "lr": config.steps_rate},
    ]
    for group in groups:
        group["peak"] = group["lr"]
    groups[1]["weight_decay"] = 0.0
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=config.weight_decay)
    return Run(prior, optimizer, [p.detach().clone() for p in prior.network.parameters()])


def averaged(run: Run) -> Prior:
    """The prior with the running mean of its weights."""
    network = copy.deepcopy(run.prior.network)
    with torch.no_grad():
        for parameter, mean in zip(network.parameters(), run.averaged):
            parameter.copy_(mean)
    return replace(run.prior, network=network)


def _learn(
    prior: Prior, episode: Episode, template, rng: np.random.Generator, config: TrainConfig
) -> float:
    """Add one episode's gradients to the parameters' own; its loss."""
    gain = torch.from_numpy(1 + rng.uniform(-config.tint, config.tint, 3)).float()
    episode = tinted(coarser(episode, config.anchors), gain)
    surface = surface_of(template)
    features = anchor_features(episode.start, surface, len(episode.support))
    torch.manual_seed(int(rng.integers(2**31)))  # what dropout forgets is part of the draw
    residuals = prior.network(features, surface)
    start = apply_residuals(episode.start, residuals, surface, prior.steps)
    judge = Judge(episode, template)
    count = min(config.queries, len(episode.queries))
    queries = rng.choice(len(episode.queries), count, replace=False).tolist()
    background = int(rng.integers(2))
    if rng.random() < config.refined_share:
        refinement = RefineConfig(
            iterations=config.refine_steps,
            max_iterations=config.refine_steps,
            seed=int(rng.integers(2**31)),
        )
        loss, gradients = judge.gradients_after_refinement(
            start, template, queries, background, refinement
        )
    else:
        loss, gradients = judge.gradients(start, queries, background)
    scale = 1.0 / config.batch
    backward(start, {name: scale * gradient for name, gradient in gradients.items()})
    return loss


def _share(run: Run, losses: list[float], batch: int, world: int) -> float:
    """The mean loss of the batch; over several processes gradients are summed."""
    total = torch.tensor(sum(losses) / batch, dtype=torch.float64)
    for parameter in _parameters(run):
        # Adam skips what has no gradient, and a run that goes on must not skip what it would not.
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if world > 1:
        import torch.distributed as dist

        for parameter in _parameters(run):
            dist.all_reduce(parameter.grad)
        dist.all_reduce(total)
    return float(total)


def _step(run: Run, config: TrainConfig) -> None:
    progress = run.step / config.steps
    decay = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))
    for group in run.optimizer.param_groups:
        group["lr"] = group["peak"] * decay * min(1.0, (run.step + 1) / config.warm_up)
    torch.nn.utils.clip_grad_norm_(run.prior.network.parameters(), config.gradient_norm)
    run.optimizer.step()
    run.optimizer.zero_grad()
    keep = min(config.average, run.step / (run.step + 10))  # the first steps count little
    with torch.no_grad():
        for mean, parameter in zip(run.averaged, run.prior.network.parameters()):
            mean.lerp_(parameter, 1 - keep)


def _parameters(run: Run) -> list[Tensor]:
    return [p for group in run.optimizer.param_groups for p in group["params"]]


def _by_person(files: Sequence[Path]) -> list[list[Path]]:
    people: dict[str, list[Path]] = {}
    for file in sorted(files, key=lambda file: file.name):
        people.setdefault(person_of(file), []).append(file)
    if not people:
        raise UserError("there must be episodes to train on, got none; make some first")
    return list(people.values())


def _draws(
    by_person: list[list[Path]],
    stream: EpisodeStream | None,
    config: TrainConfig,
    first_step: int,
    rank: int,
    world: int,
) -> Iterator[tuple[Episode, np.random.Generator]]:
    """This process's episodes from a step on, each with what else is drawn for it."""
    for step in range(first_step, config.steps):
        for place in range(rank, config.batch, world):
            rng = np.random.default_rng((config.seed, step, place))
            yield _synthetic(stream, step, rng, config) or _draw(by_person, rng), rng


def _draw(by_person: list[list[Path]], rng: np.random.Generator) -> Episode:
    """Every person is as likely as another, however many episodes show them."""
    own = by_person[rng.integers(len(by_person))]
    return load_episode(own[rng.integers(len(own))])


def _stream(config: TrainConfig, head: str, template: Template) -> EpisodeStream | None:
    """Synthetic people without end, where any are wanted."""
    if config.synthetic_share <= 0:
        return None
    from recon.prior.synthetic.episodes import EpisodeStream

    return EpisodeStream(config.seed, template, load_head(head), kept=config.synthetic_people)


def _synthetic(
    stream: EpisodeStream | None, step: int, rng: np.random.Generator, config: TrainConfig
) -> Episode | None:
    """An episode of the stream, as often as the settings say; a function of step and draw alone."""
    if stream is None or rng.random() >= config.synthetic_share:
        return None
    window = step // config.synthetic_window
    return stream[window * config.synthetic_people + int(rng.integers(config.synthetic_people))]


def _save(run: Run, path: Path, config: TrainConfig) -> None:
    tensors = {"losses": torch.tensor(run.losses, dtype=torch.float64)}
    tensors |= {f"network.{name}": v for name, v in run.prior.network.state_dict().items()}
    tensors |= {f"steps.{name}": v.detach() for name, v in run.prior.steps._asdict().items()}
    tensors |= {f"averaged.{index}": value for index, value in enumerate(run.averaged)}
    for index, parameter in enumerate(_parameters(run)):
        for name, value in run.optimizer.state[parameter].items():
            tensors[f"adam.{index}.{name}"] = value
    facts = {"step": str(run.step), "config": json.dumps(asdict(config), sort_keys=True)}
    with atomic_output(path) as beside:
        save_file({name: v.contiguous() for name, v in tensors.items()}, str(beside), facts)


def _load(run: Run, path: Path, config: TrainConfig) -> None:
    with safe_open(str(path), "pt") as file:
        facts = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # Settings that came later were at their defaults when the checkpoint was made.
    made_with = asdict(TrainConfig()) | json.loads(facts.get("config", "{}"))
    if made_with != asdict(config):
        raise UserError(
            f"{path} must be a checkpoint of these settings, but was made with others; "
            f"give the same settings or remove it"
        )
    run.step = int(facts["step"])
    run.losses = tensors["losses"].tolist()
    run.prior.network.load_state_dict(
        {name: tensors[f"network.{name}"] for name in run.prior.network.state_dict()}
    )
    with torch.no_grad():
        for name, value in run.prior.steps._asdict().items():
            value.copy_(tensors[f"steps.{name}"])
    run.averaged = [tensors[f"averaged.{index}"] for index in range(len(run.averaged))]
    for index, parameter in enumerate(_parameters(run)):
        prefix = f"adam.{index}."
        run.optimizer.state[parameter] = {
            name[len(prefix) :]: v for name, v in tensors.items() if name.startswith(prefix)
        }


def _writer(folder: Path | None):
    if folder is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))


def main(
    episodes: tyro.conf.Positional[Path],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    hold_out: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
    head: str = "default",
    begin: str | None = None,
    log: Path | None = None,
    config: TrainConfig = TrainConfig(),
) -> None:
    """Train a prior.

    Args:
        episodes: Folder that `python -m recon.prior.make_episodes` or `recon.prior.shards` filled;
            not read where all people are synthetic.
        output: The prior's file.
        hold_out: People who are left out.
        only: Prefixes of the people to train on; all where none is given.
        head: The head that the episodes were made on.
        begin: A prior to begin with.
        log: Folder for TensorBoard.
        config: Settings.
    """
    from recon.prior.weights import load_prior

    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        import torch.distributed as dist

        dist.init_process_group("gloo")
    invented = config.synthetic_share >= 1
    files = [] if invented else episode_files(episodes, hold_out, only)
    checkpoint = output.with_suffix(".checkpoint.safetensors")
    first = None if begin is None else load_prior(begin)
    started = time.perf_counter()
    run = train(files, config, head, checkpoint, first, log)
    if int(os.environ.get("RANK", "0")) == 0:
        facts = {
            "episodes": len(files),
            "people": len({person_of(file) for file in files}),
            "held_out": len(hold_out),
            "config": asdict(config),
            "begin": begin and Path(begin).name,
            "loss": float(np.mean(run.losses[-200:])),
        }
        save_prior(averaged(run), output, facts)
        print(f"wrote {output} in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    tyro.cli(main)
