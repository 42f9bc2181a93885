"""ICT-FaceKit's OBJ files, from a checkout or from the .zip that GitHub makes of one.

`FaceXModel/` holds `generic_neutral_mesh.obj`, `identity000.obj` and on, and one file an
expression (`jawOpen.obj`, `eyeBlink_L.obj`): whole heads, whose difference from the neutral one is
the mode. Files are read by name; nothing is unpacked to disk.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from avatar3d.errors import UserError
from avatar3d.files import check_readable
from avatar3d.heads.ict import _IDENTITY_COUNT, QUADS, VERTICES, IctShapes
from avatar3d.progress import tracked

NEUTRAL = "generic_neutral_mesh"
MAX_OBJ_BYTES = 1 << 25  # the neutral mesh has 2.5 MB
MAX_ZIP_BYTES = 1 << 31
_IDENTITY = re.compile(r"identity\d{3}")
_EXPRESSION = re.compile(r"[A-Za-z]+(_[LR])?")


def read_checkout(path: Path) -> IctShapes:
    """The shapes of a checkout: its folder, its FaceXModel folder, or a .zip of it."""
    if path.is_dir():
        folder = path / "FaceXModel" if (path / "FaceXModel").is_dir() else path
        files = {file.stem: file for file in sorted(folder.glob("*.obj"))}
        return _read(path, sorted(files), lambda name: _file_bytes(files[name]))
    check_readable(path, MAX_ZIP_BYTES)
    try:
        with zipfile.ZipFile(path) as archive:
            members: dict[str, zipfile.ZipInfo] = {}
            for member in archive.infolist():
                name = PurePosixPath(member.filename)
                if name.suffix == ".obj" and name.parent.name == "FaceXModel":
                    if member.file_size > MAX_OBJ_BYTES:
                        raise UserError(
                            f"{path} has {member.filename!r} of {member.file_size:,} bytes, expected "
                            f"at most {MAX_OBJ_BYTES:,}"
                        )
                    members[name.stem] = member
            return _read(path, sorted(members), lambda name: archive.read(members[name]))
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 (zipfile raises a dozen kinds for damaged archives)
        raise UserError(f"{path} is damaged or no .zip file ({error})") from None


def _file_bytes(path: Path) -> bytes:
    check_readable(path, MAX_OBJ_BYTES)
    return path.read_bytes()


def _read(path: Path, names: list[str], content_of: Callable[[str], bytes]) -> IctShapes:
    if NEUTRAL not in names:
        raise UserError(
            f"{path} is no checkout of ICT-FaceKit: it has no FaceXModel/{NEUTRAL}.obj; get it from "
            "https://github.com/ICT-VGL/ICT-FaceKit"
        )
    neutral, quads, uv, quads_uv = read_obj(content_of(NEUTRAL), f"{path}: {NEUTRAL}.obj")
    if neutral.shape != (VERTICES, 3) or quads.shape != (QUADS, 4):
        raise UserError(
            f"{path} has {len(neutral):,} vertices and {len(quads):,} faces, ICT-FaceKit has "
            f"{VERTICES:,} and {QUADS:,}; it is a model of another topology"
        )
    wanted = [name for name in names if _IDENTITY.fullmatch(name)][:_IDENTITY_COUNT]
    shapes = [
        name for name in names
        if name != NEUTRAL and not name.startswith("identity") and _EXPRESSION.fullmatch(name)
    ]  # fmt: skip
    if not wanted or not shapes:
        raise UserError(
            f"{path} holds ICT-FaceKit's neutral head without its "
            f"{'shapes' if wanted else 'identity modes'}; expected identity000.obj and on, and "
            "jawOpen.obj and the like beside it"
        )
    moved = {}
    for name in tracked([*wanted, *shapes], "read ICT-FaceKit"):
        points = read_vertices(content_of(name), f"{path}: {name}.obj")
        if points.shape != neutral.shape:
            raise UserError(
                f"{path}: {name}.obj has {len(points):,} vertices, expected {len(neutral):,}; it is "
                "truncated or of another topology"
            )
        moved[name] = points - neutral
    return IctShapes(
        neutral,
        quads,
        uv,
        quads_uv,
        np.stack([moved[name] for name in wanted]),
        {name: moved[name] for name in shapes},
    )


def read_vertices(content: bytes, what: str) -> np.ndarray:
    """The `v` lines of an OBJ file, [V, 3] float32."""
    lines = [line[2:] for line in content.splitlines() if line.startswith(b"v ")]
    try:
        # Some writers append colours: the first three numbers are the place.
        rows = [line.split()[:3] for line in lines]
        points = np.array(rows, dtype="S32").astype(np.float32).reshape(-1, 3)
    except ValueError as error:
        raise UserError(f"{what} has vertices that are no numbers ({error})") from None
    if not len(points) or not np.isfinite(points).all():
        raise UserError(f"{what} has no vertices, or NaN among them")
    return points


def read_obj(content: bytes, what: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [V, 3], faces [Q, 4], texture points [U, 2] and faces of those [Q, 4]; -1 fills
    triangles."""
    points = read_vertices(content, what)
    faces, faces_uv, uv = [], [], []
    try:
        for line in content.splitlines():
            if line.startswith(b"vt "):
                uv.append([float(value) for value in line.split()[1:3]])
            elif line.startswith(b"f "):
                corners = [corner.split(b"/") for corner in line.split()[1:]]
                if len(corners) not in (3, 4):
                    raise ValueError(f"a face of {len(corners)} corners")
                fill = [-1] * (4 - len(corners))
                faces.append([int(c[0]) - 1 for c in corners] + fill)
                places = [int(c[1]) - 1 if len(c) > 1 and c[1] else 0 for c in corners]
                faces_uv.append(places + fill)
    except (ValueError, IndexError) as error:
        raise UserError(f"{what} is no mesh that can be read ({error})") from None
    return (
        points,
        np.array(faces, np.int64).reshape(-1, 4),
        np.array(uv or [[0.0, 0.0]], np.float32),
        np.array(faces_uv, np.int64).reshape(-1, 4),
    )
