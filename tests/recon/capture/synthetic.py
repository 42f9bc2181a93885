"""Small pictures and clips whose content is known."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np

# Clockwise from the upper left. Far apart, so that lossy coding cannot confuse them.
RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (30, 30, 220), (240, 240, 240)


def quadrants(width: int = 64, height: int = 48) -> np.ndarray:
    """u8 [H, W, 3]: red, green / white, blue, so every turn and flip shows."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = RED
    image[: height // 2, width // 2 :] = GREEN
    image[height // 2 :, width // 2 :] = BLUE
    image[height // 2 :, : width // 2] = WHITE
    return image


def corners(image: np.ndarray) -> list[tuple[int, ...]]:
    """Colours well inside the quadrants, clockwise from the upper left, named by nearness."""
    height, width = image.shape[:2]
    named = (RED, GREEN, BLUE, WHITE)
    found = []
    for y, x in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.75), (0.75, 0.25)):
        colour = image[int(y * height), int(x * width)].astype(int)
        found.append(min(named, key=lambda name: np.abs(np.array(name) - colour).sum()))
    return found


def write_video(
    path: Path,
    images: list[np.ndarray],
    times_ms: list[int] | None = None,
    sound: np.ndarray | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """An MPEG-4 clip, at 25 frames/s or the given times; `sound` is f32 [N] at 16 kHz."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = images[0].shape[1], images[0].shape[0]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        stream.codec_context.time_base = Fraction(1, 1000)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        audio = (
            container.add_stream("aac", rate=16000, layout="mono") if sound is not None else None
        )
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = times_ms[index] if times_ms else index * 40
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio is not None and sound is not None:
            block = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), "fltp", "mono")
            block.sample_rate = 16000
            container.mux(audio.encode(block))
            container.mux(audio.encode())
    return path


def turn_display(path: Path, quarter_turns_clockwise: int) -> None:
    """Write a rotation into the track header of an MP4, as phones do (ISO/IEC 14496-12, 8.3.2)."""
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns_clockwise % 4]
    one = 1 << 16
    matrix = struct.pack(
        ">9i", cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30
    )
    data = bytearray(path.read_bytes())
    begin = data.index(b"tkhd") + 4 + 4 + 20 + 16  # box type, version 0 and flags, times, layers
    assert data[begin : begin + 36] == struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    data[begin : begin + 36] = matrix
    path.write_bytes(bytes(data))
