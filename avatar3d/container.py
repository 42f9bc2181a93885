"""The low level of `.avatar` files: named arrays and JSON in a safetensors file, distrusted.

Layout (docs/formats.md): 8 bytes little-endian header length, a JSON header, the arrays' bytes.
Everything in the header is checked here, before the library parses it and before anything of the
claimed size is allocated, so that a damaged or hostile file is refused with a sentence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from safetensors.numpy import load, save

from avatar3d.errors import UserError
from avatar3d.files import atomic_output, check_readable

# A full avatar has some thirty arrays and is a few megabytes: a hundred times that is still no file
# of ours, and small enough to refuse before it hurts.
MAX_HEADER_BYTES = 1 << 20
MAX_BYTES = 1 << 28
MAX_ARRAYS = 1024
MAX_DIMENSIONS = 8

METADATA_KEY = "avatar3d"  # one key, holding JSON: safetensors' own metadata are only strings
DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip


def read_container(
    path: str | Path,
    max_header_bytes: int = MAX_HEADER_BYTES,
    max_bytes: int = MAX_BYTES,
    metadata_key: str = METADATA_KEY,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by name and the metadata; `UserError` for anything but a sound file. Runs no code."""
    size = check_readable(path, max_bytes)
    with open(path, "rb") as file:
        prefix = file.read(8)
        header_bytes = int.from_bytes(prefix, "little")
        if len(prefix) < 8:
            _refuse(path, f"is truncated: expected at least 8 bytes, got {len(prefix)}")
        if header_bytes > max_header_bytes:
            _refuse(
                path,
                f"claims a header of {header_bytes:,} bytes, expected at most {max_header_bytes:,}",
            )
        if 8 + header_bytes > size:
            _refuse(
                path, f"is truncated: expected {8 + header_bytes:,} bytes of header, got {size:,}"
            )
        header_text = file.read(header_bytes)
        header = parse_json(header_text, path, "header")
        metadata_text = _check_header(header, size - 8 - header_bytes, path, metadata_key)
        metadata = parse_json(metadata_text, path, "metadata")
        data = file.read(size - 8 - header_bytes)
    try:
        arrays = load(prefix + header_text + data)
    except Exception as error:  # noqa: BLE001 (whatever a library says of a file is the file's fault)
        _refuse(path, f"cannot be read ({error})")
    for name, array in arrays.items():
        _check_values(name, array, path)
    return arrays, metadata


def write_container(
    path: str | Path, arrays: Mapping[str, Any], metadata: Mapping[str, Any]
) -> None:
    """Write arrays (NumPy, or torch on any device) and JSON metadata; same input, same bytes."""
    plain = {name: _as_numpy(array) for name, array in arrays.items()}
    for name, array in plain.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"array {name!r} has NaN or infinite values: refusing to write {path}")
    text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, sort_keys=True)
    content = save(plain, metadata={METADATA_KEY: text})
    with atomic_output(path) as temporary:
        temporary.write_bytes(content)


def parse_json(text: bytes | str, path: str | Path, what: str) -> dict[str, Any]:
    """A JSON object from an untrusted file: no duplicate keys, NaN, or nesting without end."""
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(
            decoded,
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
            parse_float=_finite_float,
        )
    except UnicodeDecodeError:
        _refuse(path, f"is not an avatar3d file: its {what} is not UTF-8 text")
    except RecursionError:
        _refuse(path, f"is damaged: its {what} is nested too deeply")
    except ValueError as error:
        _refuse(path, f"is damaged or not an avatar3d file: its {what} is not valid JSON ({error})")
    if not isinstance(value, dict):
        _refuse(path, f"is damaged: its {what} is not a JSON object")
    return value


def _check_header(
    header: dict[str, Any], data_bytes: int, path: str | Path, metadata_key: str
) -> str:
    """Check every entry against the bytes that are there; returns the metadata's JSON text."""
    metadata = header.pop("__metadata__", None)
    text = metadata.get(metadata_key) if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(text, str):
        _refuse(path, "was not written by avatar3d: it has no avatar3d metadata")
    if not all(isinstance(value, str) for value in metadata.values()):
        _refuse(path, "is damaged: its metadata are not texts")
    if len(header) > MAX_ARRAYS:
        _refuse(path, f"has {len(header):,} arrays, expected at most {MAX_ARRAYS:,}")
    spans = sorted(_check_entry(name, entry, data_bytes, path) for name, entry in header.items())
    position = 0
    for begin, end, name in spans:
        if begin != position:
            _refuse(path, f"is damaged: array {name!r} begins at {begin:,}, expected {position:,}")
        position = end
    if position != data_bytes:
        _refuse(path, f"is truncated or damaged: expected {position:,} bytes, got {data_bytes:,}")
    return text


def _check_entry(name: str, entry: Any, data_bytes: int, path: str | Path) -> tuple[int, int, str]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        _refuse(path, f"is damaged: array {name!r} is not described by dtype, shape, data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        _refuse(path, f"has array {name!r} of kind {dtype!r}, expected one of {', '.join(DTYPES)}")
    if not _is_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        _refuse(path, f"has array {name!r} with the impossible shape {shape!r}")
    if not _is_sizes(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= data_bytes:
        _refuse(
            path,
            f"is truncated or damaged: array {name!r} lies outside the file's {data_bytes:,} bytes",
        )
    begin, end = offsets
    expected = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
    if end - begin != expected:
        _refuse(path, f"has array {name!r} of {end - begin:,} bytes, its shape needs {expected:,}")
    return begin, end, name


def _check_values(name: str, array: np.ndarray, path: str | Path) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        _refuse(path, f"has NaN or infinite values in array {name!r}")
    if array.dtype == np.bool_ and (array.view(np.uint8) > 1).any():
        _refuse(path, f"has bytes other than 0 and 1 in array {name!r} of kind BOOL")


def _is_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 1 << 48 for v in value)


def _as_numpy(array: Any) -> np.ndarray:
    if hasattr(array, "detach"):  # torch, which this module need not import
        array = array.detach().cpu().numpy()
    return np.ascontiguousarray(array)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _refuse(path: str | Path, reason: str) -> NoReturn:
    """What is quoted from a hostile file may be as long as its header: show its beginning."""
    reason = reason if len(reason) < 400 else reason[:400] + "..."
    raise UserError(f"{path} {reason}")
