"""The outline's landmarks slide to where the face ends in the picture."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.geometry import quaternion_to_matrix, rotation_vector_to_quaternion
from avatar3d.heads import HeadModel, load_head
from avatar3d.heads.contour import FACE_OVAL, SlidingLandmarks, contour_paths
from avatar3d.heads.fitting import register_to_views
from avatar3d.heads.flame import build_flame, check_flame_arrays
from avatar3d.heads.model import PART_INDEX
from render.mesh import project_points, rasterize_mesh
from tests.support.data import data_file
from tests.support.flame import flame_arrays

MM = 1e-3
HEADS = ("default", "ict", "flame")
FAR_SIDE = slice(0, 7)  # of the jaw line, where the camera stands on the subject's left
SIZE_PX, FOCAL_PX = 500, 1500.0


@lru_cache(maxsize=3)
def head_named(name: str) -> HeadModel:
    if name == "default":
        return load_head("default")
    if name == "ict":
        return load_head(data_file("mesh/ict/ict_facekit_packed.npz"))
    path = data_file("mesh/flame/head_template.obj")
    return build_flame(check_flame_arrays(flame_arrays(), path), load_head("default"))


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> HeadModel:
    return head_named(request.param)


def still(head: HeadModel) -> ExpressionCode:
    return ExpressionCode.neutral(coefficient_count=head.expression_count)


def somebody(head: HeadModel, seed: int = 0) -> Tensor:
    return 0.5 * torch.randn(head.identity_count, generator=torch.Generator().manual_seed(seed))


def eye_at(yaw: float, pitch: float = 0.0, distance_m: float = 1.2) -> Tensor:
    """A camera's centre; degrees, yaw > 0 toward the subject's left."""
    turn, lift = math.radians(yaw), math.radians(pitch)
    camera = Camera.frontal(FOCAL_PX, SIZE_PX, distance_m, turn, lift)
    return camera.position()


def test_from_the_front_nothing_has_slid(head: HeadModel):
    """From far away: near cameras see a little less than half of a head."""
    for identity in (None, somebody(head)):
        rest = head.ibug_landmarks(identity, still(head))
        front = head.ibug_landmarks(identity, still(head), seen_from=eye_at(0, distance_m=100.0))
        torch.testing.assert_close(front, rest, atol=1e-6, rtol=0)


def test_at_rest_they_are_points_of_the_surface(head: HeadModel):
    code = ExpressionCode.from_named(jawOpen=0.7)
    vertices = head.vertices(None, code)
    corners = vertices[head.triangles[head.ibug_triangles]]
    expected = torch.einsum("lk,lkc->lc", head.ibug_barycentrics, corners)
    torch.testing.assert_close(head.ibug_landmarks(None, code), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("yaw", "pitch"), [(20, 0), (30, 0), (45, 0), (30, 15), (30, -15)])
def test_the_far_jaw_line_lies_where_the_picture_of_the_face_ends(
    head: HeadModel, yaw: float, pitch: float
):
    code = still(head)
    camera = Camera.frontal(FOCAL_PX, SIZE_PX, 1.0, math.radians(yaw), math.radians(pitch))
    inside = depth_in_face_mm(head, code, camera)
    slid = inside(head.ibug_landmarks(None, code, seen_from=camera.position())[FAR_SIDE])
    rest = inside(head.ibug_landmarks(None, code)[FAR_SIDE])
    assert np.abs(slid).max() < 3.5  # of pixels of 0.7 mm
    assert np.abs(slid).mean() < 1.3
    assert rest.mean() > (1.5 if yaw == 20 else 3)  # what would be missed without


def depth_in_face_mm(head: HeadModel, code: ExpressionCode, camera: Camera):
    """How deep points [N, 3] lie inside the face's picture (negative: outside), in millimetres."""
    parts = torch.tensor([PART_INDEX[name] for name in ("face", "scalp", "eyelids", "mouth")])
    triangles = head.triangles[torch.isin(head.triangle_part, parts)].numpy()
    viewmat, K = camera.viewmat.numpy(), camera.K.numpy()
    pixels, depth = project_points(head.vertices(None, code).numpy(), viewmat, K)
    covered = rasterize_mesh(pixels, depth, triangles, SIZE_PX, SIZE_PX).triangle >= 0
    deep = np.asarray(distance_transform_edt(covered)) - np.asarray(
        distance_transform_edt(~covered)
    )

    def of(points: Tensor) -> np.ndarray:
        (x, y), away = (
            project_points(points.numpy(), viewmat, K)[0].T,
            project_points(points.numpy(), viewmat, K)[1],
        )
        return deep[y.astype(int), x.astype(int)] * away / FOCAL_PX * 1e3

    return of


def test_the_near_side_stays(head: HeadModel):
    code = still(head)
    moved = head.ibug_landmarks(None, code, seen_from=eye_at(40)) - head.ibug_landmarks(None, code)
    assert moved[9:].norm(dim=1).max() < 1e-6
    assert moved[FAR_SIDE].norm(dim=1).max() > 15 * MM


def test_they_slide_evenly(head: HeadModel):
    """In the picture, half a degree of yaw moves none by more than two millimetres."""
    code, sliding = still(head), SlidingLandmarks(head, None)
    before = None
    for yaw in np.arange(-50, 50.5, 0.5):
        camera = Camera.frontal(1000.0, SIZE_PX, 1.0, math.radians(float(yaw)))
        points = sliding.pose(code, camera.position())
        seen, _ = project_points(points.numpy(), camera.viewmat.numpy(), camera.K.numpy())
        if before is not None:
            assert np.abs(seen - before).max() < 2, yaw  # px, of a millimetre each
        before = seen


