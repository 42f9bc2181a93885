"""Which backend draws, and what can be checked of `cuda` on machines without a GPU."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from avatar3d.camera import Camera
from avatar3d.gaussians import Gaussians
from render.backends import cuda
from render.backends.cpu import CpuBackend
from render.backends.cuda import CudaBackend, intrinsics_into_view
from render.rasterize import _choose, _say_once, rasterize
from tests.render.scenes import random_gaussians, tilted_camera


def tensor_like(device: str, dtype=torch.float32) -> Any:
    return SimpleNamespace(is_cuda=device == "cuda", dtype=dtype)


@pytest.fixture
def machine(monkeypatch):
    """Says which backends can run, whatever this machine has."""

    def says(cpu: str | None = None, cuda: str | None = None):
        monkeypatch.setattr(CpuBackend, "why_unavailable", lambda self: cpu)
        monkeypatch.setattr(CudaBackend, "why_unavailable", lambda self: cuda)

    _say_once.cache_clear()
    yield says
    _say_once.cache_clear()


@pytest.mark.parametrize(
    ("device", "dtype", "missing", "chosen"),
    [
        ("cuda", torch.float32, {}, "cuda"),
        ("cpu", torch.float32, {}, "cpu"),
        ("cpu", torch.float64, {}, "reference"),
        ("cuda", torch.float64, {}, "reference"),
        ("cuda", torch.float32, {"cuda": "no gsplat"}, "cpu"),
        ("cuda", torch.float32, {"cuda": "no gsplat", "cpu": "no numba"}, "reference"),
        ("cpu", torch.float32, {"cpu": "no numba"}, "reference"),
    ],
)
def test_auto_takes_the_fastest_that_can_run(machine, device, dtype, missing, chosen):
    machine(**missing)
    assert _choose("auto", tensor_like(device, dtype)).name == chosen


def test_auto_says_once_why_it_fell_back(machine, caplog):
    machine(cuda="gsplat 1.4.0 is older than 1.5")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            _choose("auto", tensor_like("cuda"))
    assert caplog.text.count("gsplat 1.4.0 is older than 1.5") == 1
    assert "'cuda'" in caplog.text


@pytest.mark.parametrize(
    ("version", "fit"), [("1.4.0", False), ("1.5.0", True), ("1.5.3+pt24", True), ("2.0", True)]
)
def test_gsplat_must_be_new_enough(monkeypatch, version, fit):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    reason = CudaBackend().why_unavailable()
    assert (reason is None) == fit
    if reason is not None:
        assert version in reason


def test_gradient_of_the_intrinsics_can_go_through_the_view():
    gaussians = random_gaussians(60, dtype=torch.float64)
    camera = tilted_camera(40, 30, dtype=torch.float64)

    def gradients(rerouted: bool):
        viewmat, K = (value.clone().requires_grad_() for value in (camera.viewmat, camera.K))
        through = intrinsics_into_view(viewmat, K) if rerouted else (viewmat, K)
        picture = rasterize(gaussians, Camera(*through, 40, 30), backend="reference").colors
        return picture.detach(), *torch.autograd.grad(picture.square().sum(), (viewmat, K))

    for direct, rerouted in zip(gradients(False), gradients(True)):
        torch.testing.assert_close(rerouted, direct)


@pytest.mark.parametrize("batch", [(), (3,), (2, 2)])
@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_cuda_hands_gsplat_all_pictures_in_one_call(monkeypatch, batch, mode):
    """With the reference in gsplat's place, behind gsplat's documented shapes."""
    calls = []

    def rasterization(
        means, quats, scales, opacities, colors, *, viewmats, Ks, width, height, near_plane, eps2d,
        backgrounds, rasterize_mode, packed,
    ):  # fmt: skip
        calls.append(means.shape)
        count, person = means.shape[-2], means.shape[:-2]
        assert quats.shape == (*person, count, 4)
        assert scales.shape == (*person, count, 3)
        assert opacities.shape == (*person, count)
        assert colors.shape == (*person, count, 3)
        assert viewmats.shape == (*person, 1, 4, 4)
        assert Ks.shape == (*person, 1, 3, 3)
        assert backgrounds.shape == (*person, 1, 3)
        assert (near_plane, eps2d, packed) == (0.01, 0.3, False)
        drawn = rasterize(
            Gaussians(*(value[:, None] for value in (means, quats, scales, opacities, colors))),
            Camera(viewmats, Ks, width, height),
            background=backgrounds, mode=rasterize_mode, backend="reference",
        )  # fmt: skip
        return drawn.colors, drawn.alpha[..., None], {}

    monkeypatch.setattr(cuda, "_device", lambda home: home.device)
    monkeypatch.setattr(
        cuda, "require", lambda *_, **__: SimpleNamespace(rasterization=rasterization)
    )
    monkeypatch.setattr(CudaBackend, "why_unavailable", lambda self: None)
    gaussians, camera = random_gaussians(40), tilted_camera(30, 20)
    if batch:
        shift = torch.linspace(0, 0.05, math.prod(batch)).view(*batch, 1, 1)
        gaussians = gaussians._replace(means=gaussians.means + shift)
    leaves = Gaussians(*(value.requires_grad_() for value in gaussians))
    background = torch.tensor([0.1, 0.5, 0.9])
    results = []
    for backend in ("cuda", "reference"):
        K = camera.K.clone().requires_grad_()
        picture = rasterize(
            leaves, Camera(camera.viewmat, K, 30, 20), background=background, mode=mode,
            backend=backend,
        )  # fmt: skip
        gradients = torch.autograd.grad(picture.colors.square().sum(), (*leaves, K))
        results.append((picture.colors.detach(), picture.alpha.detach(), *gradients))
    assert len(calls) == 1
    for value, truth in zip(*results):
        torch.testing.assert_close(value, truth, rtol=1e-3, atol=1e-4)
