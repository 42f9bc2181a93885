"""Numbers, shapes and types that make no sense: what happens is defined, on every backend alike."""

from __future__ import annotations

import pytest
import torch

from avatar3d.camera import Camera
from avatar3d.gaussians import Gaussians
from render import rasterize
from tests.render.scenes import random_gaussians, tilted_camera

NAN, INF = float("nan"), float("inf")
# The first numbers of each field that leave nothing to draw; fields' other columns stay sound.
UNDRAWABLE = {
    "means": (NAN, INF, -INF, 1e38, -1e38),
    "quaternions": (NAN, INF, -INF, 1e38, -1e38),
    "scales": (NAN, INF, -INF, 1e38, -1e38),
    "opacities": (NAN, INF, -INF, 0.0, -1.0, 1.0 / 256),
    "colors": (NAN, INF, -INF),
}
both_backends = pytest.mark.parametrize("backend", ["reference", "cpu"])


def draw(gaussians, camera, backend, **options):
    """The picture, and the gradients of Gaussians, viewmat and K."""
    leaves = [value.clone().requires_grad_() for value in (*gaussians, camera.viewmat, camera.K)]
    view = Camera(leaves[5], leaves[6], camera.width, camera.height)
    rendering = rasterize(Gaussians(*leaves[:5]), view, backend=backend, **options)
    total = rendering.colors.square().sum() + rendering.alpha.sum()
    if rendering.depth is not None:
        total = total + rendering.depth.sum()
    return rendering, torch.autograd.grad(total, leaves)


@both_backends
@pytest.mark.parametrize("field", UNDRAWABLE)
@pytest.mark.parametrize("options", [{}, {"mode": "antialiased"}, {"return_depth": True}])
def test_what_cannot_be_drawn_is_as_if_it_were_not_there(backend, field, options):
    gaussians, camera = random_gaussians(40), tilted_camera(40, 30)
    expected, true_gradients = draw(gaussians, camera, backend, **options)
    values = torch.tensor(UNDRAWABLE[field])
    bad = random_gaussians(len(values), seed=1)
    broken = getattr(bad, field).clone()
    broken.view(len(values), -1)[:, 0] = values
    bad = bad._replace(**{field: broken})
    mixed = Gaussians(*(torch.cat(pair) for pair in zip(bad, gaussians)))
    rendering, gradients = draw(mixed, camera, backend, **options)
    torch.testing.assert_close(rendering.colors, expected.colors)
    torch.testing.assert_close(rendering.alpha, expected.alpha)
    for name, gradient, truth in zip(Gaussians._fields, gradients, true_gradients):
        assert (gradient[: len(values)] == 0).all(), name
        torch.testing.assert_close(gradient[len(values) :], truth, msg=name)
    for gradient, truth in zip(gradients[5:], true_gradients[5:]):
        torch.testing.assert_close(gradient, truth, rtol=1e-4, atol=1e-3)


@both_backends
def test_harmonics_that_are_not_finite_are_not_drawn(backend):
    camera = tilted_camera(40, 30)
    gaussians = random_gaussians(40)
    gaussians = gaussians._replace(
        colors=torch.randn(40, 16, 3, generator=torch.Generator().manual_seed(0))
    )
    expected, true_gradients = draw(gaussians, camera, backend, sh_degree=3)
    bad = Gaussians(*(value[:3].clone() for value in gaussians))
    bad.colors[0, 3, 1], bad.colors[1, 0, 0], bad.means[2, 1] = NAN, -INF, NAN
    mixed = Gaussians(*(torch.cat(pair) for pair in zip(bad, gaussians)))
    rendering, gradients = draw(mixed, camera, backend, sh_degree=3)
    torch.testing.assert_close(rendering.colors, expected.colors)
    for gradient, truth in zip(gradients[:5], true_gradients):
        assert (gradient[:3] == 0).all()
        torch.testing.assert_close(gradient[3:], truth)
    torch.testing.assert_close(gradients[5], true_gradients[5], rtol=1e-4, atol=1e-3)


