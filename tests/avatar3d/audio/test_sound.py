"""Sound files of every kind become 16 kHz mono; what is wrong with one is said in a sentence."""

from __future__ import annotations

import logging
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest

from avatar3d.audio.features import RATE_HZ
from avatar3d.audio.sound import read_sound, read_sound_info
from avatar3d.errors import UserError
from tests.avatar3d.audio.voices import babble, write_sound


def _read(path: Path) -> np.ndarray:
    return np.concatenate([*read_sound(path)])[:, 0]


def _tone(seconds: float, rate_hz: int) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(
        "f4"
    )


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_rates_and_channels_all_give_the_same_tone(
    tmp_path: Path, rate_hz: int, layout: str
) -> None:
    tone = _tone(0.5, rate_hz)
    samples = tone[:, None] if layout == "mono" else np.stack([tone, tone], 1)
    path = write_sound(tmp_path / "tone.wav", samples, rate_hz, layout=layout)
    info = read_sound_info(path)
    assert (info.rate_hz, info.channels) == (rate_hz, samples.shape[1])
    got = _read(path)
    assert abs(len(got) - RATE_HZ // 2) <= 32
    inside = slice(400, 7000)  # a resampler rings at the ends
    spectrum = np.abs(np.fft.rfft(got[inside] * np.hanning(6600)))
    assert spectrum.argmax() * RATE_HZ / 6600 == pytest.approx(440, abs=3)
    assert np.abs(got[inside]).max() == pytest.approx(0.5, abs=0.02)


def test_stereo_is_averaged_and_can_be_kept(tmp_path: Path) -> None:
    tone = _tone(0.3, RATE_HZ)
    path = write_sound(
        tmp_path / "a.wav", np.stack([tone, np.zeros_like(tone)], 1), RATE_HZ, layout="stereo"
    )
    assert np.abs(_read(path)).max() == pytest.approx(0.25, abs=0.02)
    kept = np.concatenate([*read_sound(path, channels=2)])
    assert kept.shape[1] == 2
    assert np.abs(kept[:, 1]).max() < 1e-3


def test_float_files_may_hold_anything(tmp_path: Path) -> None:
    samples = babble(0.3)[:, None].copy()
    samples[100:120], samples[200], samples[300] = np.nan, np.inf, -7.0
    path = write_sound(tmp_path / "odd.wav", samples, RATE_HZ, "pcm_f32le")
    got = _read(path)
    assert np.isfinite(got).all()
    assert np.abs(got).max() <= 1


def test_silence_and_clipping_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    silent = write_sound(tmp_path / "silent.wav", np.zeros((8000, 1), "f4"), RATE_HZ)
    loud = np.clip(40 * babble(0.5)[:, None], -1, 1)
    clipped = write_sound(tmp_path / "clipped.wav", loud, RATE_HZ)
    fine = write_sound(tmp_path / "fine.wav", babble(0.5)[:, None], RATE_HZ)
    with caplog.at_level(logging.WARNING):
        _read(fine)
        assert not caplog.records
        _read(silent)
        _read(clipped)
    assert "silent.wav is silent" in caplog.text
    assert "clipped.wav is clipped" in caplog.text


def _refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        _read(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_is_no_sound_is_refused_in_a_sentence(tmp_path: Path) -> None:
    assert "no file" in _refusal(tmp_path / "absent.wav")
    assert "folder" in _refusal(tmp_path)
    for name, content in {
        "empty.wav": b"",
        "text.wav": b"these are words, not sound " * 50,
        "random.mp4": np.random.default_rng(0).bytes(5000),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert "give an intact" in _refusal(tmp_path / name)


def test_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mute.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 64
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "has no sound track" in _refusal(path)


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".flac", "flac"), (".mkv", "flac"), (".wav", "pcm_s16le")]
)
def test_a_file_that_breaks_off_gives_what_stands_before(
    tmp_path: Path, suffix: str, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = write_sound(tmp_path / f"whole{suffix}", babble(4.0)[:, None], RATE_HZ, codec)
    content = whole.read_bytes()
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(content[: len(content) // 2])
    with caplog.at_level(logging.ERROR):
        got = _read(broken)
    assert RATE_HZ < len(got) < 3 * RATE_HZ


def test_damaged_bytes_never_crash(tmp_path: Path) -> None:
    """Any byte may be wrong: samples, or a sentence."""
    content = bytearray(
        write_sound(tmp_path / "a.mkv", babble(0.5)[:, None], RATE_HZ, "flac").read_bytes()
    )
    rng = np.random.default_rng(1)
    for _ in range(25):
        damaged = bytearray(content)
        for position in rng.integers(0, len(damaged), 20):
            damaged[position] = rng.integers(0, 256)
        path = tmp_path / "damaged.mkv"
        path.write_bytes(bytes(damaged))
        try:
            got = _read(path)
        except UserError:
            continue
        assert np.isfinite(got).all()


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    def peak(seconds: int) -> int:
        path = tmp_path / f"{seconds}.wav"
        write_sound(path, np.zeros((seconds * 8000, 1), "f4") + 0.1, 8000)
        tracemalloc.start()
        heard = sum(len(block) for block in read_sound(path))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert abs(heard - seconds * RATE_HZ) < 100
        return top

    peak(1)  # what is imported and cached on the first call
    assert peak(120) < 1.5 * peak(20) + 100_000
