"""The GLB container: JSON and one binary chunk; accessors written, and read without trust."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d import __version__
from avatar3d.errors import UserError
from avatar3d.files import atomic_output, check_readable

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_COMPONENTS = {
    "float32": 5126, "uint32": 5125, "uint16": 5123, "int16": 5122, "uint8": 5121, "int8": 5120
}  # fmt: skip
_DTYPES = {code: np.dtype(name).newbyteorder("<") for name, code in _COMPONENTS.items()}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
ARRAY_BUFFER, ELEMENT_BUFFER = 34962, 34963
MAX_BYTES = 2 << 30
_MAX_JSON_BYTES = 1 << 26


class GlbWriter:
    """Collects arrays and images, then writes them with the JSON that refers to them by number."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._length = 0
        self._views: list[dict[str, int]] = []
        self._accessors: list[dict[str, Any]] = []

    def accessor(
        self,
        values: np.ndarray,
        target: int | None = None,
        bounds: bool = False,
        normalized: bool = False,
    ) -> int:
        """An array [N], [N, 2..4] or [N, 4, 4] (column-major); returns the accessor's number.

        target: ARRAY_BUFFER for vertex attributes, ELEMENT_BUFFER for indices.
        bounds: also state the least and greatest values, as positions and times must.
        """
        values = np.ascontiguousarray(values)
        flat = values.reshape(len(values), -1)
        kind = {width: name for name, width in _WIDTHS.items()}[flat.shape[1]]
        entry: dict[str, Any] = {
            "bufferView": self._view(values.astype(values.dtype.newbyteorder("<")), target),
            "componentType": _COMPONENTS[values.dtype.name],
            "count": len(values),
            "type": kind,
        }
        if normalized:
            entry["normalized"] = True
        if bounds:
            entry["min"], entry["max"] = flat.min(0).tolist(), flat.max(0).tolist()
        self._accessors.append(entry)
        return len(self._accessors) - 1

    def image(self, name: str, content: bytes, mime_type: str) -> dict[str, Any]:
        """The JSON of an image that lies in the file."""
        view = self._view(np.frombuffer(content, np.uint8), None)
        return {"name": name, "bufferView": view, "mimeType": mime_type}

    def write(self, document: dict[str, Any], path: Path) -> None:
        """`document` without buffers, views and accessors, which are added here."""
        document = {
            "asset": {"version": "2.0", "generator": f"avatar3d {__version__}"},
            **document,
            "buffers": [{"byteLength": self._length}],
            "bufferViews": self._views,
            "accessors": self._accessors,
        }
        text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + self._length
        with atomic_output(path) as temporary, open(temporary, "wb") as file:
            file.write(struct.pack("<III", _MAGIC, 2, total))
            file.write(struct.pack("<II", len(text), _JSON) + text)
            file.write(struct.pack("<II", self._length, _BIN))
            file.writelines(self._chunks)

    def _view(self, values: np.ndarray, target: int | None) -> int:
        content = values.tobytes()
        view = {"buffer": 0, "byteOffset": self._length, "byteLength": len(content)}
        if target is not None:
            view["target"] = target
        padding = -len(content) % 4
        self._chunks.append(content + bytes(padding))
        self._length += len(content) + padding
        self._views.append(view)
        return len(self._views) - 1


class GlbReader:
    """A GLB file's JSON and arrays; every number in it is checked before it is used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        size = check_readable(path, MAX_BYTES)
        with open(path, "rb") as file:
            start = file.read(20)
            if len(start) < 20 or struct.unpack("<I", start[:4])[0] != _MAGIC:
                raise UserError(f"{path} is not a .glb file")
            _, version, _, json_bytes, kind = struct.unpack("<IIIII", start)
            if version != 2 or kind != _JSON or json_bytes > min(_MAX_JSON_BYTES, size - 20):
                raise self._damage("its first chunk is not the JSON of glTF 2.0")
            self.document = self._parse(file.read(json_bytes))
            chunk = file.read(8)
            self._binary = b""
            if len(chunk) == 8:
                length, kind = struct.unpack("<II", chunk)
                if kind != _BIN or length > size - 28 - json_bytes:
                    raise self._damage("its binary chunk is cut off")
                self._binary = file.read(length)

    def list(self, name: str) -> list[dict[str, Any]]:
        """A top-level list of objects, empty when absent."""
        values = self.document.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self._damage(f"its {name} are no list of objects")
        return values

    def accessor(self, number: Any, kinds: tuple[str, ...] = tuple(_WIDTHS)) -> np.ndarray:
        """The values [N, width] of an accessor; normalized integers as floats."""
        entry = self._entry("accessors", number)
        kind, component = entry.get("type"), entry.get("componentType")
        if kind not in kinds or component not in _DTYPES:
            raise self._damage(f"accessor {number} is {kind!r}, expected {' or '.join(kinds)}")
        if "sparse" in entry or "bufferView" not in entry:
            raise UserError(
                f"{self.path} has sparse accessors, which are not read; save them dense"
            )
        view = self._entry("bufferViews", entry["bufferView"])
        dtype, width = _DTYPES[component], _WIDTHS[kind]
        count = self._integer(entry.get("count"), "count")
        begin = self._integer(view.get("byteOffset", 0), "byteOffset")
        begin += self._integer(entry.get("byteOffset", 0), "byteOffset")
        stride = self._integer(view.get("byteStride", dtype.itemsize * width), "byteStride")
        length = (count - 1) * stride + dtype.itemsize * width if count else 0
        if view.get("buffer") != 0 or stride < dtype.itemsize * width:
            raise self._damage(f"accessor {number} has no sound buffer")
        if begin + length > len(self._binary):
            raise self._damage(f"accessor {number} reaches beyond the file's end")
        values = np.ndarray(
            (count, width), dtype, self._binary, begin, (stride, dtype.itemsize)
        ).copy()
        if entry.get("normalized") is True and dtype.kind in "iu":
            return (values / np.float32(np.iinfo(dtype).max)).clip(-1).astype(np.float32)
        return values

    def _entry(self, name: str, number: Any) -> dict[str, Any]:
        entries = self.list(name)
        if type(number) is not int or not 0 <= number < len(entries):
            raise self._damage(f"it refers to number {number!r} of its {len(entries)} {name}")
        return entries[number]

    def _integer(self, value: Any, what: str) -> int:
        if type(value) is not int or not 0 <= value <= MAX_BYTES:
            raise self._damage(f"it has the {what} {value!r}")
        return value

    def _parse(self, text: bytes) -> dict[str, Any]:
        try:
            document = json.loads(text.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise self._damage(f"its JSON cannot be read: {error}") from error
        if not isinstance(document, dict):
            raise self._damage("its JSON is no object")
        return document

    def _damage(self, what: str) -> UserError:
        return UserError(f"{self.path} is damaged or not a GLB file: {what}")
