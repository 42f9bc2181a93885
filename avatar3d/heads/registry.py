"""Heads by name: the embedded default, and the user's own copies of others."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from avatar3d.errors import UserError
from avatar3d.heads.ict import read_ict
from avatar3d.heads.model import HeadModel
from avatar3d.heads.storage import read_head

DEFAULT_HEAD = Path(__file__).with_name("default.safetensors")


def heads_folder() -> Path:
    """Where the user's heads live: $AVATAR3D_HEADS, else ~/.local/share/avatar3d/heads."""
    folder = os.environ.get("AVATAR3D_HEADS")
    return Path(folder) if folder else Path.home() / ".local" / "share" / "avatar3d" / "heads"


def load_head(name_or_path: str | Path = "default") -> HeadModel:
    """A head by name (`default`, or one in the heads folder) or by the path of its file."""
    path = Path(name_or_path)
    if path.suffix not in (".npz", ".safetensors"):
        path = _installed(str(name_or_path))
    return _read(path)


@lru_cache(maxsize=4)
def _read(path: Path) -> HeadModel:
    return read_ict(path) if path.suffix == ".npz" else read_head(path)


def installed_heads() -> dict[str, Path]:
    """Names and files of the heads on this machine."""
    found = {"default": DEFAULT_HEAD}
    folder = heads_folder()
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.suffix in (".npz", ".safetensors"):
                found[path.stem] = path
    return found


def _installed(name: str) -> Path:
    heads = installed_heads()
    if name not in heads:
        raise UserError(
            f"there is no head model named {name!r} on this machine; found: {', '.join(heads)}; "
            f"add one with: avatar3d heads add FILE --name {name}"
        )
    return heads[name]
