"""8-bit PNG: written with zlib alone; read with Pillow, which knows what paint programs write."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from avatar3d.errors import UserError
from avatar3d.files import check_readable
from avatar3d.optional import require

MAX_SIDE = 8192
_MAX_BYTES = 1 << 29
_COLOR_TYPES = {1: 0, 3: 2, 4: 6}  # grey, RGB, RGBA
_UP = 2  # the filter "difference to the row above", which suits smooth pictures


def png_bytes(picture: np.ndarray) -> bytes:
    """uint8 [H, W, 1, 3 or 4], sRGB, as the content of a file."""
    height, width, channels = picture.shape
    rows = picture.reshape(height, -1)
    above = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.concatenate([np.full((height, 1), _UP, np.uint8), rows - above], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"sRGB", b"\0")
        + _chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6))
        + _chunk(b"IEND", b"")
    )


def read_png(path: Path, channels: int) -> np.ndarray:
    """A picture of 8 bits a channel as float32 [H, W, channels] in 0..1; channels are 1 or 3."""
    check_readable(path, _MAX_BYTES)
    image_module = require("PIL.Image", extra="recon")
    try:
        with image_module.open(path, formats=("PNG",)) as image:
            if max(image.size) > MAX_SIDE:
                raise UserError(
                    f"{path} is {image.width}x{image.height}, expected at most {MAX_SIDE}"
                )
            converted = image.convert("L" if channels == 1 else "RGB")
            picture = np.asarray(converted, np.float32) / 255
    except UserError:
        raise
    except Exception as error:  # Pillow raises a dozen kinds for damaged pictures
        raise UserError(f"{path} is damaged or not a PNG ({error})") from error
    return picture.reshape(*picture.shape[:2], channels)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content)) + kind + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )  # fmt: skip
