"""Model files as .npz whose members may be pickled objects: read as `pickles` reads them."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d.errors import UserError
from avatar3d.files import check_readable
from avatar3d.heads.pickles import parse_pickle

MAX_BYTES = 1 << 30


def read_npz_data(path: str | Path) -> dict[str, Any]:
    """Members by name: arrays, or the plain data of pickled ones. Runs no code."""
    check_readable(path, MAX_BYTES)
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > MAX_BYTES:
                raise UserError(f"{path} unpacks to {unpacked:,} bytes, more than are read here")
            return {
                member.filename.removesuffix(".npy"): read_npy(archive.read(member), path)
                for member in archive.infolist()
            }
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 (zipfile raises a dozen kinds for damaged archives)
        raise UserError(f"{path} is damaged or not an .npz file ({error})") from None


def read_npy(content: bytes, path: str | Path) -> Any:
    """One .npy member: an array of numbers or texts, or the data of a pickled object."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"unknown .npy version {version}")
    shape, fortran_order, dtype = read_header(stream)
    data = content[stream.tell() :]
    if dtype.kind == "O":
        return parse_pickle(data, path)
    if dtype.kind not in "biufUS" or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} and kind {dtype} does not fit its bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
