"""Where tests find real pictures and clips, which the project does not carry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[2]


def data_folder() -> Path | None:
    """AVATAR3D_DATA, else shared/data beside the repository; None where neither exists."""
    folder = Path(os.environ.get("AVATAR3D_DATA", _REPOSITORY.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def data_file(relative: str) -> Path:
    """A file of the data, such as `clips/mt_wojtek.mp4`; skips the test where it is absent."""
    folder = data_folder()
    if folder is None:
        pytest.skip("real pictures and clips are not on this machine (set AVATAR3D_DATA)")
    if not (folder / relative).is_file():
        pytest.skip(f"the data on this machine lacks {relative}")
    return folder / relative
