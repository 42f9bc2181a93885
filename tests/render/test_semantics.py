"""What `rasterize` draws, by example. Read it from top to bottom; docs/rasterizer.md has the words.

The stage: a camera at the origin looks along +Z, focal length 100 px, 17 x 17 pixels. So a
Gaussian at (0, 0, 1) stands on the middle pixel, and 1 cm there is 1 px.
"""

from __future__ import annotations

import math

import pytest
import torch

from avatar3d.camera import Camera
from avatar3d.gaussians import Gaussians
from render import rasterize, spherical_harmonics
from render.rasterize import _backend
from tests.render.scenes import random_gaussians, tilted_camera

FOCAL_PX, SIZE, MIDDLE = 100.0, 17, 8
RED, GREEN, BLUE = torch.eye(3)


@pytest.fixture(params=["reference", "cpu", "cuda"], autouse=True)
def backend(request):
    reason = _backend(request.param).why_unavailable()
    if reason is not None:
        pytest.skip(f"the backend {request.param!r} cannot run here: {reason}")
    return request.param


def looking_ahead(centre_x=SIZE / 2, centre_y=SIZE / 2, width=SIZE, height=SIZE) -> Camera:
    K = torch.tensor([[FOCAL_PX, 0, centre_x], [0, FOCAL_PX, centre_y], [0, 0, 1]])
    return Camera(torch.eye(4), K, width, height)


def ball(color, opacity=0.5, position=(0.0, 0.0, 1.0), radius_m=0.01) -> Gaussians:
    return Gaussians(
        means=torch.tensor([position]),
        quaternions=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        scales=torch.full((1, 3), radius_m),
        opacities=torch.tensor([opacity]),
        colors=torch.as_tensor(color)[None],
    )


def together(*scenes: Gaussians) -> Gaussians:
    return Gaussians(*(torch.cat(values) for values in zip(*scenes)))


def close(value, expected, tolerance=2e-6):
    expected = torch.as_tensor(expected, dtype=value.dtype)
    torch.testing.assert_close(value, expected, atol=tolerance, rtol=0)


# One Gaussian


def test_its_centre_is_opacity_times_colour_and_the_background_shines_through(backend):
    picture = rasterize(ball(RED, 0.5), looking_ahead(), background=BLUE, backend=backend)
    close(picture.alpha[MIDDLE, MIDDLE], 0.5)
    close(picture.colors[MIDDLE, MIDDLE], [0.5, 0.0, 0.5])
    close(picture.colors[0, 0], BLUE)  # nothing there
    assert picture.depth is None


def test_it_falls_off_as_a_gaussian_widened_by_three_tenths_of_a_square_pixel(backend):
    alpha = rasterize(ball(RED, 0.5), looking_ahead(), backend=backend).alpha
    close(alpha[MIDDLE, MIDDLE + 1], 0.5 * math.exp(-0.5 / (1.0 + 0.3)))
    close(alpha[MIDDLE + 2, MIDDLE], 0.5 * math.exp(-0.5 * 4 / (1.0 + 0.3)))


def test_twice_as_far_it_is_half_as_wide(backend):
    alpha = rasterize(ball(RED, position=(0.0, 0.0, 2.0)), looking_ahead(), backend=backend).alpha
    close(alpha[MIDDLE, MIDDLE + 1], 0.5 * math.exp(-0.5 / (0.25 + 0.3)))


def test_quaternions_are_wxyz_and_turn_its_axes_into_the_world(backend):
    long_x = ball(RED)._replace(scales=torch.tensor([[0.02, 0.001, 0.001]]))
    quarter_turn_about_z = torch.tensor([[math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)]])
    long_y = long_x._replace(quaternions=quarter_turn_about_z)
    across = rasterize(long_x, looking_ahead(), backend=backend).alpha
    along = rasterize(long_y, looking_ahead(), backend=backend).alpha
    close(across[MIDDLE, MIDDLE + 2], 0.5 * math.exp(-0.5 * 4 / (4 + 0.3)))
    close(along, across.T)


def test_antialiased_takes_back_what_the_widening_adds(backend):
    plain = rasterize(ball(RED, 0.5), looking_ahead(), backend=backend).alpha
    thinned = rasterize(ball(RED, 0.5), looking_ahead(), backend=backend, mode="antialiased").alpha
    # The areas' ratio: sqrt(det / det with the widening) = 1 / 1.3.
    close(thinned[MIDDLE, MIDDLE], plain[MIDDLE, MIDDLE] / 1.3)


