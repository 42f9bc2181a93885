"""The speed benchmarks: their figures are there, and count what they say. No bounds on times."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatar3d import cli
from avatar3d.codes import ExpressionCode
from avatar3d.gaussians import Gaussians
from recon.benchmark.speed import frame, gpu, raster
from recon.benchmark.speed.first_call import first_call_seconds
from recon.benchmark.speed.frame import FrameConfig, run_frame
from recon.benchmark.speed.limit import (
    BACKWARD_INSTRUCTIONS,
    FORWARD_INSTRUCTIONS,
    count_work,
    limit_ms,
    vector_peak,
)
from recon.benchmark.speed.raster import RasterConfig, run_raster
from recon.benchmark.speed.scene import Scene, avatar_scene, synthetic_head
from render.backends import base, reference
from render.backends.cpu.stages import stage_seconds
from render.backends.cuda import CudaBackend
from render.rasterize import rasterize
from tests.render.scenes import random_gaussians, tilted_camera
from tests.support.avatars import plain_avatar

TINY = RasterConfig(
    sizes_px=(48, 64),
    counts=(400, raster.SUMMARY_COUNT),
    rounds=2,
    seconds=0,
    reference_sizes_px=(48,),
    first_call=False,
)


@pytest.fixture(scope="module")
def raster_report(tmp_path_factory: pytest.TempPathFactory):
    pictures = tmp_path_factory.mktemp("pictures")
    return run_raster(plain_avatar(1500), TINY, pictures=pictures), pictures


@pytest.fixture(scope="module")
def frame_report():
    return run_frame(
        plain_avatar(1500),
        FrameConfig(sizes_px=(32, 64), codes=2, levels=(700, 2000), seconds=0, fit_count=500),
    )


def plain_count(gaussians: Gaussians, camera) -> tuple[int, int]:
    """Pairs and block-vectors from the definition: all pixels against all splats."""
    values = Gaussians(*(value.double() for value in gaussians))
    splats = reference.project(
        values, camera.viewmat.double(), camera.K.double(), camera.width, camera.height, False
    )
    y, x = torch.meshgrid(
        torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij"
    )
    dx = x[..., None].double() - splats.means_px[:, 0]
    dy = y[..., None].double() - splats.means_px[:, 1]
    xx, xy, yy = splats.conics.unbind(-1)
    falloff = torch.exp(-0.5 * (xx * dx**2 + yy * dy**2) - xy * dx * dy)
    alpha = (splats.opacities * falloff).clamp(max=base.MAX_ALPHA)
    reached = alpha >= base.ALPHA_THRESHOLD  # [H, W, M]
    after = torch.cumprod(torch.where(reached, 1 - alpha, 1.0), dim=-1)
    before = torch.cat([torch.ones_like(after[..., :1]), after[..., :-1]], dim=-1)
    pairs = reached & (after > base.TRANSMITTANCE_THRESHOLD)
    looked_at = reached & (before > base.TRANSMITTANCE_THRESHOLD)
    vectors = 0
    for top in range(0, camera.height, 4):
        for left in range(0, camera.width, 4):
            block = looked_at[top : top + 4, left : left + 4]
            vectors += int(block.flatten(0, 1).any(dim=0).sum())
    return int(pairs.sum()), vectors


@pytest.mark.parametrize("count", [0, 1, 300])
def test_work_is_what_a_plain_count_finds(count: int):
    camera = tilted_camera(41, 30)  # blocks at the edges are not whole
    gaussians = random_gaussians(count, seed=3)
    counted = count_work(Scene("cloud", gaussians, camera))
    assert counted == plain_count(gaussians, camera)
    assert (counted.pairs > 0) == (count > 0)


def test_pixels_that_are_full_take_no_more():
    """Opaque splats behind each other: most of what reaches a pixel is hidden there."""
    camera = tilted_camera(40, 32)
    gaussians = random_gaussians(200, seed=5, scale_m=0.1)
    gaussians = gaussians._replace(opacities=torch.full((200,), 0.98))
    counted = count_work(Scene("cloud", gaussians, camera))
    assert counted == plain_count(gaussians, camera)
    assert counted.pairs < 0.5 * 200 * 40 * 32


def test_the_limit_follows_from_count_and_peak():
    assert limit_ms(block_vectors=1000, instructions=20, peak=1e6) == pytest.approx(20.0)
    assert vector_peak() > 0


def test_the_head_is_fixed_and_covers_half_of_the_picture():
    scene = synthetic_head(3000).resized(128)
    again = synthetic_head(3000)
    for value, other in zip(scene.gaussians, again.gaussians):
        assert torch.equal(value, other)
        assert value.dtype == torch.float32
    alpha = rasterize(scene.gaussians, scene.camera).alpha
    assert 0.45 < float((alpha > 0.5).float().mean()) < 0.6


def test_the_heads_gaussians_lie_flat_on_it():
    gaussians = synthetic_head(4000).gaussians
    normals = reference.rotation_matrices(gaussians.quaternions)[..., 2]
    outward = torch.nn.functional.normalize(gaussians.means, dim=-1)
    assert float((normals * outward).sum(-1).mean()) > 0.9
    assert (gaussians.scales[:, 2] < gaussians.scales[:, 0]).float().mean() > 0.9


def test_stages_are_told_apart_and_only_when_asked():
    scene = synthetic_head(300).resized(32)
    leaves = Gaussians(*(value.clone().requires_grad_() for value in scene.gaussians))
    with stage_seconds() as seconds:
        image = rasterize(leaves, scene.camera, backend="cpu").colors
    assert set(seconds) == {"prepare", "project", "sort", "bin", "blend"}
    drawn = dict(seconds)
    image.sum().backward()
    assert seconds == drawn
    with stage_seconds() as seconds:
        rasterize(leaves, scene.camera, backend="cpu").colors.sum().backward()
    assert set(seconds) == set(raster.STAGES)
    assert min(seconds.values()) >= 0


def test_raster_rows_hold_every_figure(raster_report):
    report, _ = raster_report
    assert [(row["scene"], row["gaussians"], row["size"]) for row in report.rows] == [
        ("head", 400, 48), ("head", 400, 64), ("head", 30_000, 48), ("head", 30_000, 64),
        ("avatar", 1500, 48), ("avatar", 1500, 64),
    ]  # fmt: skip
    for row in report.rows:
        assert row["forward_ms"] <= row["forward_median_ms"]
        both = (FORWARD_INSTRUCTIONS + BACKWARD_INSTRUCTIONS) / FORWARD_INSTRUCTIONS
        assert row["limit_forward_backward_ms"] == pytest.approx(both * row["limit_forward_ms"])
        assert row["fraction_of_limit"] == row["limit_forward_ms"] / row["forward_ms"]
        assert ("forward_over_reference" in row) == (row["size"] == 48)
        figures = {key: value for key, value in row.items() if key != "scene"}
        assert all(math.isfinite(value) and value > 0 for value in figures.values()), figures


def test_raster_summary_names_its_figures(raster_report):
    report, _ = raster_report
    for prefix in ("", "avatar_"):
        for size in (48, 64):
            assert report.summary[f"{prefix}forward_{size}_ms"] > 0
            assert report.summary[f"{prefix}forward_backward_{size}_ms"] > 0
            assert report.summary[f"{prefix}fraction_of_limit_{size}"] > 0
        assert report.summary[f"{prefix}forward_48_over_reference"] > 0
        assert report.summary[f"{prefix}forward_backward_48_over_reference"] > 0
        assert f"{prefix}forward_64_over_reference" not in report.summary
    head = next(row for row in report.rows if row["gaussians"] == 30_000 and row["size"] == 64)
    assert report.summary["forward_64_ms"] == head["forward_ms"]


def test_what_is_absent_is_named(raster_report, monkeypatch: pytest.MonkeyPatch):
    report, _ = raster_report
    for name, reason in report.settings["absent"].items():
        assert f"{name} is absent: {reason}." in report.markdown()
        assert not any(key.startswith(name) for row in report.rows for key in row)
    if not torch.cuda.is_available():
        assert "gsplat_cuda" in report.settings["absent"]
        assert "There is no GPU here" in report.markdown()


def test_raster_leaves_pictures_and_json(raster_report, tmp_path: Path):
    report, pictures = raster_report
    assert len(list(pictures.iterdir())) == len(report.rows)
    with Image.open(pictures / "head_30000_64.png") as picture:
        assert picture.size == (64, 64)
        assert 0.1 < (np.asarray(picture).min(-1) < 200).mean() < 0.9
    report.write_json(tmp_path / "raster.json")
    read = json.loads((tmp_path / "raster.json").read_text())
    assert read["name"] == "raster"
    assert read["summary"] == report.summary
    assert read["settings"]["config"]["sizes_px"] == [48, 64]


def test_frame_figures(frame_report):
    summary = frame_report.summary
    for size in (32, 64):
        for figure in (f"code_to_picture_{size}_fps", f"fit_{size}_its"):
            assert summary[figure] > 0
        assert (
            summary[f"code_to_picture_{size}_median_fps"] <= summary[f"code_to_picture_{size}_fps"]
        )
        for stage in ("pose", "draw", "fit_loss", "fit_backward", "fit_adam"):
            assert summary[f"{stage}_{size}_ms"] > 0
        assert summary[f"level_700_code_to_picture_{size}_fps"] > 0
    drawn = [row["gaussians"] for row in frame_report.rows if row["scene"] != "head"]
    assert drawn == [700, 700, 1500, 1500]  # a level of 2,000 would be the avatar itself
    markdown = frame_report.markdown()
    assert "frames/s" in markdown
    assert "iterations/s" in markdown


def test_the_measured_fit_learns():
    """Else Adam would be timed on gradients that are nothing."""
    scene = synthetic_head(500).resized(32)
    losses: list[float] = []
    original = frame.photometric_loss

    def watched(*arguments):
        loss = original(*arguments)
        losses.append(float(loss.detach()))
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame, "photometric_loss", watched)
        frame.measure_fit(scene, seconds=0, steps=10)
    assert losses[-1] < 0.5 * losses[0]


def test_the_avatar_stands_in_the_picture():
    scene = avatar_scene(plain_avatar(1500)).resized(64)
    alpha = rasterize(scene.gaussians, scene.camera).alpha
    assert 0.1 < float(alpha.mean()) < 0.9


def test_the_first_call_compiles_and_the_next_does_not():
    cold, warm = first_call_seconds()
    assert cold > warm > 0


def test_commands_write_their_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(raster, "QUICK", TINY)
    monkeypatch.setattr(
        frame, "QUICK", FrameConfig(sizes_px=(32,), codes=2, seconds=0, fit_count=300)
    )
    avatar = tmp_path / "plain.avatar"
    plain_avatar(1500).save(avatar)
    for name in ("raster", "frame"):
        written = tmp_path / f"{name}.json"
        arguments = ["benchmark", name, "--quick", "--avatar", str(avatar), "--json", str(written)]
        table = tmp_path / f"{name}.md"
        assert cli.main([*arguments, "--markdown", str(table)]) == 0
        assert json.loads(written.read_text())["name"] == name
        assert table.read_text().startswith(f"# {name}\n")
    assert cli.main(["benchmark", "raster", "--avatar", str(tmp_path / "none.avatar")]) == 1
    assert "none.avatar" in capsys.readouterr().err
    assert cli.main(["benchmark", "fewshot"]) == 1
    assert "--data" in capsys.readouterr().err


def test_without_a_gpu_its_benchmark_says_so(capsys: pytest.CaptureFixture[str]):
    if CudaBackend().why_unavailable() is None:
        pytest.skip("there is a GPU here")
    assert gpu.main() == 1
    assert capsys.readouterr().out.startswith("No GPU is present here")


def test_an_avatar_moved_to_a_device_poses_as_before():
    avatar = plain_avatar(300)
    codes = ExpressionCode.neutral(3, coefficient_count=avatar.head.expression_count)
    codes.coefficients[:, 5] = torch.linspace(0, 1, 3)
    there = gpu.OnDevice(avatar, "cpu")
    for value, truth in zip(there.gaussians(codes), avatar.gaussians(codes, path="torch")):
        assert torch.equal(value, truth)
    assert gpu.moved(avatar.binding, "meta").triangles.is_meta
