"""Checkpoints of GaussianAvatars: made here after its published layout, read, and moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.asset import read_avatar
from avatar3d.cli import main
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.geometry import quaternion_to_matrix
from avatar3d.heads import HeadModel, load_head
from avatar3d.heads.flame import read_flame
from avatar3d.io.gaussian_avatars import is_checkpoint, place_on_triangles, read_checkpoint
from avatar3d.io.ply import write_ply
from avatar3d.io.splats import Splats
from tests.avatar3d.io.still import covariances, random_splats
from tests.support.flame import write_flame_pkl

TRIANGLES, TEETH = 9976, 168


def _frame_slowly(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, float]:
    """Axes in columns, and size, of one triangle."""
    first = (b - a) / np.linalg.norm(b - a)
    normal = np.cross(first, c - a)
    normal /= np.linalg.norm(normal)
    third = -np.cross(normal, first)
    third /= np.linalg.norm(third)
    size = (np.linalg.norm(b - a) + abs(third @ (c - a))) / 2
    return np.stack([first, normal, third], axis=1), float(size)


def test_placing_on_triangles_said_slowly():
    random = np.random.default_rng(0)
    local, corners = random_splats(30, seed=1), random.normal(size=(30, 3, 3))
    placed, normals = place_on_triangles(local, corners)
    found, shapes = covariances(placed), covariances(local)
    for i, (a, b, c) in enumerate(corners):
        axes, size = _frame_slowly(a, b, c)
        expected = (a + b + c) / 3 + size * axes @ local.positions[i]
        np.testing.assert_allclose(placed.positions[i], expected, atol=1e-6)
        covariance = size**2 * axes @ shapes[i] @ axes.T
        np.testing.assert_allclose(found[i], covariance, atol=1e-4 * np.abs(covariance).max())
        np.testing.assert_allclose(normals[i], axes[:, 1], atol=1e-9)


def test_placing_follows_the_triangles():
    """Moved, turned and enlarged triangles carry their Gaussians along."""
    random = np.random.default_rng(2)
    local, corners = random_splats(20), random.normal(size=(20, 3, 3))
    quaternion = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.7, 0.4]), dim=0)
    turn = quaternion_to_matrix(quaternion.double()).numpy()
    before, _ = place_on_triangles(local, corners)
    after, _ = place_on_triangles(local, 2.5 * corners @ turn.T + [1, 2, 3])
    expected = 2.5 * before.positions @ turn.T + [1, 2, 3]
    np.testing.assert_allclose(after.positions, expected, atol=1e-5)
    np.testing.assert_allclose(
        covariances(after), 6.25 * turn @ covariances(before) @ turn.T, rtol=1e-3, atol=1e-6
    )


@pytest.fixture(scope="module")
def flame(tmp_path_factory: pytest.TempPathFactory) -> HeadModel:
    path = write_flame_pkl(tmp_path_factory.mktemp("flame") / "flame2023.pkl")
    return read_flame(path)[0]


def _write_checkpoint(folder: Path, count: int = 400, **changed: np.ndarray) -> Path:
    """`point_cloud.ply` and `flame_param.npz`, the last tenth of the Gaussians on the teeth."""
    random = np.random.default_rng(5)
    local = random_splats(count, 4)
    local = local._replace(
        positions=(0.2 * random.normal(size=(count, 3))).astype(np.float32),
        log_scales=random.uniform(-2, 0, (count, 3)).astype(np.float32),
    )
    binding = random.integers(0, TRIANGLES, count).astype(np.int32)
    binding[-count // 10 :] = TRIANGLES + random.integers(0, TEETH, count // 10)
    path = folder / "point_cloud.ply"
    write_ply(local.half_turned(), path)  # there, the file's axes are the triangles' own
    header, mark, body = path.read_bytes().partition(b"end_header\n")
    rows = np.frombuffer(body, np.uint8).reshape(count, -1)
    rows = np.concatenate([rows, binding.view(np.uint8).reshape(count, 4)], axis=1)
    path.write_bytes(header + b"property int binding_0\n" + mark + rows.tobytes())
    arrays = {
        "shape": random.normal(size=300).astype(np.float32),
        "expr": np.zeros((3, 100), np.float32),
        "static_offset": (1e-3 * random.normal(size=(1, 5143, 3))).astype(np.float32),
        **changed,
    }
    np.savez(folder / "flame_param.npz", **arrays)
    return path


def test_a_checkpoint_is_laid_out_on_its_own_head(flame: HeadModel, tmp_path: Path):
    path = _write_checkpoint(tmp_path)
    assert is_checkpoint(path)
    found = read_checkpoint(path, flame)
    assert found.on_teeth == 40
    assert len(found.splats.positions) == 360
    with np.load(tmp_path / "flame_param.npz") as arrays:
        shape, offset = torch.from_numpy(arrays["shape"]), arrays["static_offset"][0, :5023]
    vertices = flame.rig(shape).neutral.numpy() + offset
    random = np.random.default_rng(5)
    local = 0.2 * random.normal(size=(400, 3))
    random.uniform(-2, 0, (400, 3))
    binding = random.integers(0, TRIANGLES, 400)
    for i in range(0, 360, 40):
        a, b, c = vertices[flame.triangles[binding[i]].numpy()]
        axes, size = _frame_slowly(a, b, c)
        expected = (a + b + c) / 3 + size * axes @ local[i]
        np.testing.assert_allclose(found.splats.positions[i], expected, atol=1e-6)


def test_the_command_makes_an_avatar_that_moves(
    flame: HeadModel, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
):
    path = _write_checkpoint(tmp_path)
    monkeypatch.setattr("avatar3d.heads.load_head", lambda name="flame": flame)
    monkeypatch.setattr("avatar3d.asset.load_head", lambda name="flame": flame)
    output = tmp_path / "person.avatar"
    assert main(["import", str(path), "-o", str(output), "--count", "3000"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("360 Gaussians of the checkpoint found anchors; 40 on added teeth")
    avatar = read_avatar(output)
    assert avatar.head.name == "flame"
    neutral = ExpressionCode.neutral(coefficient_count=flame.expression_count)
    posed = Splats.from_gaussians(avatar.gaussians(neutral))
    shown = posed.opacity_logits > -10
    truth = read_checkpoint(path, flame).splats.positions
    away = np.linalg.norm(posed.positions[shown][:, None] - truth[None], axis=-1).min(1)
    assert np.median(away) < 2e-3
    smile = neutral._replace(coefficients=neutral.coefficients.clone())
    smile.coefficients[17] = 1.0  # jawOpen
    moved = np.linalg.norm(
        Splats.from_gaussians(avatar.gaussians(smile)).positions - posed.positions, axis=-1
    )
    assert moved[shown].max() > 5e-3


def test_without_flame_it_says_where_to_get_it(
    tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("AVATAR3D_HEADS", str(tmp_path / "none"))
    path = _write_checkpoint(tmp_path)
    assert main(["import", str(path), "-o", str(tmp_path / "a.avatar")]) == 1
    said = capsys.readouterr().err
    assert "rides on FLAME, which is not on this machine" in said
    assert "avatar3d heads add flame FILE" in said
    assert not (tmp_path / "a.avatar").exists()


def test_another_head_will_not_do(tmp_path: Path):
    with pytest.raises(UserError, match=r"rides on FLAME.*'default' has"):
        read_checkpoint(_write_checkpoint(tmp_path), load_head("default"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shape": np.zeros(0, np.float32)}, "no FLAME shape of 1 to 300"),
        ({"shape": np.full(300, np.nan, np.float32)}, "beyond 30 standard deviations"),
        ({"shape": np.full(300, 99, np.float32)}, "beyond 30 standard deviations"),
        ({"static_offset": np.zeros((1, 7, 3), np.float32)}, "does not fit FLAME's vertices"),
        ({"static_offset": np.full((1, 5023, 3), np.inf, np.float32)}, "beyond half a metre"),
    ],
)
def test_wrong_parameters_are_told(flame: HeadModel, tmp_path: Path, changed, message: str):
    path = _write_checkpoint(tmp_path, **changed)
    with pytest.raises(UserError, match=message):
        read_checkpoint(path, flame)


def test_a_plain_ply_is_no_checkpoint(tmp_path: Path):
    write_ply(random_splats(), tmp_path / "a.ply")
    assert not is_checkpoint(tmp_path / "a.ply")
