"""`.spz` (Niantic), version 3: some 20 bytes a Gaussian before gzip, in the project's own frame.

Header of 16 bytes, then column after column: positions (24-bit fixed point), opacities (8 bits),
colours (8 bits), logs of scales (8 bits, sixteenths), rotations (32 bits: the three smallest parts
of a quaternion at 10 bits), higher SH coefficients (8 bits). Version 2 is read too (rotations in
24 bits).
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from avatar3d.errors import UserError
from avatar3d.files import atomic_output, check_readable
from avatar3d.io.splats import SH_COUNTS, Splats, check_count, check_splats

_MAGIC = 0x5053474E
_HEADER = struct.Struct("<IIIBBBB")  # magic, version, count, SH degree, fraction bits, flags, 0
_COLOR_SCALE = 0.15  # of 255, a unit of the coefficient of degree 0
_MAX_FRACTION_BITS = 20  # a micrometre, and 8 metres to each side
_FIXED_LIMIT = (1 << 23) - 1
_MAX_BYTES = 1 << 30
_SQRT_HALF = np.float32(np.sqrt(0.5))


def write_spz(splats: Splats, path: Path) -> None:
    """Write, with as many fraction bits as the extent of the positions leaves."""
    fraction_bits = _fraction_bits(float(np.abs(splats.positions).max(initial=0.0)), path)
    count, coefficients = splats.sh.shape[:2]
    opacities = 1 / (1 + np.exp(-splats.opacity_logits.astype(np.float64)))
    body = [
        _HEADER.pack(_MAGIC, 3, count, SH_COUNTS.index(coefficients), fraction_bits, 0, 0),
        _pack_fixed(splats.positions, fraction_bits),
        # 255 would be read as an infinite logit.
        _byte(opacities * 255, 254),
        _byte((splats.sh[:, 0] * _COLOR_SCALE + 0.5) * 255),
        _byte((splats.log_scales + 10) * 16),
        _pack_rotations(splats.quaternions),
        _byte(splats.sh[:, 1:] * 128 + 128),
    ]
    packer = zlib.compressobj(9, wbits=31)  # gzip without a time stamp: same input, same bytes
    content = packer.compress(b"".join(body)) + packer.flush()
    with atomic_output(path) as temporary:
        temporary.write_bytes(content)


def read_spz(path: Path) -> Splats:
    """Read version 2 or 3; `UserError` for anything else."""
    check_readable(path, _MAX_BYTES)
    content = path.read_bytes()
    unpacker = zlib.decompressobj(wbits=31)
    try:
        header = unpacker.decompress(content, _HEADER.size)
        if len(header) < _HEADER.size:
            raise zlib.error("it ends in the header")
        magic, version, count, degree, fraction_bits, flags, _ = _HEADER.unpack(header)
        if magic != _MAGIC or version not in (2, 3):
            raise UserError(f"{path} is no .spz of version 2 or 3; got version {version}")
        check_count(count, path)
        if degree > 3 or fraction_bits > 23 or flags > 1:
            raise UserError(f"{path} is damaged: its header has impossible values")
        coefficients = SH_COUNTS[degree]
        widths = [9, 1, 3, 3, 4 if version == 3 else 3, 3 * (coefficients - 1)]
        # No more is unpacked than the header speaks of, so that no bomb goes off.
        body = unpacker.decompress(unpacker.unconsumed_tail, count * sum(widths))
    except zlib.error as error:
        raise UserError(f"{path} is damaged or not an .spz file ({error})") from error
    if len(body) != count * sum(widths):
        raise UserError(
            f"{path} is truncated: expected {count * sum(widths):,} bytes, got {len(body):,}"
        )
    data = np.frombuffer(body, np.uint8)
    ends = np.cumsum([count * width for width in widths])[:-1]
    positions, opacities, colors, scales, rotations, rest = (
        column.reshape(count, -1) for column in np.split(data, ends)
    )
    opacity = opacities[:, 0].astype(np.float32).clip(0.5, 254.5) / 255
    sh = np.concatenate(
        [
            ((colors.astype(np.float32) / 255 - 0.5) / _COLOR_SCALE)[:, None, :],
            (rest.astype(np.float32).reshape(count, -1, 3) - 128) / 128,
        ],
        axis=1,
    )
    unpack = _unpack_rotations if version == 3 else _unpack_rotations_2
    return check_splats(
        Splats(
            positions=_unpack_fixed(positions, fraction_bits),
            quaternions=unpack(rotations),
            log_scales=scales.astype(np.float32) / 16 - 10,
            opacity_logits=np.log(opacity / (1 - opacity)),
            sh=sh.astype(np.float32),
        ),
        path,
    )


def _fraction_bits(extent_m: float, path: Path) -> int:
    for bits in range(_MAX_FRACTION_BITS, -1, -1):
        if extent_m * (1 << bits) <= _FIXED_LIMIT:
            return bits
    raise UserError(
        f"cannot write {path}: a Gaussian lies {extent_m:g} m away, but .spz holds "
        f"{_FIXED_LIMIT:g} m; export it as ply instead"
    )


def _byte(values: np.ndarray, greatest: int = 255) -> bytes:
    return np.rint(values).clip(0, greatest).astype(np.uint8).tobytes()


def _pack_fixed(positions: np.ndarray, fraction_bits: int) -> bytes:
    """[N, 3] metres to three bytes a coordinate, low byte first, two's complement."""
    fixed = np.rint(positions.astype(np.float64) * (1 << fraction_bits)).astype("<i4")
    return fixed.view(np.uint8).reshape(-1, 3, 4)[..., :3].tobytes()