@pytest.mark.parametrize(("yaw", "pitch"), [(25, 0), (40, 0), (30, -20)])
def test_a_mirrored_view_gives_mirrored_points(yaw: float, pitch: float):
    head = head_named("default")
    one = head.ibug_landmarks(None, still(head), seen_from=eye_at(yaw, pitch))[:17]
    other = head.ibug_landmarks(None, still(head), seen_from=eye_at(-yaw, pitch))[:17]
    mirrored = other.flip(0) * torch.tensor([-1.0, 1.0, 1.0])
    # Diagonals of mirrored quads run alike, so that the sections' nodes differ a little.
    assert (one - mirrored).norm(dim=1).max() < 1.5 * MM


def test_a_turned_head_is_a_turned_camera():
    """What slides answers to the view of the head, wherever both stand."""
    head = head_named("default")
    turn = rotation_vector_to_quaternion(torch.tensor([0.2, 0.5, -0.1]))
    place = torch.tensor([0.3, -0.2, 0.5])
    code = still(head)._replace(head_rotation=turn, head_translation=place)
    rotation = quaternion_to_matrix(turn)
    seen_from = eye_at(20, 5)
    here = head.ibug_landmarks(None, still(head), seen_from=seen_from)
    there = head.ibug_landmarks(None, code, seen_from=rotation @ seen_from + place)
    torch.testing.assert_close(there, here @ rotation.T + place, atol=2e-5, rtol=0)


def test_batches_are_each_alone(head: HeadModel):
    sliding = SlidingLandmarks(head, somebody(head, 1))
    eyes = torch.stack([eye_at(yaw, 10) for yaw in (-40, 0, 35)])
    code = ExpressionCode.from_named(jawOpen=0.5)
    views = sliding.pose(code, eyes)
    assert views.shape == (3, 68, 3)
    batch = ExpressionCode(
        *(torch.stack([a, b, a]) for a, b in zip(code, ExpressionCode.neutral()))
    )
    paired = sliding.pose(batch, eyes)
    all_views = sliding.pose(ExpressionCode(*(value[:, None] for value in batch)), eyes)
    assert all_views.shape == (3, 3, 68, 3)
    for k in range(3):
        torch.testing.assert_close(views[k], sliding.pose(code, eyes[k]), atol=1e-6, rtol=0)
        torch.testing.assert_close(paired[k], all_views[k, k], atol=1e-6, rtol=0)


def test_gradients_are_those_of_the_outline():
    """Where a point is chosen does not matter to first order for how far the outline reaches, so
    the gradient at the chosen points is that of the reach."""
    head = head_named("default")
    view = torch.nn.functional.normalize(eye_at(35), dim=0)
    along = contour_paths(head, "ibug")[1].along[2:6]
    outward = torch.nn.functional.normalize(torch.linalg.cross(along, view.expand(4, 3)), dim=1)

    def reach(identity: Tensor) -> Tensor:
        points = head.ibug_landmarks(identity, still(head), seen_from=1000 * view)[2:6]
        return (points * outward).sum(1)

    identity = torch.zeros(head.identity_count, requires_grad=True)
    reach(identity).sum().backward()
    assert identity.grad is not None
    for mode in (0, 1, 5):
        step = torch.zeros(head.identity_count)
        step[mode] = 0.3
        measured = float((reach(step) - reach(-step)).sum() / 0.6)
        assert float(identity.grad[mode]) == pytest.approx(measured, abs=0.15 * MM)
    assert identity.grad.abs().max() > 0.5 * MM


def test_the_478_slide_only_where_asked():
    head = head_named("default")
    code = still(head)
    plain = head.landmarks(None, code)
    front = head.landmarks(None, code, seen_from=eye_at(0, distance_m=100.0))
    torch.testing.assert_close(front, plain, atol=1e-6, rtol=0)
    moved = (head.landmarks(None, code, seen_from=eye_at(35)) - plain).norm(dim=1)
    oval = torch.zeros(478, dtype=torch.bool)
    oval[list(FACE_OVAL)] = True
    assert moved[~oval].max() < 1e-6
    assert moved[oval].max() > 20 * MM


def test_registration_to_the_68_of_calibrated_pictures():
    """Every camera sees another jaw line; without sliding the fit would be a narrower face's."""
    head = head_named("default")
    identity, code = somebody(head, 3), ExpressionCode.from_named(jawOpen=0.3, browInnerUp=0.5)
    cameras = [Camera.frontal(1500.0, 800, 1.0, yaw) for yaw in (-0.7, 0.0, 0.6)]
    eyes = torch.stack([camera.position() for camera in cameras])
    points = head.ibug_landmarks(identity, code, seen_from=eyes)
    seen = torch.stack(
        [
            torch.from_numpy(project_points(p.numpy(), c.viewmat.numpy(), c.K.numpy())[0]).float()
            for p, c in zip(points, cameras)
        ]
    )
    fit = register_to_views(head, seen, cameras, kind="ibug", iterations=40)
    assert fit.error_px < 1.5
    error = head.ibug_landmarks(fit.identity, fit.code, seen_from=eyes) - points
    assert error.norm(dim=-1).mean() < 2 * MM
    with pytest.raises(ValueError, match=r"\[3, 68, 2\]"):
        register_to_views(head, seen[:, :60], cameras, kind="ibug")
