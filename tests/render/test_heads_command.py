"""`avatar3d heads`: what it prints, draws and refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatar3d.avatar import Avatar
from avatar3d.cli import main
from avatar3d.heads import load_head
from render.head_sheet import head_sheet
from tests.support.avatars import plain_avatar


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVATAR3D_HEADS", str(tmp_path / "heads"))
    return tmp_path / "heads"


def test_list_says_names_and_licences(capsys: pytest.CaptureFixture[str]):
    assert main(["heads", "list"]) == 0
    said = capsys.readouterr().out
    assert "default" in said
    assert "Apache-2.0" in said


def test_show_draws_all_shapes(tmp_path: Path):
    sheet = head_sheet(load_head("default"), ["jawOpen", "eyeBlinkLeft"], people=2)
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] > 500
    assert (sheet < 250).any(-1).mean() > 0.2
    assert main(["heads", "show", "default", "-o", str(tmp_path / "no" / "a.jpg")]) == 1
    assert main(["heads", "show", "default", "-o", str(tmp_path / "a.obj")]) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add"], "needs the FILE"),
        (["add", "ict"], "heads add ict needs the FILE"),
        (["add", "flame"], "heads add flame needs the FILE"),
        (["add", "smpl", "x.pkl"], "no kind of head 'smpl'"),
        (["add", "flame", "absent.pkl"], "there is no file absent.pkl"),
        (["add", "flame.pkl"], "there is no file"),
        (["get", "flame"], "cannot be downloaded for you"),
        (["get", "bfm"], "knows ict"),
        (["show", "ict"], "heads get ict"),
        (["move", "ict"], "needs a head, an avatar and -o"),
        (["move", "default", "absent.avatar", "-o", "x.avatar"], "absent.avatar"),
    ],
)
def test_bad_use_is_a_sentence(arguments: list[str], said: str, capsys, folder: Path):
    assert main(["heads", *arguments]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not folder.exists()


def test_move_writes_the_avatar_on_its_new_head(tmp_path: Path, capsys):
    """How it looks there is tested with `change_head`; here the way from file to file."""
    source, moved = tmp_path / "me.avatar", tmp_path / "moved.avatar"
    plain_avatar().save(source)
    assert main(["heads", "move", "default", str(source), "-o", str(moved)]) == 0
    assert "from the head default to default" in capsys.readouterr().out
    assert Avatar.load(moved).count == plain_avatar().count
    assert main(["heads", "move", "ict", str(source), "-o", str(tmp_path / "no.avatar")]) == 1
    assert not (tmp_path / "no.avatar").exists()


def test_get_asks_and_wants_somebody_to_agree(capsys, monkeypatch: pytest.MonkeyPatch):
    import http.server
    import threading

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x")

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/a.zip"
        assert main(["heads", "get", "ict", "--url", url]) == 1
        server.shutdown()
    said = capsys.readouterr()
    assert "licence: MIT" in said.out
    assert "add --yes" in said.err
