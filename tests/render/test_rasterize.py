"""The cpu backend against the readable reference: values, gradients, and laws of both.

Tolerances. A contribution is dropped where alpha < 1/255 and a pixel ends where its transmittance
would fall to 1e-4. Rounding moves single pixels across these edges, which changes them by up to
1/255 of a colour (and the end of a pixel by 1e-4), so values are compared to 5e-3 everywhere and
to 1e-5 on average. A flip also adds or drops one term of a gradient: gradients are compared by
the norm of their difference.
"""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d.camera import Camera
from avatar3d.errors import UserError
from avatar3d.gaussians import Gaussians
from render.rasterize import _say_once, rasterize
from tests.render.scenes import random_gaussians, tilted_camera

NAMES = ("means", "quaternions", "scales", "opacities", "colors", "viewmat", "K", "background")


def gradients(gaussians, camera, background, backend, dtype, **options):
    """Picture and the gradients of one fixed random linear function of it."""
    tensors = (*gaussians, camera.viewmat, camera.K, background)
    leaves = [value.to(dtype).clone().requires_grad_() for value in tensors]
    camera = Camera(leaves[5], leaves[6], camera.width, camera.height)
    rendering = rasterize(
        Gaussians(*leaves[:5]), camera, background=leaves[7], backend=backend, **options
    )
    generator = torch.Generator().manual_seed(9)
    total = torch.zeros((), dtype=dtype)
    for picture in rendering:
        if picture is not None:
            weights = torch.randn(picture.shape, generator=generator)
            total = total + (picture * weights.to(dtype)).sum()
    return rendering, torch.autograd.grad(total, leaves)


def assert_same(fast, truth):
    difference = (fast.double() - truth.double()).abs()
    assert difference.max() < 5e-3
    assert difference.mean() < 1e-5


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_cpu_backend_follows_the_reference(mode, channels):
    # Scales from a fraction of a pixel to a quarter of the picture.
    small = random_gaussians(400, seed=1, channels=channels, scale_m=0.004)
    large = random_gaussians(60, seed=2, channels=channels, scale_m=0.03)
    gaussians = Gaussians(*(torch.cat(pair) for pair in zip(small, large)))
    camera, background = tilted_camera(), torch.linspace(0.2, 0.9, channels)
    fast, fast_gradients = gradients(gaussians, camera, background, "cpu", torch.float32, mode=mode)
    truth, true_gradients = gradients(
        gaussians, camera, background, "reference", torch.float64, mode=mode
    )
    assert 0.5 < truth.alpha.mean() < 0.99
    assert_same(fast.colors, truth.colors)
    assert_same(fast.alpha, truth.alpha)
    for name, fast_gradient, gradient in zip(NAMES, fast_gradients, true_gradients):
        error = (fast_gradient.double() - gradient).norm() / gradient.norm()
        assert error < 2e-3, f"{name}: relative error {error:.1e}"


def test_depth_and_its_gradient_follow_the_reference():
    gaussians, camera, background = random_gaussians(300, seed=3), tilted_camera(), torch.zeros(3)
    fast, fast_gradients = gradients(
        gaussians, camera, background, "cpu", torch.float32, return_depth=True
    )
    truth, true_gradients = gradients(
        gaussians, camera, background, "reference", torch.float64, return_depth=True
    )
    assert fast.depth is not None
    assert truth.depth is not None
    solid = truth.alpha > 0.1  # a flip changes a faint pixel's mean a lot
    assert_same(fast.depth[solid], truth.depth[solid])
    assert truth.depth[solid].min() > 0.4
    assert truth.depth[solid].max() < 1.2
    assert (truth.depth[truth.alpha == 0] == 0).all()
    for name, fast_gradient, gradient in zip(NAMES, fast_gradients, true_gradients):
        error = (fast_gradient.double() - gradient).norm() / gradient.norm()
        assert error < 5e-3, f"{name}: relative error {error:.1e}"


def test_reference_gradients_are_those_of_finite_differences():
    # Few, soft and faint Gaussians: no pixel stands near an edge within the step.
    gaussians = random_gaussians(4, seed=5, dtype=torch.float64, scale_m=0.06)
    gaussians = gaussians._replace(opacities=gaussians.opacities * 0.7)
    camera = tilted_camera(8, 6, dtype=torch.float64)
    tensors = [
        value.requires_grad_()
        for value in (*gaussians, camera.viewmat, camera.K, torch.rand(3, dtype=torch.float64))
    ]

    def picture(*values):
        view = Camera(values[5], values[6], 8, 6)
        rendering = rasterize(Gaussians(*values[:5]), view, background=values[7])
        return rendering.colors, rendering.alpha

    assert torch.autograd.gradcheck(picture, tensors, eps=1e-6, atol=1e-6)


