"""A new person from T frames (Zakharov et al. 2019, section 3.3).

Feed-forward: the embedder's answer drives the generator as it is. Fine-tuned: the generator's
weights and the person's affine coefficients, which begin at P e (eq. 8), learn the T frames against
a discriminator whose person vector begins at w' = w0 + e (eq. 9).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon.benchmark.adversarial_2d.content import Content
from recon.benchmark.adversarial_2d.frames import Shown
from recon.benchmark.adversarial_2d.losses import (
    LossWeights,
    discriminator_hinge,
    feature_match,
    generator_hinge,
)
from recon.benchmark.adversarial_2d.networks import Generator, Networks
from recon.benchmark.adversarial_2d.train import frozen
from recon.training.device import autocast


@dataclass(frozen=True)
class PersonalConfig:
    """How far the networks are fine-tuned."""

    epochs: int = 40  # over the T frames
    most_steps: int = 100  # whatever the epochs ask for: on a CPU they take half a minute
    batch: int = 2  # frames a step
    learning_rate: float = 5e-4  # Adam's; ten times that of the paper's meta-learning: few steps
    discriminator_rate: float = 2e-4
    weights: LossWeights = field(default_factory=lambda: LossWeights(match=0.0))  # eq. 10 has none
    bfloat16: bool = True  # mixed precision, where the device knows it
    seed: int = 0

    def steps(self, frames: int) -> int:
        """The number of steps for so many support frames."""
        return min(self.most_steps, -(-self.epochs * frames // min(self.batch, frames)))


@dataclass
class Person:
    """A generator and the coefficients that make it show one person."""

    generator: Generator
    coefficients: Float[Tensor, "1 A"]

    def picture(self, drawing: Float[Tensor, "1 3 S S"]) -> Float[np.ndarray, "S S 3"]:
        """The person in the pose of a landmark drawing, on white, 0..1."""
        with torch.no_grad():
            made = self.generator(drawing.to(self.coefficients.device), self.coefficients)
        return made[0].permute(1, 2, 0).cpu().numpy()


def embedded(networks: Networks, support: Shown) -> Float[Tensor, "1 N"]:
    """e of eq. 7: the mean over the T frames, so their number and order are free."""
    with torch.no_grad():
        return networks.embedder(support.pictures, support.drawings).mean(0, keepdim=True)


def feed_forward(networks: Networks, support: Shown) -> Person:
    """The person as the embedder understands the support frames."""
    with torch.no_grad():
        coefficients = networks.generator.coefficients(embedded(networks, support))
    return Person(networks.generator, coefficients)


def fine_tuned(
    networks: Networks, support: Shown, content: Content, config: PersonalConfig
) -> Person:
    """The person after adversarial training on the support frames; `networks` stay as they are."""
    embedding = embedded(networks, support)
    with torch.no_grad():
        own = nn.Parameter(networks.generator.coefficients(embedding))  # psi' of eq. 8
    generator = copy.deepcopy(networks.generator).train()
    generator.projection.requires_grad_(False)  # its work is done
    discriminator = copy.deepcopy(networks.discriminator).train()
    with torch.no_grad():
        discriminator.w0.add_(embedding[0])  # now w' of eq. 9; no column is added to it
    none = torch.zeros_like(embedding)

    learned = [p for p in generator.parameters() if p.requires_grad]
    maker = torch.optim.Adam([*learned, own], lr=config.learning_rate, betas=(0.0, 0.999))
    judge = torch.optim.Adam(
        discriminator.parameters(), lr=config.discriminator_rate, betas=(0.0, 0.999)
    )
    device, weights = embedding.device, config.weights
    for indices in batches(len(support.pictures), config):
        pictures, drawings = support.pictures[indices], support.drawings[indices]
        columns = none.expand(len(indices), -1)
        with autocast(device, config.bfloat16):
            made = generator(drawings, own.expand(len(indices), -1))
            with frozen(discriminator):
                score, features = discriminator(made, drawings, columns)
                with torch.no_grad():
                    _, goals = discriminator(pictures, drawings, columns)
            loss = (
                weights.content * content(made, pictures).float()
                + weights.adversarial * generator_hinge(score)
                + weights.features * feature_match(features, goals)
            )
        loss.backward()
        maker.step()
        maker.zero_grad()
        with autocast(device, config.bfloat16):
            low, _ = discriminator(made.detach(), drawings, columns)
            high, _ = discriminator(pictures, drawings, columns)
            judged = discriminator_hinge(low, high)
        judged.backward()
        judge.step()
        judge.zero_grad()
    return Person(generator.eval().requires_grad_(False), own.detach())


def batches(frames: int, config: PersonalConfig) -> list[Tensor]:
    """Which frames each step sees: every epoch shows each once, in an order of its own."""
    rng = np.random.default_rng(config.seed)
    size, steps = min(config.batch, frames), config.steps(frames)
    order: list[int] = []
    while len(order) < size * steps:
        order += rng.permutation(frames).tolist()
    return [torch.tensor(order[size * step : size * (step + 1)]) for step in range(steps)]