def test_what_is_fainter_than_1_of_255_is_dropped(backend):
    alpha = rasterize(ball(RED, 0.5), looking_ahead(), backend=backend).alpha
    x = torch.arange(SIZE) - MIDDLE
    formula = 0.5 * torch.exp(-0.5 * (x**2 + x[:, None] ** 2) / (1.0 + 0.3))
    assert 0.8 / 255 < formula[MIDDLE + 2, MIDDLE + 3] < 1 / 255
    close(alpha, torch.where(formula >= 1 / 255, formula, 0.0))
    faint = rasterize(ball(RED, 0.99 / 255), looking_ahead(), backend=backend).alpha
    assert (faint == 0).all()


def test_nothing_is_more_opaque_than_999_of_1000(backend):
    alpha = rasterize(ball(RED, 1.0), looking_ahead(), backend=backend).alpha
    close(alpha[MIDDLE, MIDDLE], 0.999)


def test_nothing_is_drawn_nearer_than_a_centimetre_or_behind(backend):
    for z, drawn in ((0.011, True), (0.009, False), (0.0, False), (-1.0, False)):
        scene = ball(RED, position=(0.0, 0.0, z), radius_m=1e-4)
        alpha = rasterize(scene, looking_ahead(), backend=backend).alpha
        assert (alpha.max() > 0) == drawn, z


# Several


def test_the_nearer_covers_the_farther_whatever_their_order(backend):
    near, far = ball(RED, 0.5, (0.0, 0.0, 1.0)), ball(GREEN, 0.8, (0.0, 0.0, 2.0))
    for scene in (together(near, far), together(far, near)):
        picture = rasterize(scene, looking_ahead(), background=BLUE, backend=backend)
        close(picture.colors[MIDDLE, MIDDLE], [0.5, 0.5 * 0.8, 0.5 * 0.2])
        close(picture.alpha[MIDDLE, MIDDLE], 1 - 0.5 * 0.2)


def test_at_equal_depth_the_first_comes_first(backend):
    picture = rasterize(together(ball(RED), ball(GREEN)), looking_ahead(), backend=backend)
    close(picture.colors[MIDDLE, MIDDLE], [0.5, 0.25, 0.0])


def test_order_is_by_z_not_by_distance(backend):
    # Off the axis: the second is nearer in z, though farther from the camera.
    first, second = ball(RED, 0.5, (0.0, 0.0, 1.02)), ball(GREEN, 0.5, (0.4, 0.0, 1.0))
    wide = looking_ahead(width=97)
    scene = together(first, second)._replace(scales=torch.full((2, 3), 0.5))
    picture = rasterize(scene, wide, backend=backend).colors[MIDDLE]
    weight = picture[..., 1].max()  # green is not dimmed where it is strongest
    close(weight, 0.5, tolerance=1e-3)


def test_a_pixel_ends_before_one_ten_thousandth_shines_through(backend):
    # 0.05^3 = 1.25e-4 is still above, the fourth would bring it below: it and all after are left.
    layers = [ball(RED, 0.95, (0.0, 0.0, 1.0 + 0.1 * k)) for k in range(3)]
    fourth, fifth = ball(GREEN, 0.95, (0.0, 0.0, 1.5)), ball(BLUE, 0.01, (0.0, 0.0, 1.6))
    scene = together(*layers, fourth, fifth)
    picture = rasterize(scene, looking_ahead(), background=BLUE, backend=backend)
    close(picture.alpha[MIDDLE, MIDDLE], 1 - 0.05**3)
    close(picture.colors[MIDDLE, MIDDLE], [1 - 0.05**3, 0.0, 0.05**3])


def test_depth_is_the_mean_z_of_what_covers_the_pixel(backend):
    near, far = ball(RED, 0.5, (0.0, 0.0, 1.0)), ball(GREEN, 0.8, (0.0, 0.0, 2.0))
    picture = rasterize(together(near, far), looking_ahead(), backend=backend, return_depth=True)
    assert picture.depth is not None
    close(picture.depth[MIDDLE, MIDDLE], (0.5 * 1 + 0.4 * 2) / 0.9)
    close(picture.depth[0, 0], 0.0)  # nothing there
    colors = rasterize(together(near, far), looking_ahead(), backend=backend).colors
    close(picture.colors, colors)


