"""Clips: turned, stretched, unevenly timed, cut short, with and without sound."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avatar3d.errors import UserError
from recon.capture import read_audio, read_video, read_video_info, sample_indices
from tests.recon.capture.synthetic import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    corners,
    quadrants,
    turn_display,
    write_video,
)

UPRIGHT = [RED, GREEN, BLUE, WHITE]


def test_plain_clip(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", [quadrants()] * 10)
    frames = list(read_video(path))
    assert [frame.index for frame in frames] == list(range(10))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(10) / 25, atol=1e-3)
    assert corners(frames[3].image) == UPRIGHT
    info = read_video_info(path)
    assert (info.width, info.height, info.frame_count, info.has_audio) == (64, 48, 10, False)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_display_matrix_turns_frames(tmp_path: Path, turns: int) -> None:
    stored = np.ascontiguousarray(np.rot90(quadrants(), turns))
    path = write_video(tmp_path / "phone.mp4", [stored] * 3)
    turn_display(path, quarter_turns_clockwise=turns)
    frame = next(read_video(path))
    assert frame.image.shape == (48, 64, 3)
    assert corners(frame.image) == UPRIGHT


def test_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    times = [0, 40, 200, 240, 1000]
    path = write_video(tmp_path / "uneven.mkv", [quadrants()] * 5, times_ms=times)
    found = [frame.time_s for frame in read_video(path)]
    np.testing.assert_allclose(found, np.array(times) / 1000, atol=2e-3)


def test_pixels_become_square(tmp_path: Path) -> None:
    path = write_video(tmp_path / "wide.mkv", [quadrants()] * 2, aspect=Fraction(2, 1))
    assert next(read_video(path)).image.shape == (48, 128, 3)


def test_limits_and_choice(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", [quadrants()] * 12)
    assert [frame.index for frame in read_video(path, max_frames=4)] == [0, 1, 2, 3]
    assert [frame.index for frame in read_video(path, indices=[9, 2, 2, 5])] == [2, 5, 9]
    assert [frame.index for frame in read_video(path, indices=[50])] == []
    assert sample_indices(12, 3) == [0, 6, 11]
    assert sample_indices(2, 8) == [0, 1]
    assert sample_indices(0, 8) == []


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", [quadrants()] * 12)
    frames = read_video(path)
    path.unlink()
    with pytest.raises(UserError, match="not a file"):
        next(frames)


def test_cut_short_uses_what_decodes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (96, 96, 3), np.uint8) for _ in range(30)]
    path = write_video(tmp_path / "clip.mpg", images)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = list(read_video(path))
    assert 5 < len(frames) < 30

    # A transport that carries its index first also says how many frames are missing.
    indexed = write_video(tmp_path / "indexed.avi", images)
    indexed.write_bytes(indexed.read_bytes()[: indexed.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        frames = list(read_video(indexed))
    assert 5 < len(frames) < 30
    assert "breaks off" in caplog.text


def test_bad_clips(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(UserError, match="not a video"):
        next(read_video(tmp_path / "text.mp4"))
    with pytest.raises(UserError, match="not a file"):
        next(read_video(tmp_path / "absent.mp4"))
    whole = write_video(tmp_path / "whole.mp4", [quadrants()] * 5)
    whole.write_bytes(whole.read_bytes()[:600])  # the index of an MP4 stands at its end
    with pytest.raises(UserError, match="cut short"):
        next(read_video(whole))


def test_sound_without_picture(tmp_path: Path) -> None:
    import wave

    path = tmp_path / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.tile(np.array([16384, -8192], np.int16), 400).tobytes())
    with pytest.raises(UserError, match="no picture"):
        next(read_video(path))
    sound = read_audio(path)
    assert sound is not None
    samples, rate = sound
    assert rate == 8000
    assert samples.shape == (400, 2)
    np.testing.assert_allclose(samples[10], [0.5, -0.25], atol=1e-3)


def test_sound_of_a_clip(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000)
    path = write_video(tmp_path / "clip.mp4", [quadrants()] * 25, sound=tone)
    sound = read_audio(path)
    assert sound is not None
    samples, rate = sound
    assert rate == 16000
    assert samples.dtype == np.float32
    assert samples.shape[1] == 1
    assert abs(len(samples) - 16000) < 2100
    assert 0.3 < float(np.abs(samples).max()) < 0.7
    assert read_audio(write_video(tmp_path / "silent.mp4", [quadrants()])) is None
