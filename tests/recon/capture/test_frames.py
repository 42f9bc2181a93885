"""Photos: every kind of file becomes the same upright 8-bit picture, or one plain sentence."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from avatar3d.errors import UserError
from recon.capture import Frame, read_photo
from tests.recon.capture.synthetic import BLUE, GREEN, RED, WHITE, corners, quadrants

UPRIGHT = [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "gif"])
def test_formats_read_alike(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(quadrants()).save(path)
    frame = read_photo(path)
    assert frame.image.dtype == np.uint8
    assert frame.image.shape == (48, 64, 3)
    assert frame.alpha is None
    assert corners(frame.image) == UPRIGHT
    assert frame.name == path.name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }[orientation](quadrants())
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=95)
    frame = read_photo(path)
    assert frame.image.shape == (48, 64, 3)
    assert corners(frame.image) == UPRIGHT


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "P", "YCbCr", "PA"])
def test_colour_modes(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(quadrants())
    path = tmp_path / ("picture.tif" if mode in ("CMYK", "YCbCr") else "picture.png")
    if mode == "PA":
        image = image.convert("RGBA").convert("P")
    else:
        image = image.convert(mode)
    image.save(path)
    assert corners(read_photo(path).image) == UPRIGHT


@pytest.mark.parametrize("kind", ["L", "LA", "1", "16 bit", "float"])
def test_greys(tmp_path: Path, kind: str) -> None:
    ramp = np.tile(np.linspace(0, 1, 64), (8, 1))
    path = tmp_path / ("ramp.tif" if kind == "float" else "ramp.png")
    if kind == "16 bit":
        Image.fromarray((ramp * 65535).astype(np.uint16)).save(path)
    elif kind == "float":
        Image.fromarray(ramp.astype(np.float32)).save(path)
    else:
        Image.fromarray((ramp * 255).astype(np.uint8)).convert(kind).save(path)
    grey = read_photo(path).image
    assert grey.shape == (8, 64, 3)
    assert (grey[..., 0] == grey[..., 2]).all()
    if kind != "1":
        np.testing.assert_allclose(grey[0, :, 0], ramp[0] * 255, atol=1)


def test_alpha_is_kept_apart_from_colours(tmp_path: Path) -> None:
    rgba = np.dstack([quadrants(), np.full((48, 64), 255, np.uint8)])
    rgba[:, :16, 3] = 0
    rgba[:, 16:32, 3] = 128
    Image.fromarray(rgba).save(tmp_path / "cut.png")
    frame = read_photo(tmp_path / "cut.png")
    assert frame.alpha is not None
    np.testing.assert_allclose(frame.alpha[5, [0, 20, 40]], [0, 128 / 255, 1], atol=1e-6)
    assert tuple(frame.image[5, 0]) == RED
    flat = frame.flattened(grey=0)
    assert tuple(flat[5, 0]) == (0, 0, 0)
    assert tuple(flat[5, 40]) == GREEN


@pytest.mark.parametrize("value", [0, 255])
def test_alpha_that_hides_nothing_or_all_is_none(tmp_path: Path, value: int) -> None:
    rgba = np.dstack([quadrants(), np.full((48, 64), value, np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "plain.png")
    assert read_photo(tmp_path / "plain.png").alpha is None


def test_colour_profile_is_applied(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    image = Image.fromarray(quadrants())
    image.save(tmp_path / "tagged.png", icc_profile=srgb.tobytes())
    assert corners(read_photo(tmp_path / "tagged.png").image) == UPRIGHT
    converted = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    assert converted is not None
    converted.save(tmp_path / "lab.tif", icc_profile=lab.tobytes())
    assert corners(read_photo(tmp_path / "lab.tif").image) == UPRIGHT
    image.save(tmp_path / "broken.png", icc_profile=b"no profile at all")
    assert corners(read_photo(tmp_path / "broken.png").image) == UPRIGHT


def _png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return len(body).to_bytes(4, "big") + kind + body + checksum.to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    pixels = zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(10_001, 10_000), (14_000, 14_000), (60_000, 60_000)])
def test_too_large_is_refused_before_decoding(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(_png_claiming(*size))
    with pytest.raises(UserError, match="megapixels"):
        read_photo(path)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated_is_refused(tmp_path: Path, suffix: str, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG" if suffix == "jpg" else "PNG")
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * keep)])
    with pytest.raises(UserError, match="damaged"):
        read_photo(path)


def test_other_bad_files(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match="not a picture"):
        read_photo(tmp_path / "text.jpg")
    with pytest.raises(UserError, match="not a picture"):
        read_photo(tmp_path / "empty.png")
    with pytest.raises(UserError, match="does not exist"):
        read_photo(tmp_path / "absent.png")
    with pytest.raises(UserError, match="folder"):
        read_photo(tmp_path)


def test_names_of_frames() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    assert Frame(image, source="me.jpg").name == "me.jpg"
    assert Frame(image, time_s=1.25, source="clip.mp4", index=30).name == "clip.mp4 at 1.25 s"


@pytest.mark.parametrize("suffix", ["gif", "webp", "tiff"])
def test_of_several_pictures_the_first_is_taken_and_said(
    suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    red, blue = (Image.new("RGB", (40, 30), color) for color in ("red", "blue"))
    path = tmp_path / f"moving.{suffix}"
    red.save(path, save_all=True, append_images=[blue])
    frame = read_photo(path)
    assert frame.image[15, 20, 0] > 200
    assert frame.image[15, 20, 2] < 60
    assert f"moving.{suffix} holds 2 pictures; the first is taken" in caplog.text