def test_gradients_do_not_depend_on_threads():
    gaussians, camera, background = random_gaussians(500, seed=6), tilted_camera(), torch.rand(3)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            results.append(gradients(gaussians, camera, background, "cpu", torch.float32))
    finally:
        torch.set_num_threads(threads)
    for rendering, values in results[1:]:
        assert torch.equal(rendering.colors, results[0][0].colors)
        for name, value, expected in zip(NAMES, values, results[0][1]):
            assert torch.equal(value, expected), name


@pytest.mark.parametrize("backend", ["reference", "cpu"])
class TestLaws:
    @settings(deadline=None, max_examples=10)
    @given(seed=st.integers(0, 1000), weight=st.floats(0, 1))
    def test_picture_is_linear_in_the_background(self, backend, seed, weight):
        gaussians, camera = random_gaussians(50, seed), tilted_camera(24, 20)
        first, second = torch.rand(2, 3, generator=torch.Generator().manual_seed(seed))
        draw = lambda background: rasterize(  # noqa: E731
            gaussians, camera, background=background, backend=backend
        )
        mixed = draw(weight * first + (1 - weight) * second).colors
        expected = weight * draw(first).colors + (1 - weight) * draw(second).colors
        torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=0)
        over_black = draw(torch.zeros(3))
        expected = over_black.colors + (1 - over_black.alpha[..., None]) * first
        torch.testing.assert_close(draw(first).colors, expected, atol=1e-5, rtol=0)

    @settings(deadline=None, max_examples=10)
    @given(seed=st.integers(0, 1000))
    def test_order_of_the_input_does_not_matter(self, backend, seed):
        gaussians, camera = random_gaussians(80, seed), tilted_camera(24, 20)
        order = torch.randperm(80, generator=torch.Generator().manual_seed(seed))
        shuffled = Gaussians(*(value[order] for value in gaussians))
        first = rasterize(gaussians, camera, backend=backend)
        second = rasterize(shuffled, camera, backend=backend)
        torch.testing.assert_close(first.colors, second.colors, atol=1e-6, rtol=0)

    @settings(deadline=None, max_examples=10)
    @given(
        seed=st.integers(0, 1000),
        shift=st.tuples(*[st.floats(-2, 2)] * 3),
    )
    def test_moving_scene_and_camera_together_changes_nothing(self, backend, seed, shift):
        gaussians, camera = random_gaussians(50, seed), tilted_camera(24, 20)
        offset = torch.tensor(shift)
        viewmat = camera.viewmat.clone()
        viewmat[:3, 3] -= viewmat[:3, :3] @ offset
        moved = gaussians._replace(means=gaussians.means + offset)
        first = rasterize(gaussians, camera, backend=backend)
        second = rasterize(moved, Camera(viewmat, camera.K, 24, 20), backend=backend)
        # Rounding of the moved means (1e-7 of 2 m, about 1e-4 px) may flip a faint contribution.
        assert (first.colors - second.colors).abs().max() < 6e-3
        assert (first.colors - second.colors).abs().mean() < 2e-4

    def test_length_of_quaternions_does_not_matter(self, backend):
        gaussians, camera = random_gaussians(50), tilted_camera(24, 20)
        longer = gaussians._replace(quaternions=3.7 * gaussians.quaternions)
        first = rasterize(gaussians, camera, backend=backend)
        second = rasterize(longer, camera, backend=backend)
        torch.testing.assert_close(first.colors, second.colors, atol=1e-5, rtol=0)

    def test_nothing_to_draw_leaves_the_background(self, backend):
        camera, background = tilted_camera(24, 20), torch.rand(3)
        behind = random_gaussians(10)._replace(means=torch.tensor([[0.5, 0.3, 2.0]]).expand(10, 3))
        faint = random_gaussians(10)._replace(opacities=torch.full((10,), 0.003))
        for gaussians in (behind, faint, random_gaussians(0)):
            leaf = gaussians.means.clone().requires_grad_()
            rendering = rasterize(
                gaussians._replace(means=leaf), camera, background=background, backend=backend,
                return_depth=True,
            )  # fmt: skip
            assert torch.equal(rendering.colors, background.expand(20, 24, 3))
            assert (rendering.alpha == 0).all()
            assert (rendering.depth == 0).all()
            rendering.colors.sum().backward()
            assert leaf.grad is None or (leaf.grad == 0).all()

    def test_one_splat_is_the_formula(self, backend):
        # A ball of 1 cm at 1 m through a focal length of 100 px: sigma^2 = 1 + 0.3 px^2.
        gaussians = Gaussians(
            torch.zeros(1, 3), torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), 0.01),
            torch.tensor([0.8]), torch.tensor([[1.0, 0.5, 0.25]]),
        )  # fmt: skip
        viewmat = torch.eye(4)
        viewmat[2, 3] = 1.0
        K = torch.tensor([[100.0, 0, 8.5], [0, 100.0, 8.5], [0, 0, 1]])
        rendering = rasterize(gaussians, Camera(viewmat, K, 17, 17), backend=backend)
        x = torch.arange(17) + 0.5 - 8.5
        alpha = 0.8 * torch.exp(-(x[:, None] ** 2 + x**2) / (2 * 1.3))
        alpha[alpha < 1 / 255] = 0
        torch.testing.assert_close(rendering.alpha, alpha, atol=1e-6, rtol=0)
        expected = alpha[..., None] * gaussians.colors[0]
        torch.testing.assert_close(rendering.colors, expected, atol=1e-6, rtol=0)
        thinned = rasterize(
            gaussians, Camera(viewmat, K, 17, 17), backend=backend, mode="antialiased"
        )
        assert thinned.alpha[8, 8].item() == pytest.approx(0.8 / 1.3, abs=1e-6)


