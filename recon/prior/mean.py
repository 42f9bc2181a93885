"""The mean of priors' weights, where one went on from another:

    python -m recon.prior.mean OLD.safetensors NEW.safetensors -o MEAN.safetensors

What a few hundred steps on few people teach is partly those people. Between weights before and after
lie weights that keep what both know ("model soups", Wortsman et al. 2022); of two trainings that began
apart the mean is nothing.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from safetensors import safe_open

from avatar3d.cli import run_script
from avatar3d.errors import UserError
from recon.prior.prior import LearnedSteps, Prior
from recon.prior.weights import read_prior, save_prior


def mean_of(priors: Sequence[Prior]) -> Prior:
    """Each weight, and the logarithm of each step size, is the mean of the priors'."""
    states = [prior.network.state_dict() for prior in priors]
    network = copy.deepcopy(priors[0].network)
    network.load_state_dict(
        {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
    )
    steps = LearnedSteps(*(torch.stack(group).mean(0) for group in zip(*(p.steps for p in priors))))
    return replace(priors[0], network=network, steps=steps)


def _facts(path: Path) -> dict[str, Any]:
    with safe_open(str(path), "pt") as file:
        return json.loads((file.metadata() or {}).get("facts", "{}"))


def main(
    priors: tyro.conf.Positional[tuple[Path, ...]],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
) -> None:
    """Write the mean of priors.

    Args:
        priors: Two or more files, of which each went on from another.
        output: The mean's file.
    """
    if len(priors) < 2:
        raise UserError(f"a mean needs two priors or more, got {len(priors)}; name their files")
    save_prior(mean_of([read_prior(path) for path in priors]), output, {
        "mean_of": [_facts(path) for path in priors],
    })  # fmt: skip
    print(f"wrote {output}")


if __name__ == "__main__":
    run_script(main)
