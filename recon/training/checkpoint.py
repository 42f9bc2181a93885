"""All of a training's state as one safetensors file, so that it goes on bit by bit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from avatar3d.errors import UserError
from avatar3d.files import atomic_output


def save_checkpoint(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    more: Mapping[str, Tensor],
    facts: Mapping[str, Any],
) -> None:
    """Written whole or not at all; `facts` are what a run that goes on must agree with."""
    tensors = {f"more.{name}": value.detach() for name, value in more.items()}
    for called, module in modules.items():
        tensors |= {f"{called}.{name}": value for name, value in module.state_dict().items()}
    for called, optimizer in optimizers.items():
        for index, parameter in enumerate(_parameters(optimizer)):
            for name, value in optimizer.state[parameter].items():
                tensors[f"{called}.{index}.{name}"] = torch.as_tensor(value)
    whole = {name: value.cpu().contiguous().clone() for name, value in tensors.items()}
    with atomic_output(path) as beside:
        save_file(whole, str(beside), {"facts": json.dumps(facts, sort_keys=True)})


def load_checkpoint(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    facts: Mapping[str, Any],
) -> dict[str, Tensor]:
    """Put everything where it was; returns `more`."""
    try:
        with safe_open(str(path), "pt") as file:
            written = (file.metadata() or {}).get("facts")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path} must be a training's checkpoint, but cannot be read ({error}); remove it to "
            f"begin anew"
        ) from error
    if written != json.dumps(facts, sort_keys=True):
        raise UserError(
            f"{path} must be a checkpoint of these settings and frames, but was made with others; "
            f"give the same or remove it"
        )

    def group(prefix: str) -> dict[str, Tensor]:
        start = f"{prefix}."
        return {name[len(start) :]: v for name, v in tensors.items() if name.startswith(start)}

    for called, module in modules.items():
        module.load_state_dict(group(called))
    for called, optimizer in optimizers.items():
        for index, parameter in enumerate(_parameters(optimizer)):
            state = group(f"{called}.{index}")
            optimizer.state[parameter] = {
                name: value if name == "step" else value.to(parameter.device)
                for name, value in state.items()
            }
    return group("more")


def _parameters(optimizer: torch.optim.Optimizer) -> Sequence[Tensor]:
    return [p for entry in optimizer.param_groups for p in entry["params"]]
