"""The cpu backend draws what the reference draws, and has its gradients: random and broken scenes.

The reference runs in double precision. A pixel may differ visibly only where rounding moves a
contribution across the edge at alpha = 1/255 or across the pixel's end: by 1/255 of a colour's
range. Few pixels do; gradients are compared over all the others.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avatar3d.camera import Camera
from avatar3d.gaussians import Gaussians
from render.rasterize import BackendName, Mode, rasterize
from tests.render.scenes import random_gaussians, tilted_camera

pytest.importorskip("numba", reason="the cpu backend needs numba")

NAMES = ("means", "quaternions", "scales", "opacities", "colors", "viewmat", "K", "background")
FLIP = 1.05 / 255


def behind(g: Gaussians) -> None:
    g.means[:, 2] -= 2


def around_the_near_plane(g: Gaussians) -> None:
    g.means[:, 2] = torch.linspace(0.001, 0.0305, g.count)  # none on it


def off_screen(g: Gaussians) -> None:
    g.means[:, 0] += 3


def far_off_screen(g: Gaussians) -> None:
    g.means[:, 1] += 1e12


def equal_depths(g: Gaussians) -> None:
    g.means[:, 2] = 0.75


def huge(g: Gaussians) -> None:
    g.scales[:] = 30.0


def beyond_all_bounds(g: Gaussians) -> None:
    g.scales[:] = 1e10


def tiny(g: Gaussians) -> None:
    g.scales[:] *= 1e-6


def flat(g: Gaussians) -> None:
    g.scales[:, 1] = 0


def points(g: Gaussians) -> None:
    g.scales[:] = 0


def mirrored(g: Gaussians) -> None:
    g.scales[:] *= -1


def invisible(g: Gaussians) -> None:
    g.opacities[:] = 0


def opaque(g: Gaussians) -> None:
    g.opacities[:] = 1


def without_rotation(g: Gaussians) -> None:
    g.quaternions[:] = 0


def long_quaternions(g: Gaussians) -> None:
    g.quaternions[:] *= 1e6


def not_numbers(g: Gaussians) -> None:
    for value in g:
        value.view(len(value), -1)[::2, 0] = torch.nan


def infinite(g: Gaussians) -> None:
    for value in g:
        value.view(len(value), -1)[::2, -1] = torch.inf


CHANGES = (
    behind, around_the_near_plane, off_screen, far_off_screen, equal_depths, huge,
    beyond_all_bounds, tiny, flat, points, mirrored, invisible, opaque, without_rotation,
    long_quaternions, not_numbers, infinite,
)  # fmt: skip


def scene(seed: int, count: int, channels: int, changes) -> Gaussians:
    """A third of the Gaussians stay sound; each change is done to one random sixth."""
    gaussians = random_gaussians(count, seed, channels)
    gaussians.means[:, 2] += 0.7
    generator = torch.Generator().manual_seed(seed)
    for change in changes:
        rows = torch.randperm(count, generator=generator)[: -(-count // 6)]
        rows = rows[rows >= count // 3]
        if len(rows) == 0:
            continue
        changed = Gaussians(*(value[rows] for value in gaussians))
        change(changed)
        for value, new in zip(gaussians, changed):
            value[rows] = new
    return gaussians


def camera_ahead(width: int, height: int) -> Camera:
    """On the axes, so that both backends find the very same depths."""
    focal = 1.5 * min(max(width, height), 60)
    K = [[focal, 0, 0.45 * width], [0, 1.1 * focal, 0.55 * height], [0, 0, 1]]
    return Camera(torch.eye(4), torch.tensor(K), width, height)


def compare(gaussians: Gaussians, camera: Camera, mode: Mode, return_depth: bool, tolerance: float):
    """Asserts; returns the relative error of each gradient."""
    background = torch.linspace(0.9, 0.2, gaussians.colors.shape[-1])
    inputs = (*gaussians, camera.viewmat, camera.K, background)
    pictures, all_leaves = [], []
    runs: tuple[tuple[BackendName, torch.dtype], ...]
    runs = ("cpu", torch.float32), ("reference", torch.float64)
    for backend, dtype in runs:
        leaves = [value.detach().to(dtype).clone().requires_grad_() for value in inputs]
        view = Camera(leaves[5], leaves[6], camera.width, camera.height)
        rendering = rasterize(
            Gaussians(*leaves[:5]), view, background=leaves[7], mode=mode, backend=backend,
            return_depth=return_depth,
        )  # fmt: skip
        layers = [rendering.colors, rendering.alpha[..., None]]
        if rendering.depth is not None:  # times alpha, as it is drawn: it has no flips of its own
            layers.append((rendering.depth * rendering.alpha)[..., None])
        pictures.append(torch.cat(layers, -1).double())
        all_leaves.append(leaves)
    fast, truth = pictures
    assert fast.isfinite().all()
    difference = (fast - truth).detach().abs().amax(-1)
    same = difference < 1e-4
    assert (~same).sum() <= max(2, 0.01 * same.numel())
    assert difference.max() < FLIP
    weights = torch.randn(truth.shape, generator=torch.Generator().manual_seed(9)).double()
    weights *= same[..., None]
    fast_gradients, true_gradients = (
        torch.autograd.grad((picture * weights).sum(), leaves)
        for picture, leaves in zip(pictures, all_leaves)
    )
    errors = {}
    for name, gradient, true_gradient in zip(NAMES, fast_gradients, true_gradients):
        assert gradient.isfinite().all(), name
        assert true_gradient.isfinite().all(), name
        error = (gradient.double() - true_gradient).norm()
        errors[name] = (error / true_gradient.norm().clamp_min(1e-30)).item()
        assert error <= tolerance * true_gradient.norm() + 1e-4, (name, errors[name])
    return errors


sizes = st.sampled_from([(1, 1), (2, 40), (16, 16), (17, 33), (60, 3), (48, 31), (8192, 1)])


@settings(max_examples=80)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 60),
    channels=st.sampled_from([1, 2, 3, 3, 3, 5, 8]),
    changes=st.lists(st.sampled_from(CHANGES), max_size=4, unique=True),
    size=sizes,
    mode=st.sampled_from(["classic", "antialiased"]),
    return_depth=st.booleans(),
)
@example(seed=0, count=60, channels=3, changes=CHANGES, size=(48, 31), mode="classic",
         return_depth=True)  # fmt: skip
@example(seed=0, count=0, channels=1, changes=[], size=(1, 1), mode="classic", return_depth=True)
def test_any_scene(seed, count, channels, changes, size, mode, return_depth):
    gaussians = scene(seed, count, channels, changes)
    compare(gaussians, camera_ahead(*size), mode, return_depth, tolerance=2e-3)


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_alone_does_to_all_what_it_does_to_one(change):
    gaussians = random_gaussians(40, seed=3)
    gaussians.means[:, 2] += 0.7
    change(gaussians)
    compare(gaussians, camera_ahead(48, 31), "classic", False, tolerance=2e-3)


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_gradients_of_every_input_are_exact_to_one_in_ten_thousand(mode):
    small = random_gaussians(400, seed=1, scale_m=0.004)
    large = random_gaussians(60, seed=2, scale_m=0.03)
    gaussians = Gaussians(*(torch.cat(pair) for pair in zip(small, large)))
    errors = compare(gaussians, tilted_camera(90, 70), mode, True, tolerance=1e-4)
    for name, error in errors.items():
        assert error < 1e-4, name


def test_a_graph_can_be_used_twice():
    gaussians = Gaussians(*(value.requires_grad_() for value in random_gaussians(40)))
    picture = rasterize(gaussians, tilted_camera(40, 30), backend="cpu")
    first = torch.autograd.grad(picture.colors.sum(), gaussians, retain_graph=True)
    other = torch.autograd.grad(picture.alpha.sum(), gaussians[:4], retain_graph=True)
    again = torch.autograd.grad(picture.colors.sum(), gaussians)
    both = rasterize(gaussians, tilted_camera(40, 30), backend="cpu")
    nothing = both.colors.sum() + 0.0 * both.alpha.sum()
    with_alpha = torch.autograd.grad(nothing, gaussians)  # an alpha's gradient given, but zero
    for value, same, as_given in zip(first, again, with_alpha):
        assert torch.equal(value, same)
        assert torch.equal(value, as_given)
    assert not torch.equal(first[0], other[0])
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(picture.colors.sum(), gaussians)


def test_without_gradients_the_picture_is_the_same_and_keeps_nothing():
    gaussians = Gaussians(*(value.requires_grad_() for value in random_gaussians(40)))
    tracked = rasterize(gaussians, tilted_camera(40, 30), backend="cpu").colors
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            picture = rasterize(gaussians, tilted_camera(40, 30), backend="cpu").colors
        assert not picture.requires_grad
        assert torch.equal(picture, tracked)


@pytest.mark.parametrize("channels", [3, 5])
def test_the_same_bits_at_any_number_of_threads(channels):
    gaussians = random_gaussians(1500, seed=6, channels=channels, scale_m=0.01)
    camera, threads = tilted_camera(130, 90), torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 4, 1):
            torch.set_num_threads(count)
            leaves = [
                value.clone().requires_grad_()
                for value in (*gaussians, camera.viewmat, camera.K)
            ]  # fmt: skip
            view = Camera(leaves[5], leaves[6], camera.width, camera.height)
            picture = rasterize(Gaussians(*leaves[:5]), view, backend="cpu")
            gradients = torch.autograd.grad(picture.colors.square().sum(), leaves)
            results.append((picture.colors, picture.alpha, *gradients))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        for value, first in zip(result, results[0]):
            assert torch.equal(value, first)
