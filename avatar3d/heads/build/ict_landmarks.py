"""Where MediaPipe's 478 landmarks lie on ICT-FaceKit: `python -m avatar3d.heads.build.ict_landmarks`.

Run once by hand, with ICT's folder and MediaPipe's canonical face at hand; what it writes,
triangles and barycentrics, is small and is shipped beside `ict.py`. The canonical face is moved
onto ICT by a similarity over the 68 landmarks that both name, bent by a thin-plate spline, and
each point drops onto the nearest triangle, lips apart so that the closed mouth does not mix them.
Offsets stay zero here; `recon.track.learn_offsets` measures them on clips.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from scipy.interpolate import RBFInterpolator
from scipy.spatial import KDTree

from avatar3d.heads.ict import _QUADS, _dequantise, _triangulate

# MediaPipe's index of each of the 68 iBUG landmarks.
MEDIAPIPE_OF_IBUG = [
    127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
]  # fmt: skip
_UPPER_LIP = [
    185, 40, 39, 37, 0, 267, 269, 270, 409, 191, 80, 81, 82, 13, 312, 311, 310, 415, 183, 42, 41,
    38, 12, 268, 271, 272, 407, 184, 74, 73, 72, 11, 302, 303, 304, 408,
]  # fmt: skip
_LOWER_LIP = [
    146, 91, 181, 84, 17, 314, 405, 321, 375, 95, 88, 178, 87, 14, 317, 402, 318, 324, 96, 89, 179,
    86, 15, 316, 403, 319, 325, 77, 90, 180, 85, 16, 315, 404, 320, 307,
]  # fmt: skip
_IRIS_RADIUS_CM = 0.59
# Centre, then the ring as the picture shows it: right, top, left, bottom (x to the subject's left).
_IRIS_RING = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]]) * _IRIS_RADIUS_CM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ict", type=Path, help="folder with ict_facekit_packed.npz")
    parser.add_argument("canonical", type=Path, help="MediaPipe's canonical_468.obj")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()

    with np.load(arguments.ict / "ict_facekit_packed.npz", allow_pickle=False) as archive:
        packed = {key: archive[key] for key in archive.files}
    neutral = packed["neutral"].astype(np.float64)
    triangles, quad = _triangulate(packed["faces"])
    names = list(map(str, packed["expression_names"]))
    opening = np.linalg.norm(_dequantise(packed, "expression")[names.index("jawOpen")], axis=1)
    ibug = json.loads((arguments.ict / "vertex_indices.json").read_text())["idx_to_landmark_verts"]

    face = triangles[quad < _QUADS["face"][1]]
    corners, barycentrics = _fit_landmarks(
        _read_canonical(arguments.canonical), neutral, face, opening, np.array(ibug)
    )
    for _side, first in (("right", "right_eyeball"), ("left", "left_eyeball")):
        start, end = _QUADS[first]
        eye = triangles[(quad >= start) & (quad < end)]
        iris_corners, iris_barycentrics = _fit_iris(neutral, eye)
        corners = np.concatenate([corners, iris_corners])
        barycentrics = np.concatenate([barycentrics, iris_barycentrics])
    ibug_corners = np.stack([face[np.where((face == vertex).any(1))[0][0]] for vertex in ibug])
    save_file(
        {
            "corners": corners.astype(np.int32),
            "barycentrics": barycentrics.astype(np.float32),
            "offsets": np.zeros((478, 3), np.float32),
            "ibug_corners": ibug_corners.astype(np.int32),
            "ibug_barycentrics": (ibug_corners == np.array(ibug)[:, None]).astype(np.float32),
        },
        str(arguments.output),
    )


def _read_canonical(path: Path) -> np.ndarray:
    lines = [line.split() for line in path.read_text().splitlines() if line.startswith("v ")]
    return np.array([[float(value) for value in line[1:4]] for line in lines])[:468]


def _fit_landmarks(
    canonical: np.ndarray,
    neutral: np.ndarray,
    face: np.ndarray,
    jaw_opening: np.ndarray,
    ibug: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    target, source = neutral[ibug], canonical[MEDIAPIPE_OF_IBUG]
    inner = slice(17, 68)  # the jaw line's landmarks slide, so they do not fix the similarity
    scale, rotation, translation = similarity(source[inner], target[inner])
    moved = scale * canonical @ rotation.T + translation
    # The contour bends little: its landmarks are not the same points of the skin in both sets.
    smoothing = np.where(np.arange(68) < 17, 2.0, 0.02)
    smoothing[[0, 1, 2, 14, 15, 16]] = 5.0
    per_landmark: Any = smoothing  # SciPy takes an array too; its default hides that from checkers
    anchors = moved[MEDIAPIPE_OF_IBUG]
    moved = moved + RBFInterpolator(
        anchors, target - anchors, kernel="thin_plate_spline", smoothing=per_landmark
    )(moved)

    opening = jaw_opening[face].mean(1)
    others = sorted(set(range(468)) - set(_UPPER_LIP) - set(_LOWER_LIP))
    everywhere = np.ones(len(face), bool)
    groups = [(others, everywhere), (_UPPER_LIP, opening < 1.2), (_LOWER_LIP, opening > 1.6)]
    triangle, barycentrics = np.zeros(468, int), np.zeros((468, 3))
    for attempt in range(2):
        for ids, allowed in groups:
            subset = np.where(allowed)[0]
            found, barycentrics[ids] = closest_points(neutral, face[subset], moved[ids])
            triangle[ids] = subset[found]
        if attempt == 0:
            surface = np.einsum("lk,lkc->lc", barycentrics, neutral[face[triangle]])
            moved = moved + RBFInterpolator(
                moved, surface - moved, kernel="thin_plate_spline", smoothing=1.0, neighbors=60
            )(moved)
    return face[triangle], barycentrics


def _fit_iris(neutral: np.ndarray, eye: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points = neutral[np.unique(eye)]
    centre = (points.min(0) + points.max(0)) / 2
    front = eye[neutral[eye][:, :, 2].mean(1) > centre[2] + 0.5]
    seeds = np.zeros((5, 3))
    seeds[:, :2] = centre[:2] + _IRIS_RING
    seeds[:, 2] = points[:, 2].max()
    triangle, barycentrics = closest_points(neutral, front, seeds)
    return front[triangle], barycentrics


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation, translation that take source onto target (Umeyama 1991)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(b.T @ a / len(a))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (singular * sign).sum() / (a**2).sum() * len(a)
    return float(scale), rotation, target_mean - scale * rotation @ source_mean


def closest_points(
    vertices: np.ndarray, triangles: np.ndarray, points: np.ndarray, steps: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest triangle and barycentrics of each point, to 1/steps of an edge."""
    grid = np.array(
        [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    ) / float(steps)
    samples = np.einsum("gk,tkc->tgc", grid, vertices[triangles]).reshape(-1, 3)
    nearest = np.asarray(KDTree(samples).query(points)[1])
    return nearest // len(grid), grid[nearest % len(grid)]


if __name__ == "__main__":
    main()