# Colours


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 32])
def test_colours_have_any_number_of_channels(backend, channels):
    color, background = torch.linspace(0, 2, channels), torch.linspace(1, 0, channels)
    scene = ball(color, 0.25)
    picture = rasterize(scene, looking_ahead(), background=background, backend=backend).colors
    assert picture.shape == (SIZE, SIZE, channels)
    close(picture[MIDDLE, MIDDLE], 0.25 * color + 0.75 * background)


# Degree by degree, as functions of the unit direction from the camera to the Gaussian.
HARMONICS = [
    (0, lambda x, y, z: 0.5 / math.sqrt(math.pi)),
    (1, lambda x, y, z: -math.sqrt(3 / (4 * math.pi)) * y),
    (1, lambda x, y, z: math.sqrt(3 / (4 * math.pi)) * z),
    (1, lambda x, y, z: -math.sqrt(3 / (4 * math.pi)) * x),
    (2, lambda x, y, z: math.sqrt(15 / (4 * math.pi)) * x * y),
    (2, lambda x, y, z: -math.sqrt(15 / (4 * math.pi)) * y * z),
    (2, lambda x, y, z: math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1)),
    (2, lambda x, y, z: -math.sqrt(15 / (4 * math.pi)) * x * z),
    (2, lambda x, y, z: math.sqrt(15 / (16 * math.pi)) * (x * x - y * y)),
    (3, lambda x, y, z: -math.sqrt(35 / (32 * math.pi)) * y * (3 * x * x - y * y)),
    (3, lambda x, y, z: math.sqrt(105 / (4 * math.pi)) * x * y * z),
    (3, lambda x, y, z: -math.sqrt(21 / (32 * math.pi)) * y * (5 * z * z - 1)),
    (3, lambda x, y, z: math.sqrt(7 / (16 * math.pi)) * z * (5 * z * z - 3)),
    (3, lambda x, y, z: -math.sqrt(21 / (32 * math.pi)) * x * (5 * z * z - 1)),
    (3, lambda x, y, z: math.sqrt(105 / (16 * math.pi)) * z * (x * x - y * y)),
    (3, lambda x, y, z: -math.sqrt(35 / (32 * math.pi)) * x * (x * x - 3 * y * y)),
]


@pytest.mark.parametrize("index", range(16))
def test_harmonics_add_their_value_for_the_view_to_one_half(backend, index):
    degree, function = HARMONICS[index]
    position = (0.03, -0.05, 0.8)
    coefficients = torch.zeros(1, spherical_harmonics.coefficient_count(degree), 3)
    coefficients[0, index] = torch.tensor([0.2, -0.1, 0.3])
    camera = looking_ahead(
        MIDDLE + 0.5 - FOCAL_PX * position[0] / position[2],
        MIDDLE + 0.5 - FOCAL_PX * position[1] / position[2],
    )
    scene = ball(RED, 0.5, position)._replace(colors=coefficients)
    picture = rasterize(scene, camera, sh_degree=degree, backend=backend).colors
    direction = [value / math.hypot(*position) for value in position]
    expected = 0.5 + function(*direction) * coefficients[0, index]
    close(picture[MIDDLE, MIDDLE], 0.5 * expected, tolerance=1e-5)


def test_harmonics_above_the_degree_are_ignored_and_colours_are_never_negative(backend):
    coefficients = torch.full((1, 16, 3), 9.0)
    coefficients[0, 0] = torch.tensor([0.0, 1.0, -5.0])
    scene = ball(RED, 0.5)._replace(colors=coefficients)
    picture = rasterize(scene, looking_ahead(), sh_degree=0, backend=backend).colors
    close(picture[MIDDLE, MIDDLE], [0.25, 0.5 * (0.5 + 0.28209479), 0.0])


# Cameras and batches


@pytest.mark.parametrize("size", [(17, 17), (33, 5), (1, 1), (50, 2)])
def test_principal_point_and_size_are_free(backend, size):
    width, height = size
    x, y = width - 1, height // 2
    camera = looking_ahead(x + 0.5, y + 0.5, width, height)
    alpha = rasterize(ball(RED, 0.5), camera, backend=backend).alpha
    assert alpha.shape == (height, width)
    close(alpha[y, x], 0.5)


def test_a_principal_point_outside_shows_the_rest(backend):
    whole = rasterize(ball(RED, 0.5), looking_ahead(), backend=backend).alpha
    outside = rasterize(ball(RED, 0.5), looking_ahead(centre_x=-1.5), backend=backend).alpha
    close(outside[:, :7], whole[:, 10:])


