"""The command `speak`: sound to video and motion, live, and every refusal in a sentence."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avatar3d import Motion
from avatar3d.animation import portrait_camera
from avatar3d.audio.driver import VoiceDriver
from avatar3d.audio.style import Style
from avatar3d.cli import main
from avatar3d.errors import UserError
from render.speak import perform_live, speak
from render.window import Window
from tests.avatar3d.audio.voices import babble, random_voice, write_sound
from tests.support.avatars import plain_avatar


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("avatar") / "me.avatar"
    plain_avatar().save(path)
    return path


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("voice") / "random.safetensors"
    random_voice().save(path)
    return str(path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "speech.wav"
    stereo = np.stack([babble(1.0, 1, 22_050), babble(1.0, 2, 22_050)], 1)
    return write_sound(path, stereo, 22_050, layout="stereo")


def test_a_sound_file_becomes_a_video_with_its_sound(
    avatar: Path, voice: str, sound: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    speak(avatar, output=output, audio=sound, voice=voice, size=32, fps=12.5)
    with av.open(str(output)) as video:
        heard = video.streams.audio[0]
        assert (heard.rate, heard.channels) == (22_050, 2)
        assert len([*video.decode(video=0)]) == 13
    with av.open(str(output)) as video:
        samples = sum(frame.samples for frame in video.decode(audio=0))
    assert abs(samples - 22_050) < 3000  # whole blocks of the encoder


def test_a_motion_is_what_the_driver_says(
    avatar: Path, voice: str, sound: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.npz"
    speak(avatar, output=output, audio=sound, voice=voice, fps=30, seed=2)
    motion = Motion.load(output)
    assert (len(motion), motion.frames_per_second, motion.audio_rate) == (30, 30, 16_000)
    assert motion.audio is not None
    driver = VoiceDriver(random_voice(), frames_per_second=30, seed=2)
    codes = [driver.push(motion.audio[:, 0].numpy()), driver.finish()]
    again = torch.cat([part.coefficients for part in codes])
    assert (motion.codes.coefficients - again).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "needs one voice"),
        (["--audio", "a.wav", "--text", "hi"], "needs one voice"),
        (["--live", "-o", "a.mp4"], "writes no file"),
        (["--audio", "absent.wav", "-o", "a.mp4"], "no file absent.wav"),
        (["--audio", "absent.wav"], "-o out.mp4"),
        (["--audio", "a.wav", "-o", "a.txt"], "ending in .mp4 or .npz or .csv"),
        (["--text", "hi", "-o", "a.mp4", "--voice", "nobody"], "no voice model 'nobody'"),
        (["--text", "hi", "-o", "a.mp4", "--strength", "7"], "--strength must be 0 to 3"),
        (["--text", "hi", "-o", "a.mp4", "--emotion-amount", "-1"], "--emotion-amount"),
        (["--text", "hi", "-o", "a.mp4", "--size", "1"], "--size must be"),
        (["--text", "hi", "-o", "a.mp4", "--fps", "0"], "--fps must be"),
    ],
)
def test_bad_use_is_a_sentence(
    options: list[str],
    said: str,
    avatar: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("avatar3d.cli.find_commands", lambda: {"speak": _Entry()})
    assert main(["speak", str(avatar), *options]) == 1
    captured = capsys.readouterr().err
    assert said in captured
    assert len(captured.strip().splitlines()) == 1
    assert not [*tmp_path.iterdir()]


class _Entry:
    """The entry point, so that the test needs no installation."""

    def load(self):
        return speak


def test_a_sound_without_samples_leaves_no_video(avatar: Path, voice: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    with wave.open(str(empty), "wb") as header:
        header.setparams((1, 2, 16_000, 0, "NONE", "NONE"))
    with pytest.raises(UserError, match="sound"):
        speak(avatar, output=tmp_path / "out.mp4", audio=empty, voice=voice, size=32)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.wav"]


def test_live_draws_the_newest_code_until_the_window_closes(avatar: Path) -> None:
    from avatar3d.asset import read_avatar

    loaded = read_avatar(avatar)
    shown: list[np.ndarray] = []

    def window(picture: np.ndarray) -> bool:
        shown.append(picture)
        return len(shown) < 5

    blocks = np.split(babble(2.0), 100)
    left = iter(blocks)
    driver = VoiceDriver(random_voice(), Style(), seed=0)
    perform_live(loaded, driver, portrait_camera(loaded, 32), left, window)
    assert len(shown) == 5
    assert [picture.shape for picture in shown] == [(32, 32, 3)] * 5
    assert next(left, None) is not None  # nothing is heard after the window has closed


@pytest.mark.parametrize("display", [None, ":987"])
def test_no_display_is_a_sentence(monkeypatch: pytest.MonkeyPatch, display: str | None) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if display is not None:
        monkeypatch.setenv("DISPLAY", display)  # nobody answers there
    with (
        pytest.raises(UserError, match="no window can be opened"),
        Window("avatar3d", "write a video"),
    ):
        pass
