"""Heads by name: the embedded default, and the user's own copies of others."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from avatar3d.errors import UserError
from avatar3d.files import data_folder
from avatar3d.heads.ict import read_ict
from avatar3d.heads.model import HeadModel
from avatar3d.heads.storage import HeadFacts, read_facts, read_head

DEFAULT_HEAD = Path(__file__).with_name("default.safetensors")
SUFFIXES = (".npz", ".safetensors")


def heads_folder() -> Path:
    """Where the user's heads live: $AVATAR3D_HEADS, else `avatar3d/heads` in the user's data."""
    folder = os.environ.get("AVATAR3D_HEADS")
    return Path(folder) if folder else data_folder() / "heads"


def load_head(name_or_path: str | Path = "default") -> HeadModel:
    """A head by name (`default`, or one in the heads folder) or by the path of its file.

    Installed heads carry their hash, which is verified.
    """
    path = Path(name_or_path)
    if path.suffix not in SUFFIXES:
        path = _installed(str(name_or_path))
    return _read(path)


def head_facts(name: str) -> HeadFacts:
    """Source, licence and release of a head on this machine."""
    if name == "default":
        return HeadFacts("made by this project", "as avatar3d (Apache-2.0)")
    path = _installed(name)
    return read_facts(path) if path.suffix == ".safetensors" else HeadFacts()


@lru_cache(maxsize=4)
def _read(path: Path) -> HeadModel:
    return read_ict(path) if path.suffix == ".npz" else read_head(path)


def installed_heads() -> dict[str, Path]:
    """Names and files of the heads on this machine."""
    found = {"default": DEFAULT_HEAD}
    folder = heads_folder()
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.suffix in SUFFIXES and not path.name.startswith("."):
                found[path.stem] = path
    return found


def _installed(name: str) -> Path:
    heads = installed_heads()
    if name not in heads:
        hint = {
            "ict": "get it with: avatar3d heads get ict (or from a copy: heads add ict FOLDER)",
            "ict-light": "make it with: avatar3d heads add ict FOLDER --light",
            "flame": "add your own file with: avatar3d heads add flame FILE",
        }.get(name, f"add one with: avatar3d heads add FILE --name {name}")
        raise UserError(
            f"there is no head model named {name!r} on this machine; found: {', '.join(heads)}; {hint}"
        )
    return heads[name]