def test_viewmat_takes_world_to_camera(backend):
    step_to_the_right = torch.eye(4)
    step_to_the_right[0, 3] = -0.03  # 3 cm to the right: what was ahead appears 3 px to the left
    camera = Camera(step_to_the_right, looking_ahead().K, SIZE, SIZE)
    alpha = rasterize(ball(RED, 0.5), camera, backend=backend).alpha
    close(alpha[MIDDLE, MIDDLE - 3], 0.5)


def test_leading_dimensions_of_all_inputs_broadcast_and_are_drawn_one_by_one(backend):
    people = [random_gaussians(20, seed) for seed in range(2)]  # [2, 1]
    both = Gaussians(*(torch.stack(values)[:, None] for values in zip(*people)))
    camera = tilted_camera(24, 20)
    farther = camera.viewmat.clone()
    farther[2, 3] += 0.3
    viewmats = torch.stack([camera.viewmat, torch.eye(4), farther])  # [3]
    cameras = Camera(viewmats, camera.K, 24, 20)
    backgrounds = torch.rand(2, 1, 3, generator=torch.Generator().manual_seed(0))
    pictures = rasterize(both, cameras, background=backgrounds, backend=backend, return_depth=True)
    assert pictures.colors.shape == (2, 3, 20, 24, 3)
    for person in range(2):
        for view in range(3):
            alone = rasterize(
                people[person],
                Camera(viewmats[view], camera.K, 24, 20),
                background=backgrounds[person, 0],
                backend=backend,
                return_depth=True,
            )
            for many, one in zip(pictures, alone):
                assert many is not None
                assert one is not None
                close(many[person, view], one)


# Gradients


def test_each_input_has_the_gradient_that_the_formula_says(backend):
    # The middle pixel is opacity * colour + (1 - opacity) * background.
    leaves = Gaussians(*(value.requires_grad_() for value in ball(GREEN, 0.25)))
    background = BLUE.clone().requires_grad_()
    camera = looking_ahead()
    picture = rasterize(leaves, camera, background=background, backend=backend).colors
    picture[MIDDLE, MIDDLE].sum().mul(2).add(picture[MIDDLE, MIDDLE, 1]).backward()
    assert leaves.colors.grad is not None
    assert leaves.opacities.grad is not None
    assert background.grad is not None
    close(leaves.colors.grad[0], [0.5, 0.75, 0.5])
    close(background.grad, [1.5, 2.25, 1.5])
    close(leaves.opacities.grad[0], 3.0 - 2.0)


def test_position_camera_and_focal_length_have_gradients(backend):
    # At d = 1 px from its centre alpha grows by d / (1.3 + ...) of itself per px that it comes
    # nearer; the dots are what the ball gains in width by standing 0.03 off the axis.
    scene, camera = ball(RED, 0.5, (0.03, 0.0, 1.0)), looking_ahead()
    means, viewmat, K = (
        value.clone().requires_grad_() for value in (scene.means, camera.viewmat, camera.K)
    )
    alpha = rasterize(
        scene._replace(means=means), Camera(viewmat, K, SIZE, SIZE), backend=backend
    ).alpha
    pixel = alpha[MIDDLE, MIDDLE + 4]
    pixel.backward()
    per_px = pixel.item() / (1.3 + 0.03**2)
    assert means.grad is not None
    assert viewmat.grad is not None
    assert K.grad is not None
    close(K.grad[0, 2], per_px, tolerance=1e-5)
    assert viewmat.grad[0, 3] == pytest.approx(per_px * FOCAL_PX, rel=1e-2)  # and the width's share
    close(viewmat.grad[0, 3], means.grad[0, 0].item(), tolerance=1e-4)
    assert K.grad[0, 0] > 0  # a longer focal length moves it outward and widens it


def test_what_is_not_drawn_gets_no_gradient(backend):
    behind = ball(GREEN, 0.5, (0.0, 0.0, -1.0))
    leaves = Gaussians(*(value.requires_grad_() for value in together(ball(RED), behind)))
    rasterize(leaves, looking_ahead(), backend=backend).colors.square().sum().backward()
    for value in leaves:
        assert value.grad is not None
        assert (value.grad[1] == 0).all()
    assert leaves.colors.grad is not None
    assert leaves.colors.grad[0, 0] != 0
