"""What the page fetches only when its webcam or voice is asked for, and where it lies.

The tracker's model is made from the head, the voice ships with the package. MediaPipe's detector
does not: @mediapipe/face_mesh 0.4.1633559619 (Apache-2.0) is the last release that runs from plain
files without a network, and `find_face_mesh` looks where it may be.
"""

from __future__ import annotations

import gzip
import json
import os
from functools import lru_cache
from pathlib import Path

from avatar3d.errors import UserError
from avatar3d.files import data_folder

FACE_MESH_VERSION = "0.4.1633559619"
# Every browser that draws the page has SIMD, so the files without it are left out.
FACE_MESH_FILES = (
    "face_mesh.js",
    "face_mesh.binarypb",
    "face_mesh_solution_packed_assets.data",
    "face_mesh_solution_packed_assets_loader.js",
    "face_mesh_solution_simd_wasm_bin.data",
    "face_mesh_solution_simd_wasm_bin.js",
    "face_mesh_solution_simd_wasm_bin.wasm",
)
_REQUIRED = "face_mesh.js"
# Beside the page, as it asks for them.
FACE_MESH_FOLDER, TRACKER_FILE, VOICE_FILE = "face_mesh", "tracker.json.gz", "voice.safetensors"
GET_FACE_MESH = (
    f"get it with: npm pack @mediapipe/face_mesh@{FACE_MESH_VERSION}, and unpack it so that "
    "~/.local/share/avatar3d/face_mesh/face_mesh.js is there (docs/viewer.md)"
)


def find_face_mesh() -> Path | None:
    """The detector's folder: $AVATAR3D_FACE_MESH, face_mesh in the user's data folder, or what
    `npm ci` put into a checkout."""
    given = os.environ.get("AVATAR3D_FACE_MESH")
    places = [
        *([Path(given)] if given else []),
        data_folder() / "face_mesh",
        Path(__file__).parent / "web" / "node_modules" / "@mediapipe" / "face_mesh",
    ]
    return next((place for place in places if (place / _REQUIRED).is_file()), None)


@lru_cache(maxsize=2)
def tracker_model(head: str = "default") -> bytes:
    """What the page's tracker computes with, for a head by name or path; JSON, packed."""
    from avatar3d.heads import load_head
    from avatar3d.optional import require

    for package in ("scipy", "numba"):  # the tracker's own; no model, no picture is read here
        require(package, extra="recon")
    from recon.track.live_export import live_model

    text = json.dumps(live_model(load_head(head)), separators=(",", ":"))
    return gzip.compress(text.encode(), 9, mtime=0)


def voice_weights(voice: str = "clean") -> bytes:
    """The weights of a voice that ships, by name, or of a file of `avatar3d voice`."""
    from avatar3d.audio.model import load_voice, shipped_models

    load_voice(voice)  # says what is wrong with a file
    path = shipped_models().get(voice, Path(voice))
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); give another voice") from error
