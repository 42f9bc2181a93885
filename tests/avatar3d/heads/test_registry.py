"""Heads by name and by path."""

from __future__ import annotations

import shutil
from pathlib import Path

import platformdirs
import pytest

from avatar3d.errors import UserError
from avatar3d.heads import load_head
from avatar3d.heads.registry import DEFAULT_HEAD, heads_folder, installed_heads


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVATAR3D_HEADS", str(tmp_path / "heads"))
    return tmp_path / "heads"


def test_the_default_head_is_always_there(folder: Path):
    assert heads_folder() == folder
    assert not folder.exists()
    assert installed_heads() == {"default": DEFAULT_HEAD}
    assert load_head().name == load_head("default").name == "default"


def test_a_head_is_read_once():
    assert load_head() is load_head("default")


def test_heads_in_the_folder_have_their_files_names(folder: Path):
    folder.mkdir()
    shutil.copy(DEFAULT_HEAD, folder / "mine.safetensors")
    (folder / "notes.txt").write_text("no head")
    assert installed_heads() == {"default": DEFAULT_HEAD, "mine": folder / "mine.safetensors"}
    assert load_head("mine").content_hash() == load_head("default").content_hash()


def test_a_head_by_the_path_of_its_file(tmp_path: Path):
    path = tmp_path / "copy.safetensors"
    shutil.copy(DEFAULT_HEAD, path)
    assert load_head(path).content_hash() == load_head(str(path)).content_hash()


def test_an_unknown_name_says_which_there_are(folder: Path):
    with pytest.raises(
        UserError, match=r"no head model named 'ict'.*found: default.*heads get ict"
    ):
        load_head("ict")


def test_without_the_variable_heads_live_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AVATAR3D_HEADS")
    assert heads_folder() == platformdirs.user_data_path("avatar3d") / "heads"
