"""Train the prior on stored episodes.

    python -m recon.prior.train EPISODES -o prior.safetensors --hold-out PERSON...
    torchrun --nproc-per-node 2 -m recon.prior.train EPISODES -o prior.safetensors

What a step draws depends on the seed, the step and the place in the batch alone: a run that was
stopped goes on bit by bit as if it had not been (on a CPU; a GPU's sums are in no fixed order), and
any number of processes that divides the batch sees the same episodes. A checkpoint lies beside the
output as NAME.checkpoint.safetensors. On a GPU, each process takes one.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor

from avatar3d.cli import run_script
from avatar3d.errors import UserError
from avatar3d.heads import HeadModel, load_head
from avatar3d.template import LEVELS, Template, make_template
from recon.fit.config import RefineConfig
from recon.prior.episodes import (
    Episode,
    coarser,
    episode_files,
    load_episode,
    person_of,
    require_heads,
    tinted,
)
from recon.prior.features import anchor_features
from recon.prior.meta import Judge, backward
from recon.prior.prior import LearnedSteps, Prior, apply_residuals, untrained
from recon.prior.surface import surface_on
from recon.prior.weights import save_prior
from recon.training.checkpoint import load_checkpoint, save_checkpoint
from recon.training.device import Device
from render.ahead import ahead
from render.backends.cuda import CudaBackend

if TYPE_CHECKING:
    from recon.prior.synthetic.episodes import EpisodeStream


# The gradient is that of the loss's logarithm: who is easy to draw counts as much as who is not, as in
# a mean of decibels; what would spoil the one by a little must not pay for the other.
_USUAL_LOSS, _LEAST_LOSS = 0.17, 0.02
SYNTHETIC = "synthetic"  # what the names of synthetic people begin with


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
    # Of the episodes show synthetic people: those among the files, or made when drawn if none are.
    synthetic_share: float = 0.0
    synthetic_people: int = 8  # that there are to draw from, others in every `synthetic_window`
    synthetic_window: int = 64  # steps: making an episode costs several of them
    tint: float = 0.15  # channels are made brighter or darker by up to so much
    average: float = 0.995  # the weights that are kept are a running mean of those that learn
    checkpoint_every: int = 200
    device: Device = "auto"  # auto: a GPU where there is one that can render
    bfloat16: bool | None = (
        None  # the network's mixed precision, renders are float32; None: on a GPU
    )
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
    heads: Sequence[str] = ("default",),
    checkpoint: Path | None = None,
    begin: Prior | None = None,
    log: Path | None = None,
) -> Run:
    """Train on `files`, made on any of `heads`; goes on from `checkpoint` where there is one, else
    from `begin`. Synthetic people who are made when drawn have the first of the heads."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if config.batch % world:
        raise UserError(
            f"the batch must be a multiple of the processes, got {config.batch} episodes for "
            f"{world}; change --config.batch"
        )
    device = _device(config)
    torch.manual_seed(config.seed)
    models = load_heads(heads)
    names = [head.name for head in models]
    require_heads(files, names)
    run = _new_run(begin or untrained(), config, device)
    if checkpoint is not None and checkpoint.exists():
        _load(run, checkpoint, config, names)
    templates = {head.name: make_template(head, config.anchors) for head in models}
    people = _People(files, config, models[0], templates[models[0].name])
    writer = _writer(log) if rank == 0 else None
    started, begun = time.perf_counter(), run.step
    with ahead(_draws(people, config, begun, rank, world), depth=2) as drawn:
        while run.step < config.steps:
            losses = []
            for _ in range(rank, config.batch, world):
                episode, rng = next(drawn)
                losses.append(_learn(run.prior, episode, templates, rng, config))
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
                    _save(run, checkpoint, config, names)
    if rank == 0 and checkpoint is not None:
        _save(run, checkpoint, config, names)
    return run


def load_heads(heads: Sequence[str]) -> list[HeadModel]:
    """The heads that training is told of, by name or file; each may be told once."""
    models = [load_head(head) for head in heads]
    if len({head.name for head in models}) < len(models):
        raise UserError(
            f"the heads must differ, got {', '.join(head.name for head in models)}; name each "
            f"once with --head"
        )
    return models


def _device(config: TrainConfig) -> torch.device:
    """This process's: of several GPUs the one that torchrun counts for it. They render with gsplat."""
    obstacle = None if config.device == "cpu" else CudaBackend().why_unavailable()
    if config.device == "cpu" or (config.device == "auto" and obstacle):
        return torch.device("cpu")
    if obstacle:
        raise UserError(f"--config.device cuda cannot run here: {obstacle}; use cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def _new_run(prior: Prior, config: TrainConfig, device: torch.device) -> Run:
    """The prior itself is left as it is."""
    steps = LearnedSteps(*(s.detach().to(device).clone().requires_grad_() for s in prior.steps))
    prior = replace(prior, network=copy.deepcopy(prior.network).to(device), steps=steps)
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
    prior: Prior,
    episode: Episode,
    templates: Mapping[str, Template],
    rng: np.random.Generator,
    config: TrainConfig,
) -> float:
    """Add one episode's gradients to the parameters' own; its loss."""
    template = templates[episode.head]
    device = prior.steps.look.device
    gain = torch.from_numpy(1 + rng.uniform(-config.tint, config.tint, 3)).float()
    episode = tinted(coarser(episode, config.anchors), gain).on(device)
    surface = surface_on(template, device)
    coefficients = episode.support_codes.coefficients
    features = anchor_features(episode.start, surface, coefficients)
    torch.manual_seed(int(rng.integers(2**31)))  # what dropout forgets is part of the draw
    mixed = device.type == "cuda" if config.bfloat16 is None else config.bfloat16
    with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
        residuals = prior.network(features, surface)
    start = apply_residuals(episode.start, residuals, surface, prior.steps, coefficients)
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
    scale = _USUAL_LOSS / (config.batch * max(loss, _LEAST_LOSS))
    backward(start, {name: scale * gradient for name, gradient in gradients.items()})
    return loss


