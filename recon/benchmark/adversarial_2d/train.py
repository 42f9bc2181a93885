"""The meta-learning of Zakharov et al. 2019 (section 3.2).

    python -m recon.benchmark.adversarial_2d.train FRAMES -o mine.safetensors --preset cpu_128

Every step draws clips, K frames of each to be embedded and one to be made, as the paper does; what
it draws depends on the seed, the step and the place in the batch alone. A run that was stopped goes
on bit by bit from NAME.checkpoint.safetensors beside the output (on one device and thread count).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from avatar3d.cli import run_script
from avatar3d.config import load_preset
from avatar3d.errors import UserError
from recon.benchmark.adversarial_2d.content import Content, ContentPaths, content_loss
from recon.benchmark.adversarial_2d.frames import FrameFile, Shown, together
from recon.benchmark.adversarial_2d.losses import (
    LossWeights,
    discriminator_hinge,
    embedding_match,
    feature_match,
    generator_hinge,
)
from recon.benchmark.adversarial_2d.networks import Networks, Sizes, person_columns
from recon.benchmark.adversarial_2d.weights import save_networks
from recon.prior.episodes import episode_files, person_of
from recon.prior.folds import clip_of, deal
from recon.training.checkpoint import load_checkpoint, save_checkpoint
from recon.training.device import Device, autocast, choose_device, device_name


@dataclass(frozen=True)
class TrainConfig:
    """How the networks are meta-learned; the values here are the paper's where it states them.

    configs/adversarial2d/*.yaml are the presets.
    """

    sizes: Sizes = field(default_factory=Sizes)
    weights: LossWeights = field(default_factory=LossWeights)
    steps: int = 1_000_000
    batch: int = 8  # episodes a step
    frames: int = 8  # K, of a clip to be embedded; the paper's
    fewer: bool = False  # draw K from 1 up to `frames` instead, in powers of two
    learning_rate: float = 5e-5  # Adam's, of embedder and generator
    discriminator_rate: float = 2e-4
    discriminator_steps: int = 2  # a step of the others
    momentum: float = 0.0  # Adam's first, of embedder and generator; the discriminator has none
    content_only: int = 0  # steps at the start without a discriminator: for short trainings
    decay_from: float = 1.0  # share of the steps after which both rates fall to a twentieth
    mirrored: float = 0.0  # share of the episodes that are shown in a mirror
    bfloat16: bool = False  # mixed precision, where the device knows it
    checkpoint_every: int = 250
    seed: int = 0


@dataclass
class Run:
    """All that changes while training; a checkpoint holds exactly this."""

    networks: Networks
    columns: nn.ParameterDict  # W, a row a clip
    makers: torch.optim.Adam  # of embedder and generator
    judge: torch.optim.Adam  # of the discriminator
    step: int = 0
    losses: list[list[float]] = field(default_factory=list)  # a row a step, as LOSSES


LOSSES = ("content", "adversarial", "features", "match", "discriminator")


def train(
    files: Sequence[Path],
    config: TrainConfig,
    content: Content,
    device: torch.device,
    checkpoint: Path | None = None,
    until: float = math.inf,
) -> Run:
    """Train on `files`; goes on from `checkpoint` where there is one. At the time `until`
    (time.time) it stops between two steps, to be gone on with."""
    clips = [FrameFile(path) for path in files]
    _check(files, clips, config)
    run = new_run(len(files), config, device)
    facts = {
        "config": asdict(config),
        "content": content.name,
        "clips": hashlib.sha256(json.dumps([clip_of(file) for file in files]).encode()).hexdigest(),
    }
    modules = {**run.networks.modules(), "columns": run.columns}
    optimizers = {"makers": run.makers, "judge": run.judge}
    if checkpoint is not None and checkpoint.exists():
        more = load_checkpoint(checkpoint, modules, optimizers, facts)
        run.losses = more["losses"].tolist()
        run.step = len(run.losses)

    def save() -> None:
        if checkpoint is not None:
            more = {"losses": torch.tensor(run.losses, dtype=torch.float64)}
            save_checkpoint(checkpoint, modules, optimizers, more, facts)

    people = by_person(files)
    content.to(device)
    started, begun = time.perf_counter(), run.step
    while run.step < config.steps and time.time() < until:
        support, target, rows = draw(people, clips, config, run.step)
        _set_rates(run, config)
        if config.content_only and run.step == config.content_only:
            begin_columns(run, clips)
        run.losses.append(
            learn(run, support.to(device), target.to(device), rows.to(device), content, config)
        )
        run.step += 1
        if run.step % 50 == 0:
            recent = np.mean(run.losses[-50:], 0)
            told = " ".join(f"{name} {value:.3f}" for name, value in zip(LOSSES, recent))
            rate = (time.perf_counter() - started) / (run.step - begun)
            print(f"{run.step} {told} {rate:.2f} s/step", flush=True)
        if run.step % config.checkpoint_every == 0:
            save()
    save()
    return run


def new_run(clips: int, config: TrainConfig, device: torch.device) -> Run:
    networks = Networks.new(config.sizes, config.seed).to(device)
    start = person_columns(clips, config.sizes, config.seed)
    columns = nn.ParameterDict({"W": nn.Parameter(start.to(device))})
    makers = [*networks.embedder.parameters(), *networks.generator.parameters()]
    judge = [*networks.discriminator.parameters(), *columns.parameters()]
    return Run(
        networks,
        columns,
        # No memory of the first moment, as GANs with spectral normalisation are trained (Miyato
        # et al. 2018; Zhang et al. 2019). With one episode a step the embedder needs some: it
        # learned nobody in hundreds of steps without.
        torch.optim.Adam(makers, lr=config.learning_rate, betas=(config.momentum, 0.999)),
        torch.optim.Adam(judge, lr=config.discriminator_rate, betas=(0.0, 0.999)),
    )


def learn(
    run: Run, support: Shown, target: Shown, rows: Tensor, content: Content, config: TrainConfig
) -> list[float]:
    """One step of the embedder and the generator, then the discriminator's."""
    networks, weights = run.networks, config.weights
    device, batch = target.pictures.device, len(rows)
    judging = run.step >= config.content_only
    with autocast(device, config.bfloat16):
        each = networks.embedder(support.pictures, support.drawings)
        embedding = each.unflatten(0, (batch, -1)).mean(1)
        coefficients = networks.generator.coefficients(embedding)
        made = networks.generator(target.drawings, coefficients)
        terms = [weights.content * content(made, target.pictures)]
        if judging:
            columns = run.columns["W"][rows]
            with frozen(networks.discriminator):
                score, features = networks.discriminator(made, target.drawings, columns.detach())
                with torch.no_grad():
                    _, goals = networks.discriminator(
                        target.pictures, target.drawings, columns.detach()
                    )
            terms += [
                weights.adversarial * generator_hinge(score),
                weights.features * feature_match(features, goals),
                weights.match * embedding_match(embedding, columns),
            ]
    torch.stack([term.float() for term in terms]).sum().backward()
    run.makers.step()
    run.makers.zero_grad()
    if not judging:
        return [float(terms[0].detach()), 0.0, 0.0, 0.0, 0.0]
    made = made.detach()
    judged = made.new_zeros(())
    for _ in range(config.discriminator_steps):
        with autocast(device, config.bfloat16):
            columns = run.columns["W"][rows]
            low, _ = networks.discriminator(made, target.drawings, columns)
            high, _ = networks.discriminator(target.pictures, target.drawings, columns)
            judged = discriminator_hinge(low, high)
        judged.backward()
        run.judge.step()
        run.judge.zero_grad()
    return [float(term.detach()) for term in [*terms, judged]]


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Gradients pass through the module and do not stay in it."""
    needed = [p for p in module.parameters() if p.requires_grad]
    for parameter in needed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in needed:
            parameter.requires_grad_(True)


def begin_columns(run: Run, clips: Sequence[FrameFile]) -> None:
    """W where the embedder already knows the clips: at its answers, which L_MCH wants W to be near,
    and w0 at their mean, negated."""
    networks, columns = run.networks, run.columns["W"]
    networks.embedder.eval()  # asked without a power iteration, so that nothing else changes
    with torch.no_grad():
        for row, clip in enumerate(clips):
            two = clip.read(np.array([0, clip.count - 1])).to(columns.device)
            columns[row] = networks.embedder(two.pictures, two.drawings).mean(0)
        networks.discriminator.w0.copy_(-columns.mean(0))
    networks.embedder.train()


def draw(
    people: list[list[int]], clips: list[FrameFile], config: TrainConfig, step: int
) -> tuple[Shown, Shown, Tensor]:
    """A batch of episodes: support frames [B*K], the frames that are asked for [B], the clips'
    rows of W [B]. Every person is as likely as another, however many clips show them."""
    first = np.random.default_rng((config.seed, step))
    count = config.frames
    if config.fewer:
        count = 2 ** int(first.integers(int(math.log2(config.frames)) + 1))
    support, targets, rows = [], [], []
    for place in range(config.batch):
        rng = np.random.default_rng((config.seed, step, place))
        own = people[rng.integers(len(people))]
        row = own[rng.integers(len(own))]
        chosen = rng.choice(clips[row].count, count + 1, replace=clips[row].count <= count)
        frames = clips[row].read(chosen)
        if rng.random() < config.mirrored:
            frames = Shown(*(planes.flip(3) for planes in frames))
        support.append(Shown(*(planes[1:] for planes in frames)))
        targets.append(Shown(*(planes[:1] for planes in frames)))
        rows.append(row)
    return together(support), together(targets), torch.tensor(rows)


def by_person(files: Sequence[Path]) -> list[list[int]]:
    """The rows of each person's clips."""
    people: dict[str, list[int]] = {}
    for row, file in enumerate(files):
        people.setdefault(person_of(file), []).append(row)
    return list(people.values())


def _set_rates(run: Run, config: TrainConfig) -> None:
    begin = config.decay_from * config.steps
    past = max(0.0, (run.step - begin) / max(1.0, config.steps - begin))
    fall = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * past))
    for optimizer, rate in (
        (run.makers, config.learning_rate),
        (run.judge, config.discriminator_rate),
    ):
        for group in optimizer.param_groups:
            group["lr"] = rate * fall


def _check(files: Sequence[Path], clips: list[FrameFile], config: TrainConfig) -> None:
    if not files:
        raise UserError("there must be frames to train on, got none; make some first")
    for file, clip in zip(files, clips):
        if clip.size_px != config.sizes.size_px:
            raise UserError(
                f"{file} must hold frames of {config.sizes.size_px} px, as the networks are made "
                f"for, got {clip.size_px}; make them with --size {config.sizes.size_px}"
            )


def main(
    frames: tyro.conf.Positional[Path],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    preset: str = "cpu_128",
    hold_out: tuple[str, ...] = (),
    fold: tuple[int, int] | None = None,
    device: Device = "auto",
    content: ContentPaths = ContentPaths(),  # noqa: B008
    steps: int | None = None,
    minutes: float | None = None,
) -> None:
    """Meta-learn the networks of adversarial2d.

    Args:
        frames: Folder that `python -m recon.benchmark.adversarial_2d.frames` filled.
        output: The networks' file.
        preset: A file of configs/adversarial2d: cpu_128 or gpu_256.
        hold_out: People who are left out.
        fold: Leave out fold K of N, dealt as the prior's folds are: 0 5.
        device: Where: cuda if there is one, else cpu.
        content: VGG19's and VGGFace's weights.
        steps: So many instead of the preset's.
        minutes: Stop after so long; the same call goes on. The networks are written all the same.
    """
    chosen = {} if steps is None else {"steps": steps}
    config = load_preset(TrainConfig, "adversarial2d", preset, chosen)
    files = episode_files(frames, hold_out)
    left_out: list[str] = []
    if fold is not None:
        fold_of = deal([person_of(file) for file in files], fold[1])
        left_out = sorted({clip_of(f) for f in files if fold_of[person_of(f)] == fold[0]})
        files = [file for file in files if fold_of[person_of(file)] != fold[0]]
    loss, where = content_loss(content), choose_device(device)
    until = math.inf if minutes is None else time.time() + 60 * minutes
    checkpoint = output.with_suffix(".checkpoint.safetensors")
    run = train(files, config, loss, where, checkpoint, until)
    facts = {
        "clips": len(files),
        "people": len(by_person(files)),
        "held_out": len(hold_out),
        "fold": fold,
        "left_out": left_out,
        "steps": run.step,
        "device": device_name(where),
        "content": loss.name,
        "config": asdict(config),
        "losses": dict(zip(LOSSES, np.mean(run.losses[-200:], 0).tolist())) if run.losses else {},
    }
    save_networks(run.networks, output, facts)
    print(f"wrote {output} after {run.step} of {config.steps} steps")


if __name__ == "__main__":
    run_script(main)
