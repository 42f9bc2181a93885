"""Networks' weights from a user's file: safetensors, or torch's format read as tensors only."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from avatar3d.errors import UserError
from avatar3d.files import check_readable

_MAX_BYTES = 2 << 30


def read_weights(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a file by their names; `what` says in errors what was expected."""
    check_readable(path, _MAX_BYTES)
    try:
        if path.suffix == ".safetensors":
            return load_file(str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of protocols that it then refuses
            read = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, SafetensorError) as error:
        raise _unreadable(path, what) from error
    except pickle.UnpicklingError as error:  # anything but tensors
        raise _unreadable(path, what) from error
    if isinstance(read, dict) and isinstance(read.get("state_dict"), dict):
        read = read["state_dict"]
    if not isinstance(read, dict) or not all(isinstance(value, Tensor) for value in read.values()):
        raise _unreadable(path, what)
    return read


def fill(network: nn.Module, weights: dict[str, Tensor], path: Path, what: str) -> None:
    """Put the tensors that the network asks for into it; others in the file are left alone."""
    wanted = {
        name: value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")  # older files lack it, evaluation needs it not
    }
    for name, value in wanted.items():
        if name not in weights or weights[name].shape != value.shape:
            got = f"got {tuple(weights[name].shape)}" if name in weights else "it is not there"
            raise UserError(
                f"{path} must hold {what}, with {name} of shape {tuple(value.shape)}, but {got}; "
                f"give another file"
            )
        if not bool(torch.isfinite(weights[name]).all()):
            raise UserError(f"{path} must hold finite numbers, but {name} does not; get it anew")
    network.load_state_dict({name: weights[name].float() for name in wanted}, strict=False)
    network.eval().requires_grad_(False)


def _unreadable(path: Path, what: str) -> UserError:
    return UserError(
        f"{path} must hold {what} as safetensors or a torch file of tensors alone, but cannot be "
        f"read so; give another file"
    )
