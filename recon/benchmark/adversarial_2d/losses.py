"""The losses of Zakharov et al. 2019 beside the content's: adversarial, feature and embedding match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class LossWeights:
    """Of the terms of eq. 3 and 4; the paper's."""

    content: float = 1.0  # the networks' own weights are in recon.benchmark.adversarial_2d.content
    adversarial: float = 1.0
    features: float = 10.0
    match: float = 10.0


def generator_hinge(score: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """-D of eq. 4: the made picture is to look real."""
    return -score.mean()


def discriminator_hinge(made: Float[Tensor, " B"], real: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """L_DSC of eq. 6: real ones above 1, made ones below -1."""
    return F.relu(1 + made).mean() + F.relu(1 - real).mean()


def feature_match(made: Sequence[Tensor], real: Sequence[Tensor]) -> Float[Tensor, ""]:
    """L_FM (Wang et al. 2018): L1 of the discriminator's features, meant over each block's
    places and channels, summed over the blocks; the real ones are the goal and get no gradient."""
    return torch.stack(
        [F.l1_loss(own.float(), goal.detach().float()) for own, goal in zip(made, real)]
    ).sum()


def embedding_match(
    embedding: Float[Tensor, "B N"], column: Float[Tensor, "B N"]
) -> Float[Tensor, ""]:
    """L_MCH: L1 of the embedder's answer from the discriminator's column of that person, meant
    over the N numbers. The column is the goal: what the discriminator knows of the person."""
    return F.l1_loss(embedding, column.detach())