def _unpack_fixed(data: np.ndarray, fraction_bits: int) -> np.ndarray:
    wide = np.zeros((len(data), 3, 4), np.uint8)
    wide[..., 1:] = data.reshape(-1, 3, 3)  # shifted up by a byte, so that the sign is the sign
    return (wide.view("<i4")[..., 0] >> 8).astype(np.float32) / np.float32(1 << fraction_bits)


def _pack_rotations(quaternions: np.ndarray) -> bytes:
    """Smallest three of xyzw: 2 bits which is left out, then sign and 9 bits of each other."""
    xyzw = quaternions[:, [1, 2, 3, 0]].astype(np.float64)
    xyzw /= np.linalg.norm(xyzw, axis=-1, keepdims=True).clip(1e-12)
    largest = np.abs(xyzw).argmax(-1)
    xyzw *= np.where(np.take_along_axis(xyzw, largest[:, None], 1) < 0, -1.0, 1.0)
    packed = largest.astype(np.uint32)
    for axis in range(4):
        magnitude = np.rint(np.abs(xyzw[:, axis]) / _SQRT_HALF * 511).clip(0, 511)
        part = ((xyzw[:, axis] < 0).astype(np.uint32) << 9) | magnitude.astype(np.uint32)
        packed = np.where(largest == axis, packed, (packed << 10) | part).astype(np.uint32)
    return packed.astype("<u4").tobytes()


def _unpack_rotations(data: np.ndarray) -> np.ndarray:
    packed = np.ascontiguousarray(data).view("<u4")[:, 0].copy()
    largest = packed >> 30
    xyzw = np.zeros((len(packed), 4), np.float32)
    for axis in (3, 2, 1, 0):
        part = packed & 1023
        value = (part & 511).astype(np.float32) / 511 * _SQRT_HALF
        kept = largest != axis
        xyzw[:, axis] = np.where(kept, np.where(part >> 9, -value, value), 0)
        packed = np.where(kept, packed >> 10, packed)
    rest = np.sqrt((1 - (xyzw * xyzw).sum(-1)).clip(0))
    np.put_along_axis(xyzw, largest.astype(np.int64)[:, None], rest[:, None], 1)
    return xyzw[:, [3, 0, 1, 2]]


def _unpack_rotations_2(data: np.ndarray) -> np.ndarray:
    xyz = data.astype(np.float32) / 127.5 - 1
    w = np.sqrt((1 - (xyz * xyz).sum(-1, keepdims=True)).clip(0))
    return np.concatenate([w, xyz], axis=-1)
