"""ICT-FaceKit's packed copy as a head: parts, sides, landmarks, and files that are something else."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError
from avatar3d.heads import HeadModel, load_head
from avatar3d.heads.ict import build_ict, check_ict, ict_facts, read_ict, read_ict_shapes
from avatar3d.heads.model import PART_INDEX
from avatar3d.heads.reduce import reduced
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


def write_obj(path: Path, points: np.ndarray, quads: np.ndarray | None = None) -> None:
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in points]
    if quads is not None:
        lines += ["vt 0.25 0.5", "vt 0.75 0.5"]
        lines += ["f " + " ".join(f"{v + 1}/{v % 2 + 1}" for v in q if v >= 0) for q in quads]
    path.write_text("\n".join(lines))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a few of its 157 files, written from the packed copy."""
    shapes = read_ict_shapes(data_file("mesh/ict/ict_facekit_packed.npz"))
    folder = tmp_path_factory.mktemp("ICT-FaceKit-master") / "FaceXModel"
    folder.mkdir()
    write_obj(folder / "generic_neutral_mesh.obj", shapes.neutral, shapes.quads)
    write_obj(folder / "identity000.obj", shapes.neutral + shapes.identity[0])
    for name in ("jawOpen", "browInnerUp_L", "PupilDilate_L"):
        write_obj(folder / f"{name}.obj", shapes.neutral + shapes.expressions[name])
    return folder.parent


def zipped(checkout: Path, path: Path, *without: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in sorted(checkout.rglob("*.obj")):
            if file.stem not in without:
                archive.write(file, f"ICT-FaceKit-master/FaceXModel/{file.name}")
        archive.writestr("ICT-FaceKit-master/../../evil.obj", "v 0 0 0")
    return path


def test_a_checkout_is_the_same_head(head: HeadModel, checkout: Path, tmp_path: Path):
    for path in (checkout, checkout / "FaceXModel", zipped(checkout, tmp_path / "a.zip")):
        shapes = read_ict_shapes(path)
        again = build_ict(shapes)
        torch.testing.assert_close(again.neutral, head.neutral, atol=1e-7, rtol=0)
        assert torch.equal(again.triangles, head.triangles)
        torch.testing.assert_close(
            again.identity_basis[0], head.identity_basis[0], atol=1e-7, rtol=0
        )
        jaw = ARKIT_INDEX["jawOpen"]
        torch.testing.assert_close(
            again.expression_basis[jaw], head.expression_basis[jaw], atol=1e-7, rtol=0
        )
        facts = ict_facts(shapes)
        assert "missing: eyeBlinkLeft" in facts.notes
        assert "browInnerUp" not in facts.notes
        assert "not among them: PupilDilate_L" in facts.notes
    assert not (tmp_path.parent / "evil.obj").exists()


def test_wrong_checkouts_are_refused(checkout: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"no FaceXModel/generic_neutral_mesh\.obj"):
        read_ict(tmp_path)
    with pytest.raises(UserError, match="without its shapes"):
        read_ict(zipped(checkout, tmp_path / "a.zip", "jawOpen", "browInnerUp_L", "PupilDilate_L"))
    with pytest.raises(UserError, match="without its identity modes"):
        read_ict(zipped(checkout, tmp_path / "b.zip", "identity000"))
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"damaged or no \.zip"):
        read_ict(tmp_path / "a.zip")
    small = tmp_path / "FaceXModel"
    small.mkdir()
    write_obj(small / "generic_neutral_mesh.obj", np.eye(3), np.array([[0, 1, 2, -1]]))
    with pytest.raises(UserError, match="another topology"):
        read_ict(tmp_path)
    (small / "generic_neutral_mesh.obj").write_text("v 1 two 3")
    with pytest.raises(UserError, match="no numbers"):
        read_ict(tmp_path)


def test_damaged_numbers_are_refused(checkout: Path):
    shapes = read_ict_shapes(checkout)
    spoilt = shapes.expressions["jawOpen"].copy()
    spoilt[5] = np.nan
    for change, said in (
        ({"expressions": {"jawOpen": spoilt}}, "NaN or infinite values in jawOpen"),
        ({"identity": shapes.identity[:, :100]}, "the identity modes has shape"),
        ({"quads": shapes.quads + 9999}, "outside its vertices"),
        ({"quads_uv": shapes.quads_uv + 9999}, "outside its texture points"),
    ):
        with pytest.raises(UserError, match=said):
            check_ict(replace(shapes, **change), checkout)


def test_the_reduced_head_is_small_and_moves_alike(head: HeadModel):
    light = reduced(head)
    assert len(light.neutral) <= 14_000
    skin = torch.isin(head.triangle_part, torch.tensor([PART_INDEX[p] for p in
                      ("face", "scalp", "ears", "neck", "bust")]))  # fmt: skip
    kept = torch.isin(light.triangle_part, head.triangle_part[skin].unique())
    assert kept.sum() == skin.sum()
    assert set(light.triangle_part.tolist()) == set(head.triangle_part.tolist())
    code = ExpressionCode.from_named(jawOpen=0.7, eyeLookOutLeft=1.0, mouthSmileLeft=0.5)
    identity = torch.randn(head.identity_count, generator=torch.Generator().manual_seed(2))
    for shape in (None, identity):
        torch.testing.assert_close(light.landmarks(shape, code), head.landmarks(shape, code))
    everything = head.vertices(identity, code)
    tree = KDTree(everything.numpy())
    assert tree.query(light.vertices(identity, code).numpy()[::7])[0].max() < 1e-6
    with pytest.raises(ValueError, match="skin"):
        reduced(head, 5_000)
