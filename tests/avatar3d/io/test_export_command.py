"""`avatar3d export` and `avatar3d import` as a user calls them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.animation import idle
from avatar3d.asset import read_avatar
from avatar3d.cli import main
from avatar3d.io.formats import export_formats
from avatar3d.io.glb import GlbReader
from avatar3d.io.ply import read_ply, write_ply
from tests.support.avatars import plain_avatar


@pytest.fixture(scope="module")
def me(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("avatar") / "me.avatar"
    plain_avatar(900).save(path)
    idle(1.0).save(path.with_name("idle.npz"))
    return path


def _run(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


def test_the_formats_are_registered():
    assert set(export_formats()) == {"glb", "khr", "ply", "spz", "texture", "web"}


@pytest.mark.parametrize(
    ("name", "output", "options"),
    [
        ("glb", "a.glb", ("--texture-size", "256", "--motion", "idle.npz")),
        ("glb", "b.glb", ("--texture-size", "256", "--unlit", "--level", "300")),
        ("khr", "a.glb", ("--expression", "smile")),
        ("ply", "a.ply", ("--motion", "idle.npz", "--frame", "24")),
        ("spz", "a.spz", ()),
        ("texture", "sheets", ("--texture-size", "256", "--images", "exr")),
        ("web", "site", ()),
    ],
)
def test_each_format_is_written(
    me: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name, output, options
):
    given = [me.with_name(o) if o.endswith(".npz") else o for o in options]
    assert _run("export", me, "--to", name, "-o", tmp_path / output, *given) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"wrote {tmp_path / output} ({name}, ")
    assert [path.name for path in tmp_path.iterdir()] == [output]
    if name == "glb":
        document = GlbReader(tmp_path / output).document
        assert len(document["animations"]) == (2 if "--motion" in options else 1)
        assert ("extensionsUsed" in document) == ("--unlit" in options)
    if name == "web":
        assert (tmp_path / output / "index.html").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--to", "glb", "-o", "a.ply"), "wants a name ending in .glb, got '.ply'"),
        (("--to", "ply", "-o", "nowhere/a.ply"), "does not exist; create it first"),
        (("--to", "ply", "-o", "a.ply", "--unlit"), "--unlit means nothing to the format ply"),
        (("--to", "glb", "-o", "a.glb", "--expression", "smile"), "--expression means nothing"),
        (("--to", "glb", "-o", "a.glb", "--images", "exr"), "--images means nothing"),
        (("--to", "texture", "-o", "t", "--motion", "x.npz"), "--motion means nothing"),
        (("--to", "glb", "-o", "a.glb", "--texture-size", "1000"), "--texture-size is one of"),
        (("--to", "ply", "-o", "a.ply", "--frame", "2"), "give it with --motion"),
        (("--to", "ply", "-o", "a.ply", "--motion", "idle.npz"), "say which with --frame"),
        (("--to", "ply", "-o", "a.ply", "--motion", "idle.npz", "--frame", "25"), "0 to 24"),
        (("--to", "ply", "-o", "a.ply", "--motion", "idle.npz", "--frame", "1",
          "--expression", "smile"), "give one of them"),
        (("--to", "ply", "-o", "a.ply", "--expression", "smirk"), "no expression 'smirk'"),
        (("--to", "ply", "-o", "a.ply", "--level", "901"), "--level is 1 to 900"),
        (("--to", "texture", "-o", "full"), "the folder is not empty"),
        (("--to", "web", "-o", "file.txt"), "it is a file"),
    ],
)  # fmt: skip
def test_bad_use_is_told_and_leaves_nothing(
    me: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str], options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file.txt").touch()
    (tmp_path / "idle.npz").write_bytes(me.with_name("idle.npz").read_bytes())
    before = sorted(tmp_path.rglob("*"))
    assert _run("export", me, *options) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_an_edit_comes_back(me: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    still = tmp_path / "me.ply"
    assert _run("export", me, "--to", "ply", "-o", still, "--expression", "smile") == 0
    splats = read_ply(still)
    write_ply(splats._replace(opacity_logits=np.full_like(splats.opacity_logits, 3.0)), still)
    assert _run("import", still, "--onto", me, "--expression", "smile",
                "-o", tmp_path / "new.avatar") == 0  # fmt: skip
    assert "each of 900 Gaussians went back to its anchor" in capsys.readouterr().out
    before, after = read_avatar(me), read_avatar(tmp_path / "new.avatar")
    torch.testing.assert_close(after.attributes.opacity_logits, torch.full((900,), 3.0))
    torch.testing.assert_close(after.attributes.offsets, before.attributes.offsets,
                               atol=1e-5, rtol=2e-3)  # fmt: skip


def test_sheets_go_round(me: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sheets = tmp_path / "sheets"
    assert _run("export", me, "--to", "texture", "-o", sheets, "--texture-size", "256") == 0
    assert _run("import", sheets, "--onto", me, "-o", tmp_path / "new.avatar") == 0
    assert "no picture was edited" in capsys.readouterr().out
    before, after = read_avatar(me), read_avatar(tmp_path / "new.avatar")
    for old, new in zip(vars(before.attributes).values(), vars(after.attributes).values()):
        torch.testing.assert_close(new, old, atol=0, rtol=1e-3)  # a rotation is made unit again


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("me.ply", "-o", "new.avatar"), "say with --onto"),
        (("me.ply", "--onto", "ME", "-o", "new.ply"), "expected a name ending in .avatar"),
        (("me.txt", "--onto", "ME", "-o", "new.avatar"), "cannot be imported: expected .ply"),
        (("none.ply", "--onto", "ME", "-o", "new.avatar"), "there is no file none.ply"),
        (("me.ply", "--onto", "ME", "-o", "new.avatar", "--count", "5"), "--count is for"),
        (("me.ply", "--onto", "none.avatar", "-o", "new.avatar"), "there is no file none.avatar"),
        (("empty", "--onto", "ME", "-o", "new.avatar"), "there is no file empty/maps.json"),
    ],
)
def test_bad_imports_are_told(
    me: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str], options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me.txt").touch()
    (tmp_path / "empty").mkdir()
    assert _run("export", me, "--to", "ply", "-o", "me.ply") == 0
    given = [str(me) if option == "ME" else option for option in options]
    assert _run("import", *given) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "new.avatar").exists()