@both_backends
def test_a_negative_scale_is_its_size_and_zero_is_flat(backend):
    gaussians, camera = random_gaussians(30), tilted_camera(24, 20)
    mirrored = gaussians._replace(scales=-gaussians.scales)
    plain, plain_gradients = draw(gaussians, camera, backend)
    turned, turned_gradients = draw(mirrored, camera, backend)
    assert torch.equal(plain.colors, turned.colors)
    assert torch.equal(plain_gradients[2], -turned_gradients[2])
    points = gaussians._replace(scales=torch.zeros_like(gaussians.scales))
    small = gaussians._replace(scales=torch.full_like(gaussians.scales, 1e-6))
    flat, gradients = draw(points, camera, backend)
    torch.testing.assert_close(
        flat.colors, draw(small, camera, backend)[0].colors, atol=1e-4, rtol=0
    )
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (gradients[2] == 0).all()  # a size of 0 is the middle between two signs
    # The dilation alone does not show where its enlargement is taken back.
    assert (draw(points, camera, backend, mode="antialiased")[0].alpha == 0).all()


@both_backends
@pytest.mark.parametrize("length", [0.0, 1e-12, 1e-30])
def test_a_quaternion_without_direction_does_not_rotate(backend, length):
    gaussians, camera = random_gaussians(30), tilted_camera(24, 20)
    upright = torch.tensor([1.0, 0, 0, 0]).expand(30, 4)
    expected = draw(gaussians._replace(quaternions=upright), camera, backend)[0]
    short = gaussians._replace(quaternions=length * gaussians.quaternions)
    rendering, gradients = draw(short, camera, backend)
    torch.testing.assert_close(rendering.colors, expected.colors)
    assert (gradients[1] == 0).all()


@both_backends
def test_opacity_above_one_is_drawn_at_the_limit(backend):
    gaussians, camera = random_gaussians(1, scale_m=0.05), tilted_camera(24, 20)
    for opacity in (1.1, 2.0, 1e30):
        solid = gaussians._replace(opacities=torch.tensor([opacity]))
        alpha = rasterize(solid, camera, backend=backend).alpha
        assert alpha.max().item() == pytest.approx(0.999, abs=1e-6)


@both_backends
def test_camera_inside_the_head(backend):
    gaussians = random_gaussians(300, scale_m=0.01)
    camera = Camera(torch.eye(4), tilted_camera(24, 20).K, 24, 20)
    rendering, gradients = draw(gaussians, camera, backend)
    assert rendering.alpha.max() > 0.5
    assert all(gradient.isfinite().all() for gradient in gradients)
    behind = gaussians.means[:, 2] < 0.01
    assert 50 < behind.sum() < 250
    assert (gradients[0][behind] == 0).all()


@both_backends
@pytest.mark.parametrize("size", [(1, 1), (8192, 1), (1, 8192), (17, 33)])
def test_odd_sizes(backend, size):
    gaussians, camera = random_gaussians(10), tilted_camera(*size)
    K = torch.tensor([[40.0, 0, size[0] / 2], [0, 40.0, size[1] / 2], [0, 0, 1]])
    rendering, gradients = draw(gaussians, Camera(camera.viewmat, K, *size), backend)
    assert rendering.colors.shape == (size[1], size[0], 3)
    assert rendering.alpha.max() > 0.1
    assert all(gradient.isfinite().all() for gradient in gradients)


@both_backends
def test_strided_tensors_draw_the_same(backend):
    gaussians, camera = random_gaussians(30), tilted_camera(24, 20)
    expected, true_gradients = draw(gaussians, camera, backend)
    strided = Gaussians(*(torch.stack([value, value], dim=-1)[..., 0] for value in gaussians))
    assert not any(value.is_contiguous() for value in strided)
    view = Camera(camera.viewmat.T.contiguous().T, camera.K.T.contiguous().T, 24, 20)
    leaves = [value.detach().requires_grad_() for value in (*strided, view.viewmat, view.K)]
    picture = rasterize(
        Gaussians(*leaves[:5]), Camera(leaves[5], leaves[6], 24, 20), backend=backend
    )
    assert torch.equal(picture.colors, expected.colors)
    total = picture.colors.square().sum() + picture.alpha.sum()
    for gradient, truth in zip(torch.autograd.grad(total, leaves), true_gradients):
        torch.testing.assert_close(gradient, truth)


@both_backends
def test_an_empty_batch_is_an_empty_picture(backend):
    camera = tilted_camera(24, 20)
    nobody = Camera(camera.viewmat.expand(0, 4, 4), camera.K, 24, 20)
    rendering = rasterize(random_gaussians(5), nobody, backend=backend, return_depth=True)
    assert rendering.colors.shape == (0, 20, 24, 3)
    assert rendering.alpha.shape == (0, 20, 24)
    assert rendering.depth is not None
    assert rendering.depth.shape == (0, 20, 24)


