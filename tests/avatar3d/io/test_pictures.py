"""PNG and EXR: round trips, OpenCV and Pillow as second opinions, damage."""

from __future__ import annotations

import io
import os
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avatar3d.errors import UserError
from avatar3d.io.exr import read_exr, write_exr
from avatar3d.io.png import png_bytes, read_png

os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")  # read when OpenCV is first imported


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (17, 40), (64, 3)])
def test_pillow_reads_our_png(channels: int, size: tuple[int, int]):
    picture = np.random.default_rng(0).integers(0, 256, (*size, channels)).astype(np.uint8)
    with Image.open(io.BytesIO(png_bytes(picture))) as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(picture.shape), picture)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_pngs_of_paint_programs_are_read(tmp_path: Path, mode: str):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / "a.png")
    expected = np.asarray(image.convert("RGB"), np.float32) / 255
    np.testing.assert_array_equal(read_png(tmp_path / "a.png", 3), expected)


@pytest.mark.parametrize("channels", [("Y",), ("R", "G", "B"), ("R", "G", "B", "A")])
@pytest.mark.parametrize("size", [(1, 1), (16, 5), (37, 21)])
def test_exr_keeps_every_bit(tmp_path: Path, channels: tuple[str, ...], size: tuple[int, int]):
    random = np.random.default_rng(0)
    picture = random.normal(size=(*size, len(channels))).astype(np.float32)
    write_exr(picture, channels, tmp_path / "a.exr")
    np.testing.assert_array_equal(read_exr(tmp_path / "a.exr", channels), picture)
    (first, *_) = channels
    np.testing.assert_array_equal(read_exr(tmp_path / "a.exr", (first,)), picture[..., :1])


def test_opencv_agrees_about_exr(tmp_path: Path):
    cv2 = pytest.importorskip("cv2")
    picture = np.random.default_rng(2).normal(size=(37, 21, 3)).astype(np.float32)
    write_exr(picture, ("B", "G", "R"), tmp_path / "a.exr")
    theirs = cv2.imread(str(tmp_path / "a.exr"), cv2.IMREAD_UNCHANGED)
    if theirs is None:
        pytest.skip("this OpenCV was imported without its EXR reader")
    np.testing.assert_array_equal(theirs, picture)
    for kind, compression, error in (
        (cv2.IMWRITE_EXR_TYPE_FLOAT, 0, 0.0),
        (cv2.IMWRITE_EXR_TYPE_FLOAT, 2, 0.0),
        (cv2.IMWRITE_EXR_TYPE_FLOAT, 3, 0.0),
        (cv2.IMWRITE_EXR_TYPE_HALF, 3, 2e-3),
    ):
        options = [cv2.IMWRITE_EXR_TYPE, kind, cv2.IMWRITE_EXR_COMPRESSION, compression]
        assert cv2.imwrite(str(tmp_path / "b.exr"), picture, options)
        read = read_exr(tmp_path / "b.exr", ("B", "G", "R"))
        np.testing.assert_allclose(read, picture, atol=error)
    cv2.imwrite(str(tmp_path / "b.exr"), picture, [cv2.IMWRITE_EXR_COMPRESSION, 4])  # PIZ
    with pytest.raises(UserError, match="save it with ZIP"):
        read_exr(tmp_path / "b.exr", ("B",))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: b"", "damaged or not an OpenEXR"),
        (lambda c: b"hello" + c, "damaged or not"),
        (lambda c: c[:4] + struct.pack("<I", 2 | 0x200) + c[8:], "has tiles"),
        (lambda c: c[:-1], "damaged or not"),
        (lambda c: c.replace(b"\0\0\0\0\x0f\0\0\0", b"\0\0\0\0\xff\xff\xff\x7f"), "expected 1 to"),
    ],
)
def test_what_is_wrong_with_an_exr_is_said(tmp_path: Path, damage, message: str):
    path = tmp_path / "a.exr"
    write_exr(np.random.default_rng(0).normal(size=(16, 16, 1)), ("Y",), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        read_exr(path, ("Y",))


def test_missing_channels_and_infinite_values_are_told(tmp_path: Path):
    path = tmp_path / "a.exr"
    write_exr(np.full((4, 4, 1), np.inf), ("Y",), path)
    with pytest.raises(UserError, match="NaN or infinite"):
        read_exr(path, ("Y",))
    with pytest.raises(UserError, match="lacks the channel 'R'; it has Y"):
        read_exr(path, ("R", "G", "B"))


@settings(max_examples=200)
@given(data=st.data())
def test_damage_never_crashes_the_exr_reader(tmp_path_factory: pytest.TempPathFactory, data):
    sound = tmp_path_factory.getbasetemp() / "sound.exr"
    if not sound.exists():
        picture = np.random.default_rng(0).normal(size=(20, 6, 2))
        picture[5:15] = 1.0  # so that some blocks compress
        write_exr(picture, ("R", "G"), sound)
    content = bytearray(sound.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        end = data.draw(st.sampled_from([320, len(content)]))
        position = data.draw(st.integers(0, max(0, min(end, len(content)) - 1)))
        if data.draw(st.booleans()):
            del content[position:]
        elif content:
            content[position] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "damaged.exr"
    path.write_bytes(bytes(content))
    with suppress(UserError):
        assert np.isfinite(read_exr(path, ("R",))).all()
