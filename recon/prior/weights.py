"""A prior on disk: safetensors in half precision, with what it was made from in the metadata."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from recon.prior.linear import LinearPrior, read_linear
from recon.prior.prior import LearnedSteps, Prior, untrained

FORMAT = 2
_OLDEST = 1  # without an expression basis, and without knowing the frames' expressions
SHIPPED = ("clean", "research")
LINEAR = "linear"  # shipped too, for the benchmark
_STEPS = "steps."


def save_prior(prior: Prior, path: Path, facts: dict[str, Any]) -> None:
    """`facts` (data, people, settings, figures) go into the metadata as JSON."""
    tensors = dict(prior.network.state_dict())
    tensors |= {_STEPS + name: value for name, value in prior.steps._asdict().items()}
    metadata = {"format": str(FORMAT), "facts": json.dumps(facts, sort_keys=True)}
    with atomic_output(path) as beside:
        save_file(
            {name: value.detach().half().cpu().contiguous() for name, value in tensors.items()},
            str(beside),
            metadata,
        )


def read_prior(path: Path) -> Prior:
    """A prior file of the user's; `UserError` where it is none."""
    prior = untrained()
    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path} must be a prior's safetensors file, but cannot be read ({error}); "
            f"choose one of {', '.join(SHIPPED)} or another file"
        ) from error
    expected = {name: value.shape for name, value in prior.network.state_dict().items()}
    expected |= {_STEPS + name: value.shape for name, value in prior.steps._asdict().items()}
    if metadata.get("format") == str(_OLDEST):
        tensors = {name: _widened(value, expected.get(name)) for name, value in tensors.items()}
        metadata["format"] = str(FORMAT)
    if metadata.get("format") != str(FORMAT) or expected != {
        n: t.shape for n, t in tensors.items()
    }:
        raise UserError(
            f"{path} must hold a prior of format {FORMAT}, but its tensors are others "
            f"(format {metadata.get('format', 'unknown')}); train it again or update avatar3d"
        )
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise UserError(f"{path} must hold finite numbers, got others; train it again")
    steps = LearnedSteps(*(tensors.pop(_STEPS + name) for name in LearnedSteps._fields))
    prior.network.load_state_dict(tensors)
    prior.network.eval().requires_grad_(False)
    return Prior(prior.network, steps, path.stem)


def _widened(value: Tensor, shape: torch.Size | None) -> Tensor:
    """With zeros for the inputs and outputs that came later: they stand last, and say nothing."""
    if shape is None or len(shape) != value.ndim or any(a < b for a, b in zip(shape, value.shape)):
        return value
    wide = value.new_zeros(shape)
    wide[tuple(slice(size) for size in value.shape)] = value
    return wide


@lru_cache(maxsize=2)
def load_prior(name: str) -> Prior:
    """A shipped prior by its name, or one by the path of its file."""
    if name in SHIPPED:
        with resources.as_file(resources.files("recon.prior") / f"{name}.safetensors") as path:
            return read_prior(path)
    return read_prior(Path(name))


@lru_cache(maxsize=2)
def load_any(name: str) -> Prior | LinearPrior:
    """The same, or a linear one: the file says which it is."""
    if name == LINEAR:
        with resources.as_file(resources.files("recon.prior") / f"{name}.safetensors") as path:
            return read_linear(path)
    return read_linear(Path(name)) if _kind(name) == LINEAR else load_prior(name)


def _kind(name: str) -> str | None:
    """What a user's file says of itself; None where it is no file, which others say."""
    if not Path(name).is_file():
        return None
    try:
        with safe_open(name, "pt") as file:
            return (file.metadata() or {}).get("kind")
    except (OSError, SafetensorError):
        return None