def test_cpu_backend_survives_senseless_numbers():
    gaussians, camera = random_gaussians(64), tilted_camera(40, 40)
    values = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e38, -1e38, 0.0])
    for field, value in enumerate(gaussians):
        if field == 4:  # colours pass through: a NaN belongs in the picture
            continue
        broken = value.clone()
        broken[: len(values)] = values.view(-1, *[1] * (value.ndim - 1))
        leaves = [other.clone().requires_grad_() for other in gaussians]
        leaves[field] = broken.requires_grad_()
        rendering = rasterize(Gaussians(*leaves), camera, backend="cpu")
        rendering.colors.sum().backward()
        assert torch.isfinite(rendering.alpha).all(), Gaussians._fields[field]


def test_batches_broadcast():
    first, second = random_gaussians(30, 1), random_gaussians(30, 2)
    both = Gaussians(*(torch.stack(pair) for pair in zip(first, second)))
    camera = tilted_camera(24, 20)
    cameras = Camera(
        torch.stack([camera.viewmat, camera.viewmat @ torch.diag(torch.tensor([-1.0, 1, -1, 1]))]),
        camera.K,
        24,
        20,
    )
    pictures = rasterize(both, cameras, background=torch.rand(3), return_depth=True)
    assert pictures.colors.shape == (2, 20, 24, 3)
    assert pictures.alpha.shape == (2, 20, 24)
    assert pictures.depth is not None
    assert pictures.depth.shape == (2, 20, 24)
    alone = rasterize(second, Camera(cameras.viewmat[1], camera.K, 24, 20))
    torch.testing.assert_close(pictures.alpha[1], alone.alpha)
    grid = rasterize(
        Gaussians(*(value[:, None] for value in both)), cameras, background=torch.rand(2, 1, 3)
    )
    assert grid.colors.shape == (2, 2, 20, 24, 3)
    torch.testing.assert_close(grid.alpha[1, 1], alone.alpha)


def test_harmonics_of_degree_zero_are_plain_colours():
    gaussians, camera = random_gaussians(30), tilted_camera(24, 20)
    coefficients = (gaussians.colors[:, None, :] - 0.5) / 0.28209479177387814
    plain = rasterize(gaussians, camera)
    harmonic = rasterize(gaussians._replace(colors=coefficients), camera, sh_degree=0)
    torch.testing.assert_close(harmonic.colors, plain.colors, atol=1e-5, rtol=0)
    padded = torch.cat([coefficients, torch.zeros(30, 15, 3)], dim=1)
    harmonic = rasterize(gaussians._replace(colors=padded), camera, sh_degree=3)
    torch.testing.assert_close(harmonic.colors, plain.colors, atol=1e-5, rtol=0)


def test_wrong_use_is_named():
    gaussians, camera = random_gaussians(5), tilted_camera(8, 8)
    for field in ("quaternions", "scales", "opacities", "colors"):
        fewer = gaussians._replace(**{field: getattr(gaussians, field)[:-1]})
        with pytest.raises(ValueError, match=field):
            rasterize(fewer, camera)
    with pytest.raises(ValueError, match="background"):
        rasterize(gaussians, camera, background=torch.zeros(4))
    with pytest.raises(ValueError, match="backend"):
        rasterize(gaussians, camera, backend="metal")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="mode"):
        rasterize(gaussians, camera, mode="sharp")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="coefficients"):
        rasterize(gaussians._replace(colors=gaussians.colors[:, None]), camera, sh_degree=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_absent_backend_is_an_error_when_asked_for():
    with pytest.raises(UserError, match="cuda"):
        rasterize(random_gaussians(5), tilted_camera(8, 8), backend="cuda")


def test_fallback_is_said_once(monkeypatch, caplog):
    from render.backends.cpu import CpuBackend

    monkeypatch.setattr(CpuBackend, "why_unavailable", lambda self: "a reason for the test")
    _say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            rasterize(random_gaussians(5), tilted_camera(8, 8))
    assert caplog.text.count("a reason for the test") == 1
    _say_once.cache_clear()
