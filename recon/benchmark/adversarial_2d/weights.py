"""The meta-learned networks on disk: safetensors in half precision, their sizes in the metadata."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar3d.errors import UserError
from avatar3d.files import atomic_output, check_readable
from recon.benchmark.adversarial_2d.networks import Networks, Sizes

KIND, FORMAT = "adversarial2d", 1
_MAX_BYTES = 1 << 30  # the paper's networks take 150 MB in half precision


def save_networks(networks: Networks, path: Path, facts: dict[str, Any]) -> None:
    """`facts` (data, people, steps, settings) go into the metadata as JSON. The columns of W stay
    out: they are the training people's, and personalisation needs none of them."""
    tensors = {name: value.half().cpu().contiguous() for name, value in _tensors(networks).items()}
    metadata = {
        "kind": KIND,
        "format": str(FORMAT),
        "sizes": json.dumps(asdict(networks.sizes), sort_keys=True),
        "facts": json.dumps(facts, sort_keys=True),
    }
    with atomic_output(path) as beside:
        save_file(tensors, str(beside), metadata)


def read_networks(path: Path) -> tuple[Networks, dict[str, Any]]:
    """A file of `save_networks` and its facts; `UserError` where it is none."""
    check_readable(path, _MAX_BYTES)
    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(
            f"{path} must be adversarial2d's safetensors file, but cannot be read ({error}); "
            f"train one with `python -m recon.benchmark.adversarial_2d.train`"
        ) from error
    if metadata.get("kind") != KIND or metadata.get("format") != str(FORMAT):
        raise UserError(
            f"{path} must hold adversarial2d's networks of format {FORMAT}, got kind "
            f"{metadata.get('kind', 'unknown')}, format {metadata.get('format', 'unknown')}; "
            f"train it again or update avatar3d"
        )
    sizes, facts = _described(path, metadata, tensors)
    with torch.device("meta"):  # only shapes: what the file claims costs no memory
        networks = Networks.new(sizes)
    expected = {name: value.shape for name, value in _tensors(networks).items()}
    if expected != {name: value.shape for name, value in tensors.items()}:
        raise UserError(
            f"{path} must hold the tensors of networks of {sizes}, but holds others; train it again"
        )
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise UserError(f"{path} must hold finite numbers, got others; train it again")
    for called, module in networks.modules().items():
        start = f"{called}."
        module.load_state_dict(
            {name[len(start) :]: v for name, v in tensors.items() if name.startswith(start)},
            assign=True,
        )
        module.eval()
    return networks, facts


def _described(
    path: Path, metadata: dict[str, str], tensors: dict[str, Tensor]
) -> tuple[Sizes, dict[str, Any]]:
    try:
        given, facts = json.loads(metadata["sizes"]), json.loads(metadata.get("facts", "{}"))
        sizes = Sizes(**given)
        whole = all(type(value) is int for value in given.values())
        # Each block has tensors of its own: a file that claims more than it holds is refused here.
        if not whole or sizes.residuals > len(tensors) or sizes.size_px > 4096:
            raise ValueError(str(given))
        if sizes.widest > 1 << 14 or sizes.narrowest > sizes.widest or not isinstance(facts, dict):
            raise ValueError(str(given))
        return sizes, facts
    except (KeyError, ValueError, TypeError, UserError) as error:
        raise UserError(
            f"{path} must say how large its networks are, but does not ({error}); train it again"
        ) from error


def _tensors(networks: Networks) -> dict[str, Tensor]:
    return {
        f"{called}.{name}": value
        for called, module in networks.modules().items()
        for name, value in module.state_dict().items()
    }
