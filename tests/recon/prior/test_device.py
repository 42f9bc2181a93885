"""Training away from the CPU: in mixed precision, with nothing left behind in memory, on a GPU."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import recon.fit.refine as refining
import recon.fit.steps as stepping
import recon.prior.features as features
import recon.prior.meta as meta
import recon.prior.prior as answering
from avatar3d.binding import SparseMap
from avatar3d.errors import UserError
from recon.fit.config import RefineConfig
from recon.fit.refine import refine
from recon.prior import gpu
from recon.prior.episodes import Episode, save_episode
from recon.prior.features import anchor_features
from recon.prior.meta import Judge
from recon.prior.network import AnchorNetwork
from recon.prior.prior import LearnedSteps, apply_residuals
from recon.prior.regions import REGIONS
from recon.prior.surface import surface_on
from recon.prior.train import TrainConfig, train
from render.backends.cuda import CudaBackend
from render.rasterize import Rendering
from tests.recon.fit import synthetic as scene
from tests.recon.prior.synthetic import episode

META = torch.device("meta")
CONFIG = TrainConfig(
    steps=12, queries=1, anchors=scene.COUNT, refined_share=0.25, refine_steps=3, warm_up=1,
    device="cpu",
)  # fmt: skip
NO_GPU = CudaBackend().why_unavailable()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    path = tmp_path_factory.mktemp("episodes") / "ada-clip-0.safetensors"
    save_episode(episode(2, "ada"), path)
    return [path]


def test_mixed_precision_learns_what_float32_learns(files: list[Path]) -> None:
    """bfloat16 has three digits: the losses differ by less than one in a hundred, and fall alike."""
    exact = train(files, CONFIG).losses
    mixed = train(files, replace(CONFIG, bfloat16=True)).losses
    assert mixed != exact
    np.testing.assert_allclose(mixed, exact, rtol=0.02)
    assert np.mean(mixed[-4:]) < np.mean(mixed[:4])


def test_the_answer_leaves_nothing_in_memory(away: Episode) -> None:
    """Meta tensors hold no numbers, but refuse to meet those of a CPU, as a GPU's do."""
    start = answer(away)
    for value in (*start.attributes.__dict__.values(), *start.confidence, start.light):
        assert value is not None
        assert value.device == META


def test_its_judgement_leaves_nothing_in_memory(away: Episode) -> None:
    start = answer(away)
    loss = Judge(away, scene.scene().template).loss(start, 0, 1)
    assert loss.device == META
    loss.backward()


def test_refinement_leaves_nothing_in_memory(
    away: Episode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "usual_size", lambda gradient, confidence: 1.0)
    monkeypatch.setattr(refining, "_seen", lambda start: np.arange(0, scene.COUNT, 2))
    template = scene.scene().template
    config = RefineConfig(iterations=6, max_iterations=6, refine_codes_after=0.3, close_ups=0.0)
    refined = refine(
        template,
        Judge(away, template).binding,
        away.start,
        [view.observation(away.valid) for view in away.support],
        away.support_codes,
        away.camera,
        config,
    )
    assert refined.attributes.colors.device == META
    assert refined.codes.coefficients.device == META


def test_a_tensor_left_behind_is_noticed(away: Episode) -> None:
    there, codes = scene.scene().template, away.support_codes.coefficients
    with pytest.raises(RuntimeError, match="device"):
        anchor_features(away.start, surface_on(there, torch.device("cpu")), codes)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Episode:
    """An episode on the meta device, where what needs numbers is left out."""

    one = episode(2)

    def product(self: SparseMap, dense: Tensor) -> Tensor:
        assert self.matrix.device == dense.device
        return dense.narrow(-2, 0, 1).expand(*dense.shape[:-2], self.matrix.shape[0], -1)

    def drawn(gaussians, camera, background):
        assert all(value.device == META for value in (*gaussians, camera.K, background))
        touched = torch.stack([value.sum() for value in (*gaussians, camera.viewmat)])
        colors = touched.sum().expand(camera.height, camera.width, 3)
        return Rendering(colors, colors[..., 0], None)

    for kind in (float, int):
        name = f"__{kind.__name__}__"
        read = getattr(Tensor, name)
        number = lambda value, kind=kind, read=read: kind() if value.is_meta else read(value)  # noqa: E731
        monkeypatch.setattr(Tensor, name, number)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # meta knows none
    monkeypatch.setattr(features, "usual_skin", lambda start, surface: torch.zeros(3, device=META))
    monkeypatch.setattr(SparseMap, "__call__", product)
    monkeypatch.setattr(answering, "_times", lambda values, factors: values)
    for module in (meta, refining):
        monkeypatch.setattr(module, "rasterize", drawn)
    return one.on(META)


def answer(away: Episode):
    surface = surface_on(scene.scene().template, META)
    network = AnchorNetwork().to(META)
    steps = LearnedSteps(*(torch.zeros(len(REGIONS), device=META) for _ in range(3)))
    codes = away.support_codes.coefficients
    residuals = network(anchor_features(away.start, surface, codes), surface)
    return apply_residuals(away.start, residuals, surface, steps, codes)


@pytest.mark.skipif(NO_GPU is None, reason="there is a GPU here")
def test_without_a_gpu_it_is_said(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"cuda cannot run here.*use cpu"):
        train(files, replace(CONFIG, device="cuda"))
    assert gpu.main() == 1
    assert "No GPU" in capsys.readouterr().out


@pytest.mark.skipif(NO_GPU is not None, reason=f"needs a GPU: {NO_GPU}")
def test_a_gpu_learns_what_the_cpu_learns(files: list[Path]) -> None:
    here = train(files, CONFIG).losses
    for bfloat16, tolerance in ((False, 5e-3), (True, 3e-2)):
        there = train(files, replace(CONFIG, device="cuda", bfloat16=bfloat16)).losses
        np.testing.assert_allclose(there, here, rtol=tolerance)
