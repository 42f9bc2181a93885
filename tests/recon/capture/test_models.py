"""Model files of newer MediaPipe releases: found, fetched once, or refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from avatar3d.errors import UserError
from recon.capture.models import FACE_LANDMARKER, SELFIE_SEGMENTER, download_model, locate_model

BYTES = b"a model" * 100


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A model on a `file:` server, with an empty cache and no environment."""
    monkeypatch.setenv("AVATAR3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(FACE_LANDMARKER.environment, raising=False)
    monkeypatch.delenv("AVATAR3D_DOWNLOAD", raising=False)
    file = tmp_path / "server.task"
    file.write_bytes(BYTES)
    return replace(
        FACE_LANDMARKER,
        url=file.as_uri(),
        size_bytes=len(BYTES),
        sha256=hashlib.sha256(BYTES).hexdigest(),
    )


def test_nothing_is_fetched_unasked(served) -> None:
    with pytest.raises(UserError, match=r"AVATAR3D_DOWNLOAD=1.*mediapipe==0\.10\.21"):
        locate_model(served)


def test_fetched_once_then_cached(served, tmp_path: Path) -> None:
    path = locate_model(served, allow_download=True)
    assert path.read_bytes() == BYTES
    (tmp_path / "server.task").unlink()
    assert locate_model(served) == path
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_another_file_is_refused_and_removed(served, tmp_path: Path) -> None:
    (tmp_path / "server.task").write_bytes(BYTES[:-1] + b"!")
    with pytest.raises(UserError, match="not the file this version knows"):
        locate_model(served, allow_download=True)
    assert list((tmp_path / "cache").iterdir()) == []


def test_damaged_cache_is_not_used(served) -> None:
    path = locate_model(served, allow_download=True)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="is needed"):
        locate_model(served)


def test_unreachable_server_and_unwritable_cache(served, tmp_path: Path) -> None:
    gone = replace(served, url=(tmp_path / "gone.task").as_uri())
    with pytest.raises(UserError, match="could not be fetched"):
        download_model(gone, tmp_path / "cache" / "x.task")
    (tmp_path / "blocked").touch()
    with pytest.raises(UserError, match="cannot be written"):
        download_model(served, tmp_path / "blocked" / "x.task")


def test_given_path_wins(served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine.task"
    mine.write_bytes(b"mine")
    assert locate_model(served, mine) == mine
    monkeypatch.setenv(served.environment, str(mine))
    assert locate_model(served) == mine
    with pytest.raises(UserError, match="does not exist"):
        locate_model(served, tmp_path / "absent.task")


@pytest.mark.parametrize("model", [FACE_LANDMARKER, SELFIE_SEGMENTER])
def test_published_files_are_pinned(model) -> None:
    assert model.url.startswith("https://storage.googleapis.com/mediapipe-models/")
    assert model.url.endswith(f"/1/{model.name}")
    assert len(model.sha256) == 64
