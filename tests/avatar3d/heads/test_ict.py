"""ICT-FaceKit's packed copy as a head: parts, sides, landmarks, and files that are something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError
from avatar3d.heads import HeadModel, load_head
from avatar3d.heads.ict import read_ict
from avatar3d.heads.model import PART_INDEX
from tests.support.data import data_file

MM = 1e-3


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head(data_file("mesh/ict/ict_facekit_packed.npz"))


def test_shapes(head: HeadModel):
    count = len(head.neutral)
    assert head.name == "ict"
    assert head.expression_names == ARKIT_NAMES
    assert head.expression_basis.shape == (52, count, 3)
    assert head.identity_basis.shape == (head.identity_count, count, 3)
    assert head.joint_identity.shape == (head.identity_count, 6, 3)
    assert head.landmark_triangles.shape == (478,)
    assert head.ibug_triangles.shape == (68,)
    assert head.triangles.min() >= 0
    assert head.triangles.max() == count - 1
    torch.testing.assert_close(head.skin_weights.sum(1), torch.ones(count))
    for barycentrics in (head.landmark_barycentrics, head.ibug_barycentrics):
        torch.testing.assert_close(barycentrics.sum(1), torch.ones(len(barycentrics)))
    # Lids and the mouth's lining belong to the face's surface there.
    assert set(head.triangle_part.tolist()) >= set(PART_INDEX.values()) - {PART_INDEX["eyelids"]}


def test_it_is_a_head_in_metres(head: HeadModel):
    size = head.neutral.max(0).values - head.neutral.min(0).values
    assert 0.15 < size[0] < 0.6
    assert 0.25 < size[1] < 0.6
    face = head.triangles[head.triangle_part == PART_INDEX["face"]].unique()
    assert head.neutral[face, 2].mean() > head.neutral[:, 2].mean()


def test_sides_are_mirrored(head: HeadModel):
    flip = torch.tensor([-1.0, 1.0, 1.0])
    error = (head.neutral[head.mirror] * flip - head.neutral).norm(dim=1)
    assert error.quantile(0.99) < 0.5 * MM
    left = head.expression_basis[ARKIT_INDEX["mouthSmileLeft"]]
    right = head.expression_basis[ARKIT_INDEX["mouthSmileRight"]]
    assert ((left[head.mirror] * flip) - right).norm(dim=1).mean() < 0.1 * MM
    assert (head.neutral[left.norm(dim=1) > 3 * MM, 0] > 0).all()


@pytest.mark.parametrize("name", ["browInnerUp", "cheekPuff"])
def test_shapes_that_arkit_has_whole_move_both_sides(head: HeadModel, name: str):
    moved = head.expression_basis[ARKIT_INDEX[name]].norm(dim=1)
    x = head.neutral[:, 0]
    assert moved[x > 0.005].max() > 2 * MM
    assert moved[x < -0.005].max() > 2 * MM


def test_only_the_tongue_stays_still(head: HeadModel):
    """Eyes turn by their joints; every other coefficient moves vertices."""
    still = [
        name
        for index, name in enumerate(ARKIT_NAMES)
        if head.expression_basis[index].abs().max() < 0.1 * MM and not head.joint_drive[index].any()
    ]
    assert still == ["tongueOut"]


def test_landmarks_lie_where_they_belong(head: HeadModel):
    points = head.landmarks(None, ExpressionCode.neutral())
    assert points.shape == (478, 3)
    nose, chin, forehead = points[1], points[152], points[10]
    assert nose[2] > max(chin[2], forehead[2])
    assert chin[1] < nose[1] < forehead[1]
    assert points[468, 0] < 0 < points[473, 0]  # the subject's right iris first
    assert points[33, 0] < points[133, 0] < points[362, 0] < points[263, 0]
    assert (points[13] - points[14]).norm() < 4 * MM


def write_packed(path: Path, **changed: np.ndarray) -> Path:
    arrays = {"neutral": np.zeros((4, 3)), "faces": np.zeros((1, 4), np.int64)} | changed
    np.savez(path, allow_pickle=False, **arrays)
    return path


def test_other_files_are_refused(tmp_path: Path):
    text = tmp_path / "text.npz"
    text.write_text("no archive")
    missing = write_packed(tmp_path / "missing.npz")
    for path in (text, missing, tmp_path / "absent.npz"):
        with pytest.raises(UserError, match="is not a packed ICT-FaceKit head"):
            read_ict(path)


def test_a_pickle_is_not_opened(tmp_path: Path):
    path = tmp_path / "objects.npz"
    np.savez(path, neutral=np.array([{"code": "runs"}], dtype=object))
    with pytest.raises(UserError, match="is not a packed ICT-FaceKit head"):
        read_ict(path)
