from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import pytest
import torch
from PIL import Image

from avatar3d import Motion, cli, progress
from avatar3d.animation import EXPRESSIONS, expression_code, expression_tour, idle, turntable
from tests.support.avatars import plain_avatar

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    # Kernels may have to be compiled, which takes long enough for lines of progress.
    monkeypatch.setattr(progress, "LINE_EVERY_S", float("inf"))

    def call(*arguments: object) -> tuple[int, str, str]:
        status = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def avatar(tmp_path: Path) -> Path:
    path = tmp_path / "plain.avatar"
    plain_avatar(1500).save(path)
    return path


def test_one_picture(run: Run, avatar: Path, tmp_path: Path):
    for name in ("me.png", "me.jpg"):
        status, out, err = run(
            "render", avatar, "-o", tmp_path / name, "--size", "80", "--yaw", "30",
            "--expression", "smile",
        )  # fmt: skip
        assert (status, err) == (0, "")
        assert "80x80" in out
        with Image.open(tmp_path / name) as picture:
            assert picture.size == (80, 80)
            assert picture.convert("L").getextrema()[0] < 200  # something stands before the white


def test_a_turntable_with_expressions(run: Run, avatar: Path, tmp_path: Path):
    status, out, err = run(
        "render", avatar, "-o", tmp_path / "me.mp4", "--size", "48", "--fps", "5"
    )
    assert (status, err) == (0, "")
    assert "frames/s" in out
    with av.open(str(tmp_path / "me.mp4")) as video:
        count = sum(1 for _ in video.decode(video=0))
    assert count == 5 * (5 + len(EXPRESSIONS) - 1)


def test_a_motion_brings_its_sound(run: Run, avatar: Path, tmp_path: Path):
    motion = Motion(idle(1.0, 10).codes, 10, audio=torch.zeros(16000, 1), audio_rate=16000)
    motion.save(tmp_path / "motion.npz")
    status, _, err = run(
        "render", avatar, "-o", tmp_path / "me.mp4", "--motion", tmp_path / "motion.npz",
        "--size", "48", "--fps", "20",
    )  # fmt: skip
    assert (status, err) == (0, "")
    with av.open(str(tmp_path / "me.mp4")) as video:
        assert video.streams.audio
        assert sum(1 for _ in video.decode(video=0)) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{avatar}", "-o", "{tmp}/me.gif"), "expected a name ending in .mp4 or .png"),
        (("{avatar}", "-o", "{tmp}/nowhere/me.mp4"), "does not exist"),
        (("{tmp}/absent.avatar", "-o", "{tmp}/me.mp4"), "no file"),
        (("{half}", "-o", "{tmp}/me.mp4"), "truncated"),
        (("{avatar}", "-o", "{tmp}/me.mp4", "--size", "5"), "--size must be 16 to 4096"),
        (("{avatar}", "-o", "{tmp}/me.png", "--expression", "frown"), "choose from neutral, smile"),
        (("{avatar}", "-o", "{tmp}/me.mp4", "--motion", "{avatar}"), "*.npz or *.csv"),
        (("{avatar}", "-o", "{tmp}/me.png", "--motion", "{avatar}"), "a motion makes a video"),
        (("{avatar}", "-o", "{tmp}/me.mp4", "--fps", "0"), "--fps must be 1 to 1000"),
    ],
)
def test_bad_use_is_one_sentence(
    run: Run, avatar: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
):
    half = tmp_path / "half.avatar"
    half.write_bytes(avatar.read_bytes()[:5000])
    before = sorted(tmp_path.iterdir())
    places = {"avatar": avatar, "tmp": tmp_path, "half": half}
    status, out, err = run("render", *(argument.format(**places) for argument in arguments))
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert message in err
    assert sorted(tmp_path.iterdir()) == before


def test_ctrl_c_while_rendering_leaves_nothing(
    run: Run, avatar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def stopped(pictures, label, total):
        yield next(iter(pictures))
        raise KeyboardInterrupt

    monkeypatch.setattr("avatar3d.progress.tracked", stopped)
    status, _, err = run("render", avatar, "-o", tmp_path / "me.mp4", "--size", "48")
    assert status == 1
    assert "stopped by you" in err
    assert [path.name for path in tmp_path.iterdir()] == ["plain.avatar"]


def test_a_bad_avatar_among_good_settings(run: Run, tmp_path: Path):
    (tmp_path / "x.avatar").write_bytes(b"\xff" * 64)
    status, _, err = run("inspect", tmp_path / "x.avatar")
    assert status == 1
    assert "claims a header" in err


def test_heads_are_listed_and_added(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from avatar3d.heads.registry import DEFAULT_HEAD

    monkeypatch.setenv("AVATAR3D_HEADS", str(tmp_path / "heads"))
    assert "default" in run("heads", "list")[1]
    status, out, _ = run("heads", "add", DEFAULT_HEAD, "--name", "mine")
    assert status == 0
    assert "--head mine" in out
    assert "mine" in run("heads", "list")[1]
    assert "already" in run("heads", "add", DEFAULT_HEAD, "--name", "mine")[2]
    assert "letters, digits" in run("heads", "add", DEFAULT_HEAD, "--name", "../x")[2]
    assert "needs the FILE" in run("heads", "add")[2]
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    assert "is not a head file" in run("heads", "add", tmp_path / "bad.safetensors")[2]
    assert [path.name for path in (tmp_path / "heads").iterdir()] == ["mine.safetensors"]


def test_expressions_and_motions_are_sound():
    for name in EXPRESSIONS:
        coefficients = expression_code(name).coefficients
        assert coefficients.min() >= 0
        assert coefficients.max() <= 1
    tour = expression_tour(25)
    assert len(tour) == 25 * (len(EXPRESSIONS) - 1)
    assert tour.codes.coefficients.diff(dim=0).abs().max() < 0.6  # nothing jumps, lids are fast
    assert (tour.codes.coefficients[0] == 0).all()
    assert idle(10).codes.coefficients[:, 0].max() > 0.9  # it blinks
    cameras = turntable(plain_avatar(60), 64, 8)
    behind = cameras[4].position()
    assert behind[2] < -0.5
