"""Commands as a user runs them, through the front door and the installed entry points."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from avatar3d import Motion, cli, progress
from recon import making
from tests.recon.capture.synthetic import write_video
from tests.support.avatars import plain_avatar, write_portrait

SMALL = ("--config.fit-size-px", "96", "--config.fit.gaussian-count", "1000",
         "--config.fit.refine.iterations", "3")  # fmt: skip
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
def portrait(tmp_path: Path) -> Path:
    return write_portrait(tmp_path)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A second of the portrait sliding sideways, with a tone."""
    picture = astronaut()[:320, :384]
    images = [np.roll(picture, index, axis=1) for index in range(12)]
    tone = 0.1 * np.sin(np.arange(7680) / 10).astype(np.float32)
    return write_video(tmp_path / "clip.mp4", images, sound=tone)


@pytest.fixture
def avatar(tmp_path: Path) -> Path:
    path = tmp_path / "plain.avatar"
    plain_avatar(1500).save(path)
    return path


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_create_leaves_an_avatar_and_a_preview(run: Run, portrait: Path, tmp_path: Path):
    output = tmp_path / "me.avatar"
    status, out, err = run("create", portrait, "-o", output, "--preset", "draft", *SMALL,
                           "--consent", "for this test")  # fmt: skip
    assert (status, err) == (0, "")
    assert "wrote" in out
    assert "1,000 Gaussians" in out
    with Image.open(tmp_path / "me.preview.jpg") as preview:
        assert preview.width > 1000
    status, out, _ = run("inspect", output)
    assert status == 0
    for fact in ("default", "1,000", "astronaut.png", "for this test"):
        assert fact in out


def test_create_from_a_clip(run: Run, clip: Path, tmp_path: Path):
    status, out, err = run(
        "create", clip, "-o", tmp_path / "me.avatar", "--frames", "3", "--preset", "draft", *SMALL
    )
    assert (status, err) == (0, "")
    assert "from 3 pictures" in out


def test_track_writes_a_motion_with_sound(run: Run, clip: Path, tmp_path: Path):
    status, out, err = run("track", clip, "-o", tmp_path / "motion.npz")
    assert (status, err) == (0, "")
    assert "12 frames" in out
    motion = Motion.load(tmp_path / "motion.npz")
    assert len(motion) == 12
    assert motion.frames_per_second == 25
    assert motion.audio is not None
    assert run("track", clip, "-o", tmp_path / "motion.csv", "--fps", "50")[0] == 0
    assert len(Motion.load(tmp_path / "motion.csv")) == 24


def test_reenact_carries_the_sound_over(run: Run, clip: Path, avatar: Path, tmp_path: Path):
    import av

    output = tmp_path / "out.mp4"
    status, out, err = run(
        "reenact", avatar, "--driver", clip, "-o", output, "--size", "64", "--side-by-side"
    )
    assert (status, err) == (0, "")
    assert "frames/s" in out
    with av.open(str(output)) as video:
        assert (video.streams.video[0].width, video.streams.video[0].height) == (128, 64)
        assert video.streams.audio


def test_demo_leaves_everything(run: Run, tmp_path: Path):
    folder = tmp_path / "deep" / "demo"
    status, out, err = run("demo", "-o", folder, "--size", "32", "--preset", "draft", *SMALL)
    assert (status, err) == (0, "")
    assert _files(folder) == {"astronaut.avatar", "astronaut.preview.jpg", "astronaut.mp4"}
    assert "avatar3d render" in out


def test_benchmark_wants_clips(run: Run, tmp_path: Path):
    status, _, err = run("benchmark", "fewshot", "--data", tmp_path, "--quick")
    assert status == 1
    assert err.startswith("error: the folder")


def _noise(folder: Path) -> Path:
    Image.effect_noise((256, 256), 60).convert("RGB").save(folder / "noise.png")
    return folder / "noise.png"


def _empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def _text(folder: Path) -> Path:
    (folder / "notes.txt").write_text("hello")
    return folder / "notes.txt"


