"""3DGS `.ply`: one record a Gaussian, binary little-endian floats, in 3DGS's frame (+Y down).

Written with the normals (zero) and the 45 higher SH coefficients (zero) that the format's first
program wrote, because importers such as UnityGaussianSplatting refuse files without them. Read
with any degree, any order of properties, and properties besides.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avatar3d.errors import UserError
from avatar3d.files import atomic_output, check_readable
from avatar3d.io.splats import SH_COUNTS, Splats, check_count, check_splats

_PLAIN = (
    "x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity",
    "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3",
)  # fmt: skip
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_MAX_HEADER_BYTES = 1 << 16
_MAX_BYTES = 4 << 30
_REST = SH_COUNTS[-1] - 1


def write_ply(splats: Splats, path: Path) -> None:
    """Write; colours up to degree 3, missing coefficients as zeros."""
    turned = splats.half_turned()
    count = len(turned.positions)
    rest = np.zeros((count, _REST, 3), np.float32)
    rest[:, : turned.sh.shape[1] - 1] = turned.sh[:, 1:]
    columns = [
        turned.positions,
        np.zeros((count, 3), np.float32),
        turned.sh[:, 0],
        rest.transpose(0, 2, 1).reshape(count, -1),  # all reds, all greens, all blues
        turned.opacity_logits[:, None],
        turned.log_scales,
        turned.quaternions,
    ]
    names = [
        *("x", "y", "z", "nx", "ny", "nz"),
        *(f"f_dc_{i}" for i in range(3)),
        *(f"f_rest_{i}" for i in range(3 * _REST)),
        "opacity",
        *(f"scale_{i}" for i in range(3)),
        *(f"rot_{i}" for i in range(4)),
    ]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    with atomic_output(path) as temporary, open(temporary, "wb") as file:
        file.write("\n".join(header).encode("ascii"))
        file.write(np.concatenate(columns, axis=1).astype("<f4").tobytes())


def read_ply(path: Path) -> Splats:
    """Read a 3DGS file; `UserError` for any other."""
    vertices = read_vertices(path)
    missing = [name for name in _PLAIN if name not in (vertices.dtype.names or ())]
    if missing:
        raise UserError(
            f"{path} is a .ply without {', '.join(missing[:4])}: expected one of 3D Gaussian "
            "splatting, uncompressed"
        )
    return check_splats(splats_of(vertices, path), path).half_turned()


def splats_of(vertices: np.ndarray, path: Path) -> Splats:
    """The columns of 3DGS in the file's own frame."""

    def columns(prefix: str, count: int) -> np.ndarray:
        names = [f"{prefix}{index}" for index in range(count)]
        return np.stack([vertices[name].astype(np.float32) for name in names], axis=-1)

    rest_count = 0
    while f"f_rest_{rest_count}" in (vertices.dtype.names or ()):
        rest_count += 1
    if rest_count % 3 or rest_count // 3 + 1 not in SH_COUNTS:
        raise UserError(f"{path} has {rest_count} values f_rest, expected 0, 9, 24 or 45")
    sh = columns("f_dc_", 3)[:, None, :]
    if rest_count:
        rest = columns("f_rest_", rest_count).reshape(len(vertices), 3, -1)
        sh = np.concatenate([sh, rest.transpose(0, 2, 1)], axis=1)
    return Splats(
        positions=np.stack([vertices[axis].astype(np.float32) for axis in "xyz"], axis=-1),
        quaternions=columns("rot_", 4),
        log_scales=columns("scale_", 3),
        opacity_logits=vertices["opacity"].astype(np.float32),
        sh=np.ascontiguousarray(sh),
    )


def read_vertices(path: Path) -> np.ndarray:
    """The element `vertex` of a binary .ply as a structured array; nothing claimed is believed."""
    size = check_readable(path, _MAX_BYTES)
    with open(path, "rb") as file:
        start = file.read(_MAX_HEADER_BYTES)
        end = start.find(b"end_header\n")
        if not start.startswith(b"ply") or end < 0:
            raise UserError(f"{path} is not a .ply file: it has no header of one")
        count, record = _parse_header(start[:end], path)
        check_count(count, path)
        begin = end + len(b"end_header\n")
        expected = begin + count * record.itemsize
        if size < expected:
            raise UserError(f"{path} is truncated: expected {expected:,} bytes, got {size:,}")
        file.seek(begin)
        data = file.read(count * record.itemsize)
    return np.frombuffer(data, record)


def _parse_header(header: bytes, path: Path) -> tuple[int, np.dtype]:
    """The first element, which must be `vertex`: its count and the layout of a record."""
    try:
        lines = [line.split() for line in header.decode("ascii").splitlines()]
    except UnicodeDecodeError:
        raise UserError(f"{path} is damaged: its header is not plain text") from None
    lines = [line for line in lines if line and line[0] not in ("comment", "obj_info")]
    if ["format", "binary_little_endian", "1.0"] not in lines[:2]:
        raise UserError(f"{path} is not a binary little-endian .ply 1.0; save it as one")
    elements = [index for index, line in enumerate(lines) if line[0] == "element"]
    if not elements or lines[elements[0]][1:2] != ["vertex"]:
        raise UserError(
            f"{path} does not begin with its vertices; a compressed .ply must be expanded first, "
            "for instance with splat-transform"
        )
    try:
        (count_text,) = lines[elements[0]][2:]
        count = int(count_text)
        end = elements[1] if len(elements) > 1 else len(lines)
        fields = []
        for keyword, kind, name in lines[elements[0] + 1 : end]:
            if keyword != "property":
                raise ValueError(keyword)
            fields.append((name, "<" + _TYPES[kind]))
        return count, np.dtype(fields)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: its header cannot be understood ({error})") from error
