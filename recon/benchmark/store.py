"""Finished rows on disk, so that a run that was stopped goes on where it stood.

A row counts as finished only under the very settings, code and clip that it was measured with: the
key in its name is a hash of all of them. Of the code, of what an avatar is made and judged with: a
commit to the viewer or to a page of the documentation leaves rows as they are.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d.files import atomic_output
from recon.benchmark.clip import PreparedClip
from recon.benchmark.report import Row, make_folder, without_nan
from recon.capture.inputs import hash_file

_CODE = (
    "avatar3d/*.py", "avatar3d/heads/*.py", "avatar3d/heads/*.safetensors", "avatar3d/animation/*.py",
    "render/*.py", "render/backends/**/*.py", "render/metrics/*.py", "recon/*.py",
    "recon/benchmark/*.py", "recon/capture/*.py", "recon/fit/*.py", "recon/track/*.py",
    "recon/track/*.safetensors", "recon/prior/*.py", "recon/prior/*.safetensors",
    "recon/benchmark/adversarial_2d/*.py", "recon/benchmark/adversarial_2d/*.safetensors",
)  # fmt: skip


@functools.cache
def code_digest() -> str:
    """A hash of all files that a row depends on."""
    root = Path(__file__).resolve().parents[2]
    files = sorted({path for pattern in _CODE for path in root.glob(pattern) if path.is_file()})
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(root).as_posix()} {hash_file(path)}\n".encode())
    return digest.hexdigest()[:16]


class RowStore:
    """Rows in a folder; without one nothing is kept."""

    def __init__(self, folder: Path | None, settings: dict[str, Any]) -> None:
        """`settings`: all that a row depends on beside clip, method and number of frames."""
        self._folder, self._settings = folder, settings
        if folder is not None:
            make_folder(folder)

    def load(self, name: str, about: dict[str, Any]) -> Row | None:
        """A finished row, or None."""
        file = self._file(name, about)
        if file is None or not file.exists():
            return None
        try:
            row = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None  # measured again
        return {key: math.nan if value is None else value for key, value in row.items()}

    def save(self, name: str, about: dict[str, Any], row: Row) -> None:
        file = self._file(name, about)
        if file is not None:
            with atomic_output(file) as beside:
                beside.write_text(json.dumps(without_nan(row), indent=1), encoding="utf-8")

    def load_features(self, name: str, about: dict[str, Any]) -> np.ndarray | None:
        """What `save_features` kept with a row."""
        file = self._file(name, about, ".npy")
        try:
            return None if file is None else np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None

    def save_features(self, name: str, about: dict[str, Any], features: np.ndarray | None) -> None:
        file = self._file(name, about, ".npy")
        if file is not None and features is not None:
            with atomic_output(file) as beside:
                np.save(beside, features)

    def _file(self, name: str, about: dict[str, Any], suffix: str = ".json") -> Path | None:
        return self._folder and self._folder / f"{name}-{self.digest(about)}{suffix}"

    def digest(self, about: dict[str, Any]) -> str:
        """What tells a row from others of its name."""
        key = json.dumps({**self._settings, **about}, sort_keys=True, default=str)
        return hashlib.sha256(key.encode()).hexdigest()[:16]


def fingerprint(clip: PreparedClip) -> str:
    """What tells a prepared clip from another."""
    digest = hashlib.sha256(clip.landmarks.tobytes())
    digest.update(repr((clip.support, clip.test)).encode())
    for index in sorted(clip.images):
        digest.update(clip.images[index][::16, ::16].tobytes())
    return digest.hexdigest()[:16]
