"""FLAME's landmark files, which may lie beside the model: where on its triangles landmarks are.

`landmark_embedding.npy` has the 68 of iBUG, their jaw line as seen from the front;
`flame_static_embedding.pkl` the 51 inside the face; `mediapipe_landmark_embedding.npz` 105 of
MediaPipe's. What else they hold, such as a jaw line for each of 79 yaws, is not needed: the outline
slides by itself (`contour`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from avatar3d.errors import UserError
from avatar3d.files import check_readable
from avatar3d.heads.npz_data import read_npy, read_npz_data
from avatar3d.heads.pickles import read_pickle, to_array

IBUG_FILES = ("landmark_embedding.npy", "flame_static_embedding.pkl")
MEDIAPIPE_FILE = "mediapipe_landmark_embedding.npz"
_MAX_BYTES = 1 << 26


@dataclass(frozen=True)
class Embedding:
    """Some landmarks of a head as points on its triangles."""

    file: str
    index: np.ndarray  # [N] which landmarks they are
    triangles: np.ndarray  # [N]
    barycentrics: np.ndarray  # [N, 3]


def read_ibug(folder: Path, triangles: int) -> Embedding | None:
    """iBUG's landmarks by the file that has most of them; None where there is none."""
    full, inner = (folder / name for name in IBUG_FILES)
    if full.is_file():
        values = _read_npy_dict(full)
        return _embedding(
            full, values, "full_lmk_faces_idx", "full_lmk_bary_coords", np.arange(68), triangles
        )
    if inner.is_file():
        values = read_pickle(inner)
        return _embedding(
            inner, values, "lmk_face_idx", "lmk_b_coords", np.arange(17, 68), triangles
        )
    return None


def read_mediapipe(folder: Path, triangles: int) -> Embedding | None:
    """Some of MediaPipe's 478; None where the file is absent."""
    path = folder / MEDIAPIPE_FILE
    if not path.is_file():
        return None
    values = read_npz_data(path)
    index = _numbers(path, values, "landmark_indices")
    if index.ndim != 1 or not len(index) or index.min() < 0 or index.max() >= 478:
        _refuse(path, "'landmark_indices' are not some of MediaPipe's 478")
    return _embedding(
        path, values, "lmk_face_idx", "lmk_b_coords", index.astype(np.int64), triangles
    )


def _embedding(
    path: Path, values: Any, face_name: str, weight_name: str, index: np.ndarray, triangles: int
) -> Embedding:
    faces = _numbers(path, values, face_name).reshape(-1)
    weights = _numbers(path, values, weight_name).astype(np.float64)
    if faces.shape != index.shape or weights.size != 3 * len(index):
        _refuse(path, f"{face_name!r} and {weight_name!r} are not of {len(index)} landmarks")
    weights = weights.reshape(-1, 3)
    if faces.min() < 0 or faces.max() >= triangles:
        _refuse(path, f"{face_name!r} points outside FLAME's {triangles:,} triangles")
    # Rounding may leave a point a hair outside of its triangle.
    if not (np.abs(weights.sum(1) - 1) < 1e-3).all() or weights.min() < -0.05:
        _refuse(path, f"{weight_name!r} are not shares that sum to 1")
    return Embedding(path.name, index, faces.astype(np.int64), weights)


def _numbers(path: Path, values: Any, name: str) -> np.ndarray:
    if not isinstance(values, dict) or name not in values:
        _refuse(path, f"it lacks {name!r}")
    try:
        array = to_array(values[name])
    except ValueError as error:
        _refuse(path, f"{name!r} cannot be read: {error}")
    if array.dtype.kind not in "fiu":
        _refuse(path, f"{name!r} holds {array.dtype}")
    return array


def _read_npy_dict(path: Path) -> Any:
    check_readable(path, _MAX_BYTES)
    try:
        return read_npy(path.read_bytes(), path)
    except ValueError as error:
        _refuse(path, f"it is damaged or no .npy: {error}")


def _refuse(path: Path, reason: str) -> NoReturn:
    raise UserError(
        f"{path} holds no landmarks of FLAME ({reason}); remove it to have them derived, or get it "
        "again"
    )
