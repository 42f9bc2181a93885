"""10-bit and HDR clips look as they should on an ordinary screen."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from recon.capture import read_video
from recon.capture.hdr import HLG, PQ, encoded, hlg_light, pq_light, rolled_off

BT709, BT2020 = 1, 9
GREYS = np.linspace(0.05, 0.7, 8)  # of reference white, linear: below the knee


def _coded(transfer: int, light: np.ndarray) -> np.ndarray:
    """Code values that show as `light` reference whites: the tables of the reader, inverted."""
    codes = np.linspace(0, 1, 100_001)
    shown = pq_light(codes) if transfer == PQ else (1000 / 203) * hlg_light(codes) ** 1.2
    return np.interp(light, shown, codes)


def _write(path: Path, greys: np.ndarray, transfer: int, space: int) -> None:
    """Vertical bars of full-range code values in 10 bits."""
    pixels = np.repeat(greys, 16)[None].repeat(32, 0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16 * len(greys), 32, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.colorspace, context.color_range = transfer, space, 1
        context.color_primaries = BT709 if space == BT709 else 9
        frame = av.VideoFrame(stream.width, 32, "yuv420p10le")
        planes = (64 + pixels * 876, np.full((16, stream.width // 2), 512), None)
        for plane, values in zip(frame.planes, (planes[0], planes[1], planes[1])):
            rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
            rows[:, : plane.width] = np.round(values)
            plane.update(rows.tobytes())
        for _ in range(2):
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def _bars(path: Path) -> np.ndarray:
    image = next(read_video(path)).image
    assert image.dtype == np.uint8
    assert np.ptp(image.astype(int), axis=2).max() <= 3  # grey stays grey
    return image[16, 8::16, 1].astype(float)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_hdr_greys_are_what_a_screen_shows_of_them(tmp_path: Path, transfer: int) -> None:
    path = tmp_path / "hdr.mkv"
    _write(path, _coded(transfer, GREYS), transfer, BT2020)
    wanted = encoded(np.repeat(GREYS[:, None], 3, 1))[:, 1].astype(float)
    np.testing.assert_allclose(_bars(path), wanted, atol=3)


def test_ten_bits_without_hdr_are_as_stored(tmp_path: Path) -> None:
    path = tmp_path / "ten.mkv"
    greys = np.linspace(0, 1, 8)
    _write(path, greys, BT709, BT709)
    np.testing.assert_allclose(_bars(path), 255 * greys, atol=3)


def test_highlights_roll_off_and_keep_their_hue() -> None:
    bright = np.array([[2.0, 1.0, 0.5], [8.0, 4.0, 2.0], [0.5, 0.2, 0.1]])
    shown = rolled_off(bright)
    assert shown.max() <= 1
    assert shown[1, 0] >= shown[0, 0]
    np.testing.assert_allclose(shown[2], bright[2])
    np.testing.assert_allclose(shown / shown[:, :1], bright / bright[:, :1])
