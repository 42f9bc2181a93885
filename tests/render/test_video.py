"""Videos are decoded again: size, rate, colour, sound; and a failure leaves nothing behind."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from avatar3d.errors import UserError
from render.video import Audio, VideoWriter


def decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pictures = [
            frame.to_ndarray(format="rgb24", src_colorspace="ITU709") for frame in
            container.decode(stream)
        ]  # fmt: skip
        return pictures, stream.average_rate, stream.codec_context


def write_all(path, pictures, fps=25):
    with VideoWriter(path, fps) as video:
        for picture in pictures:
            video.write(picture)


def flat_pictures(width, height):
    colors = [
        (255, 255, 255),
        (0, 0, 0),
        (200, 40, 40),
        (30, 180, 60),
        (40, 60, 200),
        (224, 172, 140),
    ]
    return [np.full((height, width, 3), color, np.uint8) for color in colors]


@pytest.mark.parametrize(("width", "height"), [(64, 48), (63, 49)])
@pytest.mark.parametrize("fps", [25, 29.97])
def test_pictures_come_back(tmp_path, width, height, fps):
    path = tmp_path / "out.mp4"
    pictures = flat_pictures(width, height)
    write_all(path, pictures, fps)
    decoded, rate, context = decode(path)
    assert len(decoded) == len(pictures)
    assert rate == (25 if fps == 25 else Fraction(2997, 100))
    assert context.pix_fmt == "yuv420p"
    assert (context.color_range, context.colorspace) == (1, 1)  # limited, bt709
    for picture, original in zip(decoded, pictures):
        assert picture.shape == (height + height % 2, width + width % 2, 3)
        # 8-bit limited range rounds by about 2 levels; CRF 18 leaves flat pictures alone.
        assert np.abs(picture.astype(int) - original[0, 0]).max() <= 5
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


def test_floats_and_tensors_are_written_too(tmp_path):
    path = tmp_path / "out.mp4"
    with VideoWriter(path, 10) as video:
        video.write(np.full((32, 32, 3), 0.5, np.float32))
        video.write(torch.full((32, 32, 3), 0.5))
    decoded, _, _ = decode(path)
    for picture in decoded:
        assert np.abs(picture.astype(int) - 128).max() <= 3


@pytest.mark.parametrize("channels", [1, 2])
def test_sound_is_there_in_step_with_the_pictures(tmp_path, channels):
    path, rate_hz = tmp_path / "out.mp4", 16000
    time_s = np.arange(3 * rate_hz) / rate_hz  # longer than the pictures
    tone = 0.5 * np.sin(2 * np.pi * 440 * time_s).astype(np.float32)
    samples = tone if channels == 1 else np.stack([tone, -tone], 1)
    with VideoWriter(path, 25, audio=Audio(samples, rate_hz)) as video:
        for index in range(50):
            video.write(np.full((32, 32, 3), index * 5, np.uint8))
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        assert (stream.codec_context.name, stream.rate) == ("aac", rate_hz)
        assert stream.channels == channels
        frames = [frame.to_ndarray() for frame in container.decode(stream)]
    decoded = np.concatenate(frames, axis=1)[0]
    assert decoded.size / rate_hz == pytest.approx(2.0, abs=0.15)  # whole AAC frames
    middle = decoded[rate_hz // 2 : rate_hz]
    peak_hz = np.abs(np.fft.rfft(middle)).argmax() * rate_hz / len(middle)
    assert peak_hz == pytest.approx(440, abs=4)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.1)


def test_an_exception_leaves_no_file(tmp_path):
    path = tmp_path / "out.mp4"

    def pictures():
        yield np.zeros((32, 32, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_all(path, pictures())
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_survives_an_exception(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"older")
    with pytest.raises(ValueError, match="one size"):
        write_all(path, [np.zeros((32, width, 3), np.uint8) for width in (32, 34)])
    assert path.read_bytes() == b"older"
    assert len(list(tmp_path.iterdir())) == 1


def test_bad_use_is_named(tmp_path):
    with pytest.raises(UserError, match="no frames"), VideoWriter(tmp_path / "out.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="folder"), VideoWriter(tmp_path / "no" / "out.mp4", 25):
        pass
    with pytest.raises(UserError, match="frame rate"):
        VideoWriter(tmp_path / "out.mp4", 0)
    with pytest.raises(ValueError, match="audio"):
        VideoWriter(tmp_path / "out.mp4", 25, audio=Audio(np.zeros((10, 3), np.float32), 16000))
    with pytest.raises(ValueError, match="frame is"), VideoWriter(tmp_path / "a.mp4", 25) as video:
        video.write(np.zeros((32, 32), np.uint8))
    with pytest.raises(RuntimeError, match="with"):
        VideoWriter(tmp_path / "out.mp4", 25).write(np.zeros((32, 32, 3), np.uint8))
