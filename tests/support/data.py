"""Where tests find real pictures and clips, which the project does not carry."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[2]


def data_folder() -> Path | None:
    """AVATAR3D_DATA, else shared/data beside the repository; None where neither exists."""
    folder = Path(os.environ.get("AVATAR3D_DATA", _REPOSITORY.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def data_file(relative: str) -> Path:
    """A file of the data, such as `mesh/ict/LICENSE`; skips the test where it is absent."""
    folder = _folder_or_skip()
    if not (folder / relative).is_file():
        pytest.skip(f"the data on this machine lacks {relative}")
    return folder / relative


def data_file_by_hash(prefix: str) -> Path:
    """The picture or clip whose SHA-256 begins so; skips the test where it is absent.

    People are not named here: what a picture shows is said where it is used.
    """
    for digest, path in _hashes(_folder_or_skip()):
        if digest.startswith(prefix):
            return path
    pytest.skip(f"the data on this machine has no picture or clip with the SHA-256 {prefix}...")


def _folder_or_skip() -> Path:
    folder = data_folder()
    if folder is None:
        pytest.skip("real pictures and clips are not on this machine (set AVATAR3D_DATA)")
    return folder


@lru_cache(maxsize=2)
def _hashes(folder: Path) -> list[tuple[str, Path]]:
    files = [path for kind in ("clips", "photos") for path in sorted((folder / kind).glob("*"))]
    return [(hashlib.sha256(path.read_bytes()).hexdigest(), path) for path in files]
