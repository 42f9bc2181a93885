"""Many episodes in few files: file systems and object stores are slow at millions of small ones.

    python -m recon.prior.shards EPISODES -o SHARDS

A shard is a safetensors file whose tensors are named EPISODE/TENSOR; its metadata lists whom each
episode shows. Reading is lazy, so an episode of a shard costs what it would cost alone, and any can
be drawn in any order: training with shards draws the very episodes that it would without.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar3d.cli import run_script
from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from avatar3d.progress import progress

SHARD_ENDING = ".shard.safetensors"
_KIND = "avatar3d_episodes"  # the only key of the metadata: the order of several is not kept
_OPEN = 64  # shards that a process keeps open


def write_shards(
    files: Sequence[Path], folder: Path, megabytes: float = 512.0, seed: int = 0
) -> list[Path]:
    """Pack episode files, in random order so that every shard holds many people; returns the shards.

    Shards of the same episodes that lie in the folder already, of a call that was stopped, are left
    as they are; UserError where it holds others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = [files[i] for i in np.random.default_rng(seed).permutation(len(files))]
    parts = list(_parts(order, int(megabytes * 1e6)))
    names = [f"{n:05d}-of-{len(parts):05d}{SHARD_ENDING}" for n in range(len(parts))]
    planned = {folder / name: part for name, part in zip(names, parts)}
    for found in sorted(folder.glob("*" + SHARD_ENDING)):
        if found not in planned or sorted(_facts(found)) != sorted(f.name for f in planned[found]):
            raise UserError(
                f"{folder} must hold no shards of other episodes, but has {found.name}; choose "
                "another folder or empty this one"
            )
    with progress("shards", len(planned)) as step:
        for path, part in planned.items():
            if not path.exists():
                _write(part, path)
            step()
    return list(planned)


def members(shard: Path) -> list[Path]:
    """The episodes of a shard as paths within it, SHARD/EPISODE.safetensors."""
    return [shard / name for name in _facts(shard)]


def read_member(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of an episode that `members` named."""
    facts, shard = member_facts(path), path.parent
    file, prefix = _opened(shard), path.name + "/"
    keys = [key for key in _keys(shard) if key.startswith(prefix)]
    return facts, {key[len(prefix) :]: file.get_tensor(key) for key in keys}


def member_facts(path: Path) -> dict[str, str]:
    """Metadata of an episode that `members` named."""
    shard, name = path.parent, path.name
    facts = _facts(shard)
    if name not in facts:
        raise UserError(
            f"{shard} must hold the episode {name}, but does not; pack the shards again"
        )
    return facts[name]


def _parts(files: Sequence[Path], limit_bytes: int) -> Iterator[list[Path]]:
    part: list[Path] = []
    held = 0
    for file in files:
        size = file.stat().st_size
        if part and held + size > limit_bytes:
            yield part
            part, held = [], 0
        part.append(file)
        held += size
    if part:
        yield part


def _write(files: Sequence[Path], path: Path) -> None:
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Any] = {}
    for file in files:
        with safe_open(str(file), "pt") as episode:
            facts[file.name] = episode.metadata() or {}
            for key in episode.keys():  # noqa: SIM118
                tensors[f"{file.name}/{key}"] = episode.get_tensor(key)
    with atomic_output(path) as beside:
        save_file(tensors, str(beside), {_KIND: json.dumps(facts, sort_keys=True)})


@lru_cache(_OPEN)
def _opened(shard: Path) -> Any:
    try:
        return safe_open(str(shard), "pt")
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{shard} cannot be read as a shard of episodes ({error}); pack the shards again"
        ) from error


@lru_cache(_OPEN)
def _facts(shard: Path) -> dict[str, dict[str, str]]:
    metadata = _opened(shard).metadata() or {}
    if _KIND not in metadata:
        raise UserError(
            f"{shard} must be a shard of episodes, but its metadata names none; pack the episodes "
            "with `python -m recon.prior.shards`"
        )
    return json.loads(metadata[_KIND])


@lru_cache(_OPEN)
def _keys(shard: Path) -> tuple[str, ...]:
    return tuple(_opened(shard).keys())


def main(
    episodes: tyro.conf.Positional[Path],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    megabytes: float = 512.0,
    seed: int = 0,
) -> None:
    """Pack episodes into shards.

    Args:
        episodes: Folder that `python -m recon.prior.make_episodes` filled.
        output: Folder for the shards.
        megabytes: Size of a shard.
        seed: Of the order in which episodes are packed.
    """
    from recon.prior.episodes import episode_files

    files = [file for file in episode_files(episodes) if file.is_file()]
    shards = write_shards(files, output, megabytes, seed)
    print(f"wrote {len(files)} episodes to {len(shards)} shards in {output}")


if __name__ == "__main__":
    run_script(main)
