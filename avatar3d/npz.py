"""Reading .npz archives of strangers: no pickles, no claimed size believed unchecked."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from avatar3d.errors import UserError
from avatar3d.files import check_readable


def read_npz(path: str | Path, max_bytes: int = 1 << 30) -> dict[str, np.ndarray]:
    """The arrays of numbers and texts in an .npz file of at most `max_bytes`, unpacked."""
    check_readable(path, max_bytes)
    try:
        with zipfile.ZipFile(path) as archive:
            # A few kilobytes can unpack to terabytes: look at the sum before unpacking anything.
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > max_bytes:
                raise UserError(
                    f"{path} unpacks to {unpacked:,} bytes, expected at most {max_bytes:,}"
                )
            return {
                member.filename.removesuffix(".npy"): _read_array(archive.read(member))
                for member in archive.infolist()
            }
    except UserError:
        raise
    except Exception as error:  # zipfile raises a dozen kinds for damaged archives
        raise UserError(f"{path} is damaged or not an .npz file ({error})") from error


def _read_array(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"unknown .npy version {version}")
    shape, fortran_order, dtype = read_header(stream)
    if dtype.kind not in "fiuU" or fortran_order:
        raise ValueError(f"unexpected kind of array: {dtype}")
    data = content[stream.tell() :]
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} does not fit its {len(data):,} bytes")
    return np.frombuffer(data, dtype).reshape(shape).copy()
