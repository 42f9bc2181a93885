"""Files in FLAME's exact format, without FLAME: its topology, and smooth bases made of waves.

The topology and the mean head come from the data on this machine, which the project does not
carry; bases, joints and weights are made here.
"""

from __future__ import annotations

import pickle
import sys
import types
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from tests.support.data import data_file


@lru_cache(maxsize=1)
def template() -> tuple[np.ndarray, np.ndarray]:
    """FLAME's mean head [5023, 3] near the origin, and its triangles [9976, 3]."""
    vertices, triangles = [], []
    for line in data_file("mesh/flame/head_template.obj").read_text().splitlines():
        if line.startswith("v "):
            vertices.append([float(value) for value in line.split()[1:4]])
        elif line.startswith("f "):
            triangles.append([int(corner.split("/")[0]) - 1 for corner in line.split()[1:4]])
    return np.array(vertices) - [0.0, 1.5, 0.0], np.array(triangles)


def waves(points: np.ndarray, count: int, size_m: float, seed: int) -> np.ndarray:
    """Smooth random displacements [V, 3, count], later ones finer and smaller."""
    random = np.random.default_rng(seed)
    frequency = random.normal(size=(count, 3)) * np.linspace(15, 60, count)[:, None]
    phase = random.uniform(0, 2 * np.pi, count)
    direction = random.normal(size=(3, count))
    amplitude = size_m / np.sqrt(1 + np.arange(count))
    return (np.sin(points @ frequency.T + phase)[:, None, :] * direction) * amplitude


@lru_cache(maxsize=2)
def flame_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of a FLAME file, dense and plain, under FLAME's names."""
    points, triangles = template()
    count = len(points)
    shapedirs = np.concatenate(
        [waves(points, 300, 2e-3, seed), waves(points, 100, 2e-3, seed + 1)], axis=2
    )
    joints = np.array(
        [[0, -0.16, -0.03], [0, -0.07, -0.02], [0, -0.005, 0.01],
         points[3931:4477].mean(0), points[4477:].mean(0)]
    )  # fmt: skip
    regressor = np.zeros((5, count))
    for joint, place in enumerate(joints):
        near = np.argsort(np.linalg.norm(points - place, axis=1))[:40]
        if joint > 2:
            near = np.arange(3931, 4477) if joint == 3 else np.arange(4477, count)
        regressor[joint, near] = 1.0 / len(near)
    x, y, z = points.T
    head = 1 / (1 + np.exp(-(y + 0.09) / 0.012))
    # The lips part at one height, beside them the cheek stretches.
    width = 6e-4 + 0.2 * np.maximum(np.abs(x) - 0.024, 0) + 0.3 * np.maximum(0.05 - z, 0)
    below = 1 / (1 + np.exp(np.clip((y + 0.0383) / width, -50, 50)))
    jaw = head * below / (1 + np.exp(-(z - 0.005) / 0.01))
    weights = np.stack([1 - head, head - jaw, jaw, 0 * x, 0 * x], axis=1)
    weights[3931:4477], weights[4477:] = [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]
    return {
        "v_template": points,
        "f": triangles.astype(np.uint32),
        "shapedirs": shapedirs,
        "posedirs": waves(points, 36, 1e-3, seed + 2),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "J": regressor @ points,
    }


@contextmanager
def chumpy():
    """A stand-in for the package chumpy while a file is written: an array in an object."""

    class Ch:
        def __init__(self, x: np.ndarray) -> None:
            self.x = x
            self._cache = {"owner": self}  # chumpy's caches refer back, and must not matter

    package, module = types.ModuleType("chumpy"), types.ModuleType("chumpy.ch")
    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    vars(module)["Ch"] = Ch
    sys.modules |= {"chumpy": package, "chumpy.ch": module}
    try:
        yield Ch
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]


def write_flame_pkl(path: Path, protocol: int = 2, **changed: object) -> Path:
    """As FLAME's makers write it: chumpy arrays, a sparse regressor, Python 2's protocol."""
    arrays: dict[str, Any] = {**flame_arrays(), **changed}
    with chumpy() as wrapped:
        for name in ("v_template", "shapedirs", "posedirs"):
            if isinstance(arrays[name], np.ndarray):
                arrays[name] = wrapped(arrays[name])
        if isinstance(arrays["J_regressor"], np.ndarray):
            arrays["J_regressor"] = scipy.sparse.csc_matrix(arrays["J_regressor"])
        arrays |= {"bs_style": "lbs", "bs_type": "lrotmin"}
        path.write_bytes(pickle.dumps(arrays, protocol=protocol))
    return path