def _half_a_photo(folder: Path) -> Path:
    content = write_portrait(folder).read_bytes()
    (folder / "half.png").write_bytes(content[: len(content) // 2])
    return folder / "half.png"


def _half_a_video(folder: Path) -> Path:
    whole = write_video(folder / "whole.mp4", [astronaut()[:64, :64]] * 5)
    (folder / "half.mp4").write_bytes(whole.read_bytes()[:2000])
    return folder / "half.mp4"


def _tiny_face(folder: Path) -> Path:
    picture = Image.new("RGB", (512, 512), "grey")
    picture.paste(Image.fromarray(astronaut()).resize((128, 128)), (180, 180))
    picture.save(folder / "tiny.png")
    return folder / "tiny.png"


def _huge_picture(folder: Path) -> Path:
    """A PNG whose header says 20000 x 20000."""
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100)))):
        crc = zlib.crc32(name + data)
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)
    (folder / "huge.png").write_bytes(content)
    return folder / "huge.png"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_noise, "no face was found in noise.png"),
        (_empty_folder, "holds no pictures"),
        (_text, "neither a picture nor a video"),
        (_half_a_photo, "half.png is damaged"),
        (_half_a_video, "half.mp4"),
        (_tiny_face, "tiny.png"),
        (_huge_picture, "100 megapixels"),
        (lambda folder: folder / "absent.jpg", "does not exist"),
    ],
)
def test_create_says_what_is_wrong_with_its_input(
    run: Run, tmp_path: Path, make: Callable[[Path], Path], message: str
):
    given = make(tmp_path)
    before = _files(tmp_path)
    status, out, err = run("create", given, "-o", tmp_path / "me.avatar", *SMALL)
    _is_one_sentence(status, out, err, message)
    assert _files(tmp_path) == before


def _is_one_sentence(status: int, out: str, err: str, message: str) -> None:
    assert status == 1
    assert out == ""
    *notes, error = err.splitlines()
    assert all(note.startswith("note: ") for note in notes)
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create", "{portrait}", "-o", "{tmp}/nowhere/me.avatar"), "does not exist"),
        (("create", "{portrait}", "-o", "{tmp}/me.txt"), "expected a name ending in .avatar"),
        (("create", "{portrait}", "-o", "{tmp}"), "expected a name ending in .avatar"),
        (("create", "-o", "{tmp}/me.avatar"), "no input was given"),
        (("create", "{portrait}", "{clip}", "-o", "{tmp}/me.avatar"), "given together"),
        (("create", "{portrait}", "-o", "{tmp}/me.avatar", "--face", "3"), "face 3"),
        (("create", "{portrait}", "-o", "{tmp}/me.avatar", "--frames", "0"), "at least 1"),
        (("create", "{portrait}", "-o", "{tmp}/me.avatar", "--head", "none"), "no head model"),
        (("track", "{clip}", "-o", "{tmp}/motion.mp4"), ".npz or .csv"),
        (("track", "{tmp}/absent.mp4", "-o", "{tmp}/motion.npz"), "is not a file"),
        (("reenact", "{avatar}", "--driver", "{clip}", "-o", "{tmp}/out.png"), ".mp4"),
        (("reenact", "{portrait}", "--driver", "{clip}", "-o", "{tmp}/out.mp4"), "astronaut.png"),
        (("demo", "-o", "{portrait}"), "cannot make the folder"),
        (("demo", "-o", "{tmp}/demo", "--size", "0"), "--size must be 16"),
    ],
)  # fmt: skip
def test_bad_use_is_one_sentence(
    run: Run, portrait: Path, clip: Path, avatar: Path, tmp_path: Path,
    arguments: tuple[str, ...], message: str,
):  # fmt: skip
    before = _files(tmp_path)
    places = {"portrait": portrait, "clip": clip, "avatar": avatar, "tmp": tmp_path}
    status, out, err = run(*(argument.format(**places) for argument in arguments))
    _is_one_sentence(status, out, err, message)
    assert _files(tmp_path) == before


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    run: Run, portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(making, "create_avatar", lambda *_, **__: pytest.fail("worked first"))
    (tmp_path / "me.avatar").mkdir()
    status, _, err = run("create", portrait, "-o", tmp_path / "me.avatar")
    assert status == 1
    assert "it is a folder" in err


@pytest.mark.parametrize("stage", ["frames", "fit"])
def test_ctrl_c_leaves_nothing(
    run: Run, portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
):
    @contextmanager
    def bars():
        def watch(at: str, done: int, total: int) -> None:
            if at == stage:
                raise KeyboardInterrupt

        yield watch

    monkeypatch.setattr(making, "stage_bars", bars)
    before = _files(tmp_path)
    status, _, err = run("create", portrait, "-o", tmp_path / "me.avatar", *SMALL)
    assert status == 1
    assert err == "error: stopped by you; no half-written file was left\n"
    assert _files(tmp_path) == before
