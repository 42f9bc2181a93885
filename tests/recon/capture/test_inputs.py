"""Sorting what the user names into photos or one video."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from avatar3d.errors import UserError
from recon.capture import collect_inputs, hash_inputs
from tests.recon.capture.synthetic import quadrants, write_video


def _photo(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(quadrants()).save(path)
    return path


def test_photos_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("10.png", "2.png", "b.JPG", "1.png"):
        _photo(folder / name)
    (folder / "notes.txt").write_text("hello")
    (folder / ".hidden.png").touch()
    single = _photo(tmp_path / "single.png")
    inputs = collect_inputs([single, folder, folder / "1.png"])
    assert inputs.video is None
    assert [path.name for path in inputs.photos] == [
        "single.png", "1.png", "2.png", "10.png", "b.JPG",
    ]  # fmt: skip
    assert inputs.files == inputs.photos


def test_kinds_are_told_by_content(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mkv", [quadrants()] * 3)
    nameless = video.rename(tmp_path / "clip")
    assert collect_inputs([nameless]).video == nameless
    photo = _photo(tmp_path / "picture.png").rename(tmp_path / "picture")
    assert collect_inputs([str(photo)]).photos == (photo,)


def test_bad_inputs(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", [quadrants()] * 3)
    other = write_video(tmp_path / "other.mp4", [quadrants()] * 3)
    photo = _photo(tmp_path / "picture.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    cases = [
        ([], "no input"),
        ([tmp_path / "absent.png"], "does not exist"),
        ([tmp_path / "empty"], "no pictures"),
        ([tmp_path / "notes.txt"], "neither a picture nor a video"),
        ([photo, video], "given together"),
        ([video, other], "2 videos"),
    ]
    for paths, sentence in cases:
        with pytest.raises(UserError, match=sentence):
            collect_inputs(paths)


def test_hashes(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"abc")
    assert hash_inputs([file]) == [("a.bin", hashlib.sha256(b"abc").hexdigest())]
