"""OpenEXR, the part that UV sheets need: one flat picture in scanlines of floats.

Written with 32-bit floats under ZIP. Read with 16- or 32-bit floats, uncompressed or under ZIP or
ZIPS, as paint programs save by default; other kinds are refused with a sentence.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from avatar3d.errors import UserError
from avatar3d.files import atomic_output, check_readable

MAX_SIDE = 8192
_MAGIC = 20000630
_NONE, _ZIPS, _ZIP = 0, 2, 3
_ROWS = {_NONE: 1, _ZIPS: 1, _ZIP: 16}  # scanlines in a block
_HALF, _FLOAT = 1, 2
_PIXEL_TYPES = {_HALF: np.dtype("<f2"), _FLOAT: np.dtype("<f4")}
_MAX_BYTES = 1 << 30
_MAX_HEADER_BYTES = 1 << 16


def write_exr(picture: np.ndarray, channels: tuple[str, ...], path: Path) -> None:
    """float [H, W, C] with one name a channel ("R", "G", "B", "A", "Y")."""
    height, width, _ = picture.shape
    order = sorted(range(len(channels)), key=lambda i: channels[i])  # the format wants A B G R
    listed = b"".join(
        channels[i].encode() + b"\0" + struct.pack("<iB3xii", _FLOAT, 0, 1, 1) for i in order
    )
    window = struct.pack("<iiii", 0, 0, width - 1, height - 1)
    header = struct.pack("<II", _MAGIC, 2) + b"".join(
        [
            _attribute("channels", "chlist", listed + b"\0"),
            _attribute("compression", "compression", bytes([_ZIP])),
            _attribute("dataWindow", "box2i", window),
            _attribute("displayWindow", "box2i", window),
            _attribute("lineOrder", "lineOrder", b"\0"),
            _attribute("pixelAspectRatio", "float", struct.pack("<f", 1.0)),
            _attribute("screenWindowCenter", "v2f", struct.pack("<ff", 0.0, 0.0)),
            _attribute("screenWindowWidth", "float", struct.pack("<f", 1.0)),
            b"\0",
        ]
    )
    rows = np.ascontiguousarray(picture[:, :, order].transpose(0, 2, 1), "<f4")  # [H, C, W]
    blocks = []
    for top in range(0, height, _ROWS[_ZIP]):
        raw = rows[top : top + _ROWS[_ZIP]].tobytes()
        packed = zlib.compress(_shuffled(raw), 6)
        blocks.append((top, packed if len(packed) < len(raw) else raw))
    position, offsets = len(header) + 8 * len(blocks), []
    for _, content in blocks:
        offsets.append(position)
        position += 8 + len(content)
    with atomic_output(path) as temporary, open(temporary, "wb") as file:
        file.write(header + struct.pack(f"<{len(offsets)}Q", *offsets))
        for top, content in blocks:
            file.write(struct.pack("<iI", top, len(content)) + content)


def read_exr(path: Path, channels: tuple[str, ...]) -> np.ndarray:
    """The named channels, float32 [H, W, C]; `UserError` for what is damaged or of another kind."""
    check_readable(path, _MAX_BYTES)
    content = path.read_bytes()
    try:
        return _decode(content, channels, path)
    except (
        struct.error,
        zlib.error,
        IndexError,
        ValueError,
        KeyError,
        UnicodeDecodeError,
    ) as error:
        raise UserError(f"{path} is damaged or not an OpenEXR picture ({error})") from error


def _decode(content: bytes, channels: tuple[str, ...], path: Path) -> np.ndarray:
    magic, version = struct.unpack_from("<II", content)
    if magic != _MAGIC:
        raise ValueError("it does not begin as one")
    if version != 2:
        raise UserError(
            f"{path} has tiles, layers in parts or deep data; save it flat, in scanlines"
        )
    attributes, position = _attributes(content)
    compression = attributes["compression"][0]
    if compression not in _ROWS:
        raise UserError(f"{path} is compressed in a way that is not read; save it with ZIP")
    left, top, right, bottom = struct.unpack("<iiii", attributes["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UserError(f"{path} is {width}x{height}, expected 1 to {MAX_SIDE} a side")
    listed = _channels(attributes["channels"])
    missing = [name for name in channels if name not in listed]
    if missing:
        raise UserError(
            f"{path} lacks the channel {missing[0]!r}; it has {', '.join(listed) or 'none'}"
        )
    row_bytes = width * sum(dtype.itemsize for dtype in listed.values())
    rows = _ROWS[compression]
    count = -(-height // rows)
    offsets = struct.unpack_from(f"<{count}Q", content, position)
    result = np.zeros((height, width, len(channels)), np.float32)
    for number, offset in enumerate(offsets):
        line, size = struct.unpack_from("<iI", content, offset)
        here = min(rows, height - number * rows)
        if line != top + number * rows:
            raise ValueError("its rows are out of order")
        data = content[offset + 8 : offset + 8 + size]
        if size != here * row_bytes:  # a block that compression would enlarge is stored plain
            data = _unshuffled(zlib.decompressobj().decompress(data, here * row_bytes))
        if len(data) != here * row_bytes:
            raise ValueError("a block is cut off")
        block = np.frombuffer(data, np.uint8).reshape(here, row_bytes)
        begin = 0
        for name, dtype in listed.items():
            end = begin + width * dtype.itemsize
            if name in channels:
                plane = np.ascontiguousarray(block[:, begin:end]).view(dtype)
                result[number * rows : number * rows + here, :, channels.index(name)] = plane
            begin = end
    if not np.isfinite(result).all():
        raise UserError(f"{path} has NaN or infinite values")
    return result


def _attribute(name: str, kind: str, value: bytes) -> bytes:
    return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<I", len(value)) + value


def _attributes(content: bytes) -> tuple[dict[str, bytes], int]:
    attributes, position = {}, 8
    while content[position]:
        name_end = content.index(b"\0", position, _MAX_HEADER_BYTES)
        kind_end = content.index(b"\0", name_end + 1, _MAX_HEADER_BYTES)
        (size,) = struct.unpack_from("<I", content, kind_end + 1)
        begin = kind_end + 5
        if begin + size > min(len(content), _MAX_HEADER_BYTES):
            raise ValueError("its header is cut off")
        attributes[content[position:name_end].decode("ascii")] = content[begin : begin + size]
        position = begin + size
    return attributes, position + 1


def _channels(value: bytes) -> dict[str, np.dtype]:
    """Names and types in the file's order."""
    listed, position = {}, 0
    while value[position]:
        end = value.index(b"\0", position)
        kind, _, x_step, y_step = struct.unpack_from("<iB3xii", value, end + 1)
        if (x_step, y_step) != (1, 1):
            raise ValueError("its channels differ in size")
        listed[value[position:end].decode("ascii")] = _PIXEL_TYPES[kind]
        position = end + 17
    return listed


def _shuffled(data: bytes) -> bytes:
    """ZIP's preparation: even bytes, then odd ones, then differences to the byte before."""
    raw = np.frombuffer(data, np.uint8)
    parted = np.concatenate([raw[::2], raw[1::2]]).astype(np.int16)
    parted[1:] = parted[1:] - parted[:-1] + 128
    return parted.astype(np.uint8).tobytes()


def _unshuffled(data: bytes) -> bytes:
    parted = np.frombuffer(data, np.uint8).astype(np.int64)
    parted[1:] -= 128
    parted = np.cumsum(parted).astype(np.uint8)
    raw = np.empty(len(parted), np.uint8)
    half = (len(parted) + 1) // 2
    raw[::2], raw[1::2] = parted[:half], parted[half:]
    return raw.tobytes()
