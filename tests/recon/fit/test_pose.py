"""Posing as torch operations, which GPUs take, against the fused kernel; and refinement with it."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from avatar3d.avatar import Attributes, ExpressionBasis
from avatar3d.fused.gradient import shading
from avatar3d.light import neutral_light
from recon.fit import refine as module
from recon.fit.config import RefineConfig
from recon.fit.pose import plain_gaussians, pose_gaussians
from render.losses import plain_loss
from tests.recon.fit.synthetic import COUNT, scene, turned
from tests.recon.fit.test_refine import refined, start

CONFIG = RefineConfig(iterations=8, iterations_per_frame=0)


def test_torch_operations_pose_as_the_fused_kernel_does() -> None:
    template, binding = scene()
    code = turned(0.3, jawOpen=0.4)
    with torch.no_grad():
        frames = binding.frames(code)
    generator = torch.Generator().manual_seed(0)
    light = neutral_light() + 0.1 * torch.randn(9, 3, generator=generator)
    shade = shading(frames, light, template.lit)

    def posed(pose):
        attributes = Attributes(
            *(getattr(start().attributes, f.name).clone().requires_grad_() for f in fields(Attributes))
        )  # fmt: skip
        count = len(code.coefficients)
        basis = ExpressionBasis(
            mean=torch.zeros(count),
            projection=torch.eye(count, 2),
            limits=torch.tensor([[-1.0, -1.0], [1.0, 1.0]]),
            offsets=torch.full((2, COUNT, 3), 1e-3, requires_grad=True),
            colors=torch.full((2, COUNT, 3), 0.1, requires_grad=True),
        )
        coefficients = code.coefficients.clone().requires_grad_()
        gaussians = pose(frames, code._replace(coefficients=coefficients), attributes, basis, shade)
        random = torch.Generator().manual_seed(1)
        weighted = [
            (value * torch.randn(value.shape, generator=random)).sum() for value in gaussians
        ]
        torch.stack(weighted).sum().backward()
        wanted = [*attributes.__dict__.values(), basis.offsets, basis.colors, coefficients]
        return gaussians, [value.grad for value in wanted]

    for own, fused in zip(posed(plain_gaussians), posed(pose_gaussians)):
        for value, truth in zip(own, fused):
            assert value is not None
            assert truth is not None
            scale = max(float(truth.detach().abs().max()), 1e-6)
            torch.testing.assert_close(value, truth, rtol=0, atol=1e-5 * scale)


def test_refinement_of_torch_operations_is_the_fused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU takes, here on the CPU: the losses and where it ends."""
    fused = refined(CONFIG)
    monkeypatch.setattr(module, "pose_gaussians", plain_gaussians)
    monkeypatch.setattr(module, "photometric_loss", plain_loss)
    plain = refined(CONFIG)
    np.testing.assert_allclose(plain.losses, fused.losses, rtol=2e-3)
    assert plain.losses != fused.losses  # it is the other path
    moved = (plain.attributes.colors - fused.attributes.colors).abs().mean()
    way = (fused.attributes.colors - start().attributes.colors).abs().mean()
    assert moved < 0.05 * way
