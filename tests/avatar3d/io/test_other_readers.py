"""The still formats as programs read them that this project did not write."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import trimesh

from avatar3d.gaussians import SH_C0
from avatar3d.io.khr import read_khr, write_khr
from avatar3d.io.ply import read_ply, write_ply
from avatar3d.io.splats import Splats
from avatar3d.io.spz import read_spz, write_spz
from tests.avatar3d.io.still import covariances, random_splats
from tests.support.javascript import run_tool, validated

WRITERS = {".ply": write_ply, ".spz": write_spz, ".glb": write_khr}


def test_trimesh_reads_the_columns_of_a_ply(tmp_path: Path):
    splats = random_splats()
    write_ply(splats, tmp_path / "a.ply")
    cloud = trimesh.load(tmp_path / "a.ply", process=False)
    columns = cloud.metadata["_ply_raw"]["vertex"]["data"]
    turned = splats.half_turned()
    np.testing.assert_array_equal(np.stack([columns[a] for a in "xyz"], -1), turned.positions)
    np.testing.assert_array_equal(columns["opacity"], turned.opacity_logits)
    np.testing.assert_array_equal(columns["rot_3"], turned.quaternions[:, 3])
    np.testing.assert_array_equal(columns["f_dc_2"], turned.sh[:, 0, 2])


@pytest.mark.parametrize("suffix", WRITERS)
def test_three_reads_the_same_gaussians(tmp_path: Path, suffix: str):
    splats = random_splats()
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](splats, path)
    found = json.loads(run_tool("splats.mjs", path))
    if suffix == ".spz":
        splats = read_spz(path)  # to the format's precision, which its own test knows
    elif suffix == ".ply":
        splats = splats.half_turned()  # three leaves the file's frame alone
    positions = np.array(found["positions"]).reshape(-1, 3)
    np.testing.assert_allclose(positions, splats.positions, atol=1e-7)
    expected = covariances(splats)
    upper = expected[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    np.testing.assert_allclose(
        np.array(found["covariances"]).reshape(-1, 6), upper, atol=2e-5 * np.abs(upper).max()
    )
    opacity = 1 / (1 + np.exp(-splats.opacity_logits[:, None]))
    colors = np.concatenate([(0.5 + SH_C0 * splats.sh[:, 0]).clip(0, 1), opacity], 1) * 255
    np.testing.assert_allclose(np.array(found["colors"]).reshape(-1, 4), colors, atol=1.01)


def test_splat_transform_reads_spz_as_it_reads_ply(tmp_path: Path):
    """Its .ply of our .spz is our .ply: axes, orders and encodings agree with a third party."""
    splats = random_splats(coefficients=4)
    write_spz(splats, tmp_path / "a.spz")
    run_tool("splat-transform", "-q", "-w", tmp_path / "a.spz", tmp_path / "b.ply")
    _same(read_ply(tmp_path / "b.ply"), read_spz(tmp_path / "a.spz"))


def test_splat_transform_reads_ply_and_its_files_are_read(tmp_path: Path):
    splats = random_splats(coefficients=16)
    write_ply(splats, tmp_path / "a.ply")
    run_tool("splat-transform", "-q", "-w", tmp_path / "a.ply", tmp_path / "b.ply")
    read = read_ply(tmp_path / "b.ply")
    for before, after in zip(splats, read):
        np.testing.assert_array_equal(before, after)
    # Its GLB turns a .ply by half a turn about z, so that +Z stays where it was; ours about x.
    run_tool("splat-transform", "-q", "-w", tmp_path / "a.ply", tmp_path / "b.glb")
    back = np.array([-1, 1, -1], np.float32)
    turned = read_khr(tmp_path / "b.glb")
    np.testing.assert_allclose(turned.positions * back, splats.positions, atol=1e-6)
    np.testing.assert_allclose(
        covariances(turned) * back[:, None] * back, covariances(splats), atol=1e-9
    )
    np.testing.assert_allclose(turned.opacity_logits, splats.opacity_logits, atol=1e-4)


def test_khr_validates(tmp_path: Path):
    write_khr(random_splats(coefficients=4), tmp_path / "a.glb")
    report = validated(tmp_path / "a.glb")
    problems = [m for m in report["issues"]["messages"] if m["severity"] < 2]
    # The validator does not know the release candidate: attribute names with its prefix are to it
    # neither standard nor custom. Everything else must be sound.
    unknown = [m for m in problems if "KHR_gaussian_splatting:" in m["pointer"]]
    assert {m["code"] for m in unknown} <= {"MESH_PRIMITIVE_INVALID_ATTRIBUTE"}
    assert [m for m in problems if m not in unknown and "EXTENSION" not in m["code"]] == []


def test_trimesh_opens_a_khr_file_as_points(tmp_path: Path):
    splats = random_splats()
    write_khr(splats, tmp_path / "a.glb")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scene = trimesh.load(tmp_path / "a.glb")
    (points,) = scene.geometry.values()  # type: ignore[attr-defined]
    np.testing.assert_allclose(points.vertices, splats.positions, atol=1e-6)


def _same(a: Splats, b: Splats) -> None:
    np.testing.assert_allclose(a.positions, b.positions, atol=1e-6)
    np.testing.assert_allclose(covariances(a), covariances(b), rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(a.opacity_logits, b.opacity_logits, atol=1e-3)
    count = b.sh.shape[1]
    np.testing.assert_allclose(a.sh[:, :count], b.sh, atol=1e-5)
