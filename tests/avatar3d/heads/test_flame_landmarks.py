"""FLAME's landmark files beside the model: used where they are, refused in a sentence where wrong."""

from __future__ import annotations

import math
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.heads import HeadModel, load_head
from avatar3d.heads.contour import SlidingLandmarks
from avatar3d.heads.flame import TRIANGLES, read_flame
from avatar3d.heads.flame_landmarks import read_ibug, read_mediapipe
from render.mesh import project_points
from tests.support.data import data_file
from tests.support.flame import template, write_flame_pkl

MADE = np.random.default_rng(0)


def write_embeddings(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Both files as their makers write them, of random points; one array is a PyTorch tensor."""
    full: dict[str, Any] = {
        "full_lmk_faces_idx": MADE.integers(0, TRIANGLES, (1, 68)),
        "full_lmk_bary_coords": MADE.dirichlet([1.0] * 3, (1, 68)).astype(np.float32),
        "dynamic_lmk_faces_idx": torch.zeros(79, 17, dtype=torch.int64),
    }
    np.save(folder / "landmark_embedding.npy", np.array(full, dtype=object), allow_pickle=True)
    some = {
        "lmk_face_idx": MADE.integers(0, TRIANGLES, 105).astype(np.uint32),
        "lmk_b_coords": MADE.dirichlet([1.0] * 3, 105),
        "landmark_indices": MADE.permutation(468)[:105],
    }
    np.savez(folder / "mediapipe_landmark_embedding.npz", **some)
    return full, some


def test_what_the_files_say_is_what_the_head_has(tmp_path: Path):
    template()  # skips where the data are absent
    full, some = write_embeddings(tmp_path)
    head, facts = read_flame(write_flame_pkl(tmp_path / "flame2020.pkl"))
    assert "68 from landmark_embedding.npy" in facts.notes
    assert "105 from mediapipe_landmark_embedding.npz" in facts.notes
    np.testing.assert_array_equal(head.ibug_triangles, np.ravel(full["full_lmk_faces_idx"]))
    np.testing.assert_allclose(
        head.ibug_barycentrics, np.reshape(full["full_lmk_bary_coords"], (68, 3)), atol=1e-6
    )
    told = some["landmark_indices"]
    np.testing.assert_array_equal(head.landmark_triangles[told], some["lmk_face_idx"])
    np.testing.assert_allclose(head.landmark_barycentrics[told], some["lmk_b_coords"], atol=1e-6)
    # The others are still the default head's.
    points = head.landmarks(None, ExpressionCode.neutral(coefficient_count=head.expression_count))
    others = np.setdiff1d(np.arange(468), told)
    base = load_head("default")
    expected = base.landmarks(None, ExpressionCode.neutral())
    assert (points - expected)[others].norm(dim=1).median() < 0.01


def test_the_51_inside_the_face_leave_the_jaw_line(tmp_path: Path):
    values = {"lmk_face_idx": np.arange(51), "lmk_b_coords": np.tile([0.2, 0.3, 0.5], (51, 1))}
    (tmp_path / "flame_static_embedding.pkl").write_bytes(pickle.dumps(values, protocol=2))
    found = read_ibug(tmp_path, TRIANGLES)
    assert found is not None
    assert found.index.tolist() == list(range(17, 68))
    assert read_mediapipe(tmp_path, TRIANGLES) is None
    assert read_ibug(tmp_path / "elsewhere", TRIANGLES) is None


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile-was-here",)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"full_lmk_faces_idx": np.full(68, TRIANGLES)}, "points outside"),
        ({"full_lmk_faces_idx": np.zeros(51, int)}, "not of 68 landmarks"),
        ({"full_lmk_bary_coords": np.full((68, 3), np.nan)}, "no shares|not shares"),
        ({"full_lmk_bary_coords": np.full((68, 3), 0.5)}, "not shares"),
        ({"full_lmk_faces_idx": torch.zeros(68)}, "cannot be read"),
        ({"full_lmk_faces_idx": None}, "cannot be read"),
        ({"full_lmk_faces_idx": Hostile()}, "nothing in it was executed"),
    ],
)
def test_wrong_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], message: str
):
    monkeypatch.chdir(tmp_path)
    full, _ = write_embeddings(tmp_path)
    np.save(
        tmp_path / "landmark_embedding.npy",
        np.array(full | changed, dtype=object),
        allow_pickle=True,
    )
    with pytest.raises(UserError, match=message):
        read_ibug(tmp_path, TRIANGLES)
    assert not (tmp_path / "hostile-was-here").exists()


def test_damaged_files_are_refused(tmp_path: Path):
    write_embeddings(tmp_path)
    for name, read in (
        ("landmark_embedding.npy", read_ibug),
        ("mediapipe_landmark_embedding.npz", read_mediapipe),
    ):
        whole = (tmp_path / name).read_bytes()
        for content in (b"", whole[:100], whole[: len(whole) // 2], b"{}" * 50):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(UserError, match=name):
                read(tmp_path, TRIANGLES)
    some = {"lmk_face_idx": [1], "lmk_b_coords": [[0, 0, 1]], "landmark_indices": [478]}
    np.savez(
        tmp_path / "mediapipe_landmark_embedding.npz", **{k: np.array(v) for k, v in some.items()}
    )
    with pytest.raises(UserError, match="some of MediaPipe's 478"):
        read_mediapipe(tmp_path, TRIANGLES)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[HeadModel, np.ndarray]:
    """A head with FLAME's own 68, and FLAME's table of its jaw line [79 yaws, 17, 3]."""
    source = data_file("mesh/flame/landmark_embedding.npy")
    folder = tmp_path_factory.mktemp("flame")
    shutil.copy(source, folder)
    head, _ = read_flame(write_flame_pkl(folder / "flame2020.pkl"))
    stored = np.load(source, allow_pickle=True, encoding="latin1").item()  # the makers' own file
    corners = head.neutral.numpy()[head.triangles.numpy()[stored["dynamic_lmk_faces_idx"].numpy()]]
    return head, np.einsum("ylk,ylkc->ylc", stored["dynamic_lmk_bary_coords"].numpy(), corners)


@pytest.mark.parametrize("yaw", [-39, -30, -20, -10, 10, 20, 30, 39])
def test_the_outline_is_that_of_flames_own_table(table: tuple[HeadModel, np.ndarray], yaw: int):
    """For each degree of yaw FLAME's makers chose 17 points; seen by a camera, they lie on the line
    through ours, which knows no table."""
    head, chosen = table
    code = ExpressionCode.neutral(coefficient_count=head.expression_count)
    camera = Camera.frontal(1000.0, 800, 1.0, math.radians(yaw))  # a pixel is a millimetre
    sliding = SlidingLandmarks(head, None)

    def seen(points: np.ndarray) -> np.ndarray:
        at = points.astype(np.float32)
        return project_points(at, camera.viewmat.numpy(), camera.K.numpy())[0]

    theirs = seen(chosen[-yaw if yaw < 0 else 39 + yaw])
    ours = seen(sliding.pose(code, camera.position())[:17].numpy())
    assert off_line(theirs, ours).max() < 2.0
    rest = seen(sliding.pose(code, None)[:17].numpy())
    assert off_line(theirs, rest).max() > 2.0
    if abs(yaw) >= 30:
        assert off_line(theirs, rest).max() > 12.0


def off_line(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Distances of points [N, 2] from the polyline [M, 2]."""
    start, way = line[:-1], np.diff(line, axis=0)
    share = ((points[:, None] - start) * way).sum(-1) / (way**2).sum(-1)
    nearest = start + share.clip(0, 1)[..., None] * way
    return np.linalg.norm(points[:, None] - nearest, axis=-1).min(1)