GAUSSIANS, CAMERA = random_gaussians(5), tilted_camera(8, 8)


def with_gaussians(**fields):
    return {"gaussians": GAUSSIANS._replace(**fields)}


def with_camera(viewmat=CAMERA.viewmat, K=CAMERA.K, width=8, height=8):
    return {"camera": Camera(viewmat, K, width, height)}


def scaled_focal(factor):
    K = CAMERA.K.clone()
    K[0, 0] *= factor
    return with_camera(K=K)


REFUSED = [
    (with_gaussians(means=torch.zeros(3)), r"means must be \[\.\.\., N, 3\], got \(3,\)"),
    (with_gaussians(means=torch.zeros(5, 2)), r"means must be \[\.\.\., N, 3\], got \(5, 2\)"),
    (with_gaussians(quaternions=torch.zeros(5, 3)), r"quaternions must be \[\.\.\., 5, 4\], got"),
    (with_gaussians(scales=torch.zeros(4, 3)), r"scales must be \[\.\.\., 5, 3\], got \(4, 3\)"),
    (with_gaussians(opacities=torch.zeros(5, 1)), r"opacities must be \[\.\.\., 5\], got \(5, 1\)"),
    (with_gaussians(colors=torch.zeros(5)), r"colors must be \[\.\.\., 5, C\] .* got \(5,\)"),
    (with_gaussians(colors=torch.zeros(5, 0)), r"colors must be \[\.\.\., 5, C\] .* got \(5, 0\)"),
    (with_gaussians(means=GAUSSIANS.means.half()), "means must be float32 or float64, got float16"),
    (with_gaussians(means=GAUSSIANS.means.int()), "means must be float32 or float64, got int32"),
    (
        with_gaussians(scales=GAUSSIANS.scales.half()),
        "scales must be float32 like means, got float16",
    ),
    (with_gaussians(colors=torch.zeros(5, 3).long()), "colors must be float32 .* got int64"),
    (
        with_gaussians(opacities=torch.zeros(5, device="meta")),
        "opacities must be on cpu like means, got meta",
    ),
    (
        with_gaussians(means=GAUSSIANS.means.numpy()),
        r"means must be a torch.Tensor, got ndarray",
    ),
    ({"sh_degree": 0}, r"colors must be \[\.\.\., 5, K, 3\] with sh_degree=0, got \(5, 3\)"),
    ({"sh_degree": 4}, "sh_degree must be None or 0 to 3, got 4"),
    ({"sh_degree": -1}, "sh_degree must be None or 0 to 3, got -1"),
    (
        {**with_gaussians(colors=torch.zeros(5, 4, 3)), "sh_degree": 2},
        "colors must have 9 coefficients or more with sh_degree=2, got 4",
    ),
    (with_camera(width=0), "camera's width must be a whole number of 1 or more, got 0"),
    (with_camera(height=-3), "camera's height must be a whole number of 1 or more, got -3"),
    (with_camera(viewmat=torch.eye(3)), r"camera's viewmat must be \[\.\.\., 4, 4\], got \(3, 3\)"),
    (with_camera(K=torch.eye(4)), r"camera's K must be \[\.\.\., 3, 3\], got \(4, 4\)"),
    (with_camera(viewmat=torch.full((4, 4), NAN)), "camera's viewmat must be finite, got"),
    (with_camera(K=torch.full((3, 3), INF)), "camera's K must be finite, got"),
    (scaled_focal(0.0), "camera's focal lengths must be above 0, got"),
    (scaled_focal(-1.0), "camera's focal lengths must be above 0, got"),
    (
        {"background": torch.zeros(4)},
        r"background must be \[3\] or \[\.\.\., 3\], got \(4,\)",
    ),
    ({"background": torch.zeros(())}, r"background must be \[3\] .* got \(\)"),
    ({"background": torch.tensor([0.0, NAN, 0.0])}, "background must be finite, got"),
    ({"background": (1.0, 1.0, 1.0)}, "background must be a torch.Tensor, got tuple"),
    (
        {"background": torch.zeros(2, 3), **with_camera(viewmat=CAMERA.viewmat.expand(3, 4, 4))},
        r"leading dimensions must broadcast, got .*viewmat \[3\].*background \[2\]",
    ),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED)
def test_wrong_use_is_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        rasterize(**{"gaussians": GAUSSIANS, "camera": CAMERA, **arguments})
    assert "\n" not in str(error.value)
