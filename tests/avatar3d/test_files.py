from __future__ import annotations

import os
from pathlib import Path

import pytest

from avatar3d.errors import UserError
from avatar3d.files import atomic_output, check_readable, check_writable, temporary_folder


def test_the_file_appears_only_when_complete(tmp_path: Path):
    target = tmp_path / "out.mp4"
    with atomic_output(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".mp4"
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]):
    target = tmp_path / "out.avatar"
    target.write_text("old")
    with pytest.raises(error), atomic_output(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.avatar"]


def test_a_link_stays_a_link(tmp_path: Path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.avatar"
    link.symlink_to(tmp_path / "there" / "me.avatar")
    with atomic_output(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert link.read_text() == "new"


def test_permissions_are_those_of_any_new_file(tmp_path: Path):
    (tmp_path / "plain").touch()
    with atomic_output(tmp_path / "ours") as temporary:
        temporary.touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_unwritable_outputs_are_refused_early(tmp_path: Path):
    with pytest.raises(UserError, match="does not exist; create it first"):
        check_writable(tmp_path / "no" / "out.avatar")
    with pytest.raises(UserError, match="is a folder"):
        check_writable(tmp_path)
    with pytest.raises(UserError, match="not a plain file"):
        check_writable("/dev/null")
    with pytest.raises(UserError, match=r"in /proc; choose another place"):
        check_writable("/proc/out.avatar")
    assert os.listdir(tmp_path) == []


def test_inputs_that_are_no_plain_files_are_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait forever
    (tmp_path / "big").write_bytes(b"12345")
    for path, message in [
        (tmp_path / "absent", "there is no file"),
        (tmp_path / "big" / "child", "there is no file"),
        ("a\0b", "cannot read"),
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "not a plain file"),
        ("/dev/zero", "not a plain file"),
    ]:
        with pytest.raises(UserError, match=message):
            check_readable(path)
    with pytest.raises(UserError, match="has 5 bytes, more than the 4"):
        check_readable(tmp_path / "big", max_bytes=4)
    assert check_readable(tmp_path / "big") == 5


def test_temporary_folders_vanish():
    with pytest.raises(KeyboardInterrupt), temporary_folder() as folder:
        (folder / "frame.png").touch()
        raise KeyboardInterrupt
    assert not folder.exists()
