"""Folders that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avatar3d.errors import UserError


def check_new_folder(path: Path) -> None:
    """Refuse a folder that cannot be made, or that holds something already."""
    parent = Path(os.path.realpath(path)).parent
    if not parent.is_dir():
        raise UserError(f"cannot write {path}: the folder {parent} does not exist; create it first")
    if path.is_dir():
        if any(path.iterdir()):
            raise UserError(f"cannot write {path}: the folder is not empty; name a new one")
    elif path.exists():
        raise UserError(f"cannot write {path}: it is a file; give the name of a new folder")
    if not os.access(parent, os.W_OK):
        raise UserError(f"cannot write {path}: no permission in {parent}; choose another place")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to it at the end; removed on errors and Ctrl-C."""
    check_new_folder(path)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        temporary.mkdir()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another place") from error
    try:
        yield temporary
        if target.is_dir():
            target.rmdir()  # empty, as was checked
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