def _share(run: Run, losses: list[float], batch: int, world: int) -> float:
    """The mean loss of the batch; over several processes gradients are summed."""
    device = run.prior.steps.look.device
    total = torch.tensor(sum(losses) / batch, dtype=torch.float64, device=device)
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


class _People:
    """Whom the episodes show: filmed people and synthetic ones, each kind as often as wanted."""

    def __init__(
        self, files: Sequence[Path], config: TrainConfig, head: HeadModel, template: Template
    ) -> None:
        self._config = config
        synthetic = [file for file in files if person_of(file).startswith(SYNTHETIC)]
        share = config.synthetic_share
        if not 0 < share < 1:  # no share to keep to: all files are alike
            synthetic = [] if share <= 0 else synthetic
        self._synthetic = _by_person(synthetic)
        self._filmed = _by_person(file for file in files if file not in set(synthetic))
        self._stream = None
        if share > 0 and not self._synthetic:
            self._stream = _stream(config, head, template)
        if share < 1 and not self._filmed:
            raise UserError("there must be episodes to train on, got none; make some first")

    def draw(self, step: int, rng: np.random.Generator) -> Episode:
        """A function of step and draw alone."""
        config = self._config
        if config.synthetic_share <= 0 or rng.random() >= config.synthetic_share:
            return _draw(self._filmed, rng)
        if self._stream is None:
            return _draw(self._synthetic, rng)
        window = step // config.synthetic_window
        number = int(rng.integers(config.synthetic_people))
        return self._stream[window * config.synthetic_people + number]


def _by_person(files: Iterable[Path]) -> list[list[Path]]:
    people: dict[str, list[Path]] = {}
    for file in sorted(files, key=lambda file: file.name):
        people.setdefault(person_of(file), []).append(file)
    return list(people.values())


def _draws(
    people: _People, config: TrainConfig, first_step: int, rank: int, world: int
) -> Iterator[tuple[Episode, np.random.Generator]]:
    """This process's episodes from a step on, each with what else is drawn for it."""
    for step in range(first_step, config.steps):
        for place in range(rank, config.batch, world):
            rng = np.random.default_rng((config.seed, step, place))
            yield people.draw(step, rng), rng


def _draw(by_person: list[list[Path]], rng: np.random.Generator) -> Episode:
    """Every person is as likely as another, however many episodes show them."""
    own = by_person[rng.integers(len(by_person))]
    return load_episode(own[rng.integers(len(own))])


def _stream(config: TrainConfig, head: HeadModel, template: Template) -> EpisodeStream:
    """Synthetic people without end."""
    from recon.prior.synthetic.episodes import EpisodeStream

    return EpisodeStream(config.seed, template, head, kept=config.synthetic_people)


def _save(run: Run, path: Path, config: TrainConfig, heads: Sequence[str]) -> None:
    more = {"losses": torch.tensor(run.losses, dtype=torch.float64)}
    more |= {f"steps.{name}": value for name, value in run.prior.steps._asdict().items()}
    more |= {f"averaged.{index}": value for index, value in enumerate(run.averaged)}
    modules, optimizers = {"network": run.prior.network}, {"adam": run.optimizer}
    save_checkpoint(path, modules, optimizers, more, _settings(config, heads))


def _settings(config: TrainConfig, heads: Sequence[str]) -> dict[str, Any]:
    """What a run that goes on must agree with; it may go on elsewhere."""
    settings = {name: value for name, value in asdict(config).items() if name != "device"}
    return settings | {"heads": list(heads)}


def _load(run: Run, path: Path, config: TrainConfig, heads: Sequence[str]) -> None:
    modules, optimizers = {"network": run.prior.network}, {"adam": run.optimizer}
    more = load_checkpoint(path, modules, optimizers, _settings(config, heads))
    run.losses = more["losses"].tolist()
    run.step = len(run.losses)
    with torch.no_grad():
        for name, value in run.prior.steps._asdict().items():
            value.copy_(more[f"steps.{name}"])
        for index, mean in enumerate(run.averaged):
            mean.copy_(more[f"averaged.{index}"])


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
    head: tuple[str, ...] = ("default",),
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
        head: The heads that the episodes were made on, one or several.
        begin: A prior to begin with.
        log: Folder for TensorBoard.
        config: Settings.
    """
    from recon.prior.weights import load_prior

    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        import torch.distributed as dist

        dist.init_process_group("nccl" if _device(config).type == "cuda" else "gloo")
    invented = config.synthetic_share >= 1
    files = [] if invented else episode_files(episodes, hold_out, only)
    checkpoint = output.with_suffix(".checkpoint.safetensors")
    first = None if begin is None else load_prior(begin)
    names = [model.name for model in load_heads(head)]
    started = time.perf_counter()
    run = train(files, config, head, checkpoint, first, log)
    if int(os.environ.get("RANK", "0")) == 0:
        facts = {
            "episodes": len(files),
            "people": len({person_of(file) for file in files}),
            "held_out": len(hold_out),
            "heads": names,
            "config": asdict(config),
            "begin": begin and Path(begin).name,
            "loss": float(np.mean(run.losses[-200:])),
        }
        save_prior(averaged(run), output, facts)
        print(f"wrote {output} in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    run_script(main)
