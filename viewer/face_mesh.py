"""The landmark detector that the page runs for the webcam: MediaPipe's, from files on this machine.

@mediapipe/face_mesh 0.4.1633559619 (Apache-2.0) is the last release that runs from plain files
without a network. It is 11 MB, so it is not in the wheel; `find_face_mesh` looks where it may be.
"""

from __future__ import annotations

import os
from pathlib import Path

VERSION = "0.4.1633559619"
FACE_MESH_FILES = (
    "face_mesh.js",
    "face_mesh.binarypb",
    "face_mesh_solution_packed_assets.data",
    "face_mesh_solution_packed_assets_loader.js",
    "face_mesh_solution_simd_wasm_bin.data",
    "face_mesh_solution_simd_wasm_bin.js",
    "face_mesh_solution_simd_wasm_bin.wasm",
    "face_mesh_solution_wasm_bin.js",
    "face_mesh_solution_wasm_bin.wasm",
)
_REQUIRED = "face_mesh.js"


def find_face_mesh() -> Path | None:
    """The detector's folder: $AVATAR3D_FACE_MESH, ~/.local/share/avatar3d/face_mesh, or what
    `npm ci` put into a checkout."""
    given = os.environ.get("AVATAR3D_FACE_MESH")
    places = [
        *([Path(given)] if given else []),
        Path.home() / ".local" / "share" / "avatar3d" / "face_mesh",
        Path(__file__).parent / "web" / "node_modules" / "@mediapipe" / "face_mesh",
    ]
    return next((place for place in places if (place / _REQUIRED).is_file()), None)
