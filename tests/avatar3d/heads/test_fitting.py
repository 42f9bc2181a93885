"""Geometry tools against known answers: distances, alignment, stabilisation, registration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d.camera import Camera
from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.geometry import quaternion_to_matrix, rotation_vector_to_quaternion
from avatar3d.heads import HeadModel, load_head
from avatar3d.heads.fitting import (
    Similarity,
    align,
    closest_points,
    mesh_to_mesh_distance,
    register_to_scan,
    register_to_views,
    scan_to_mesh_distance,
    stabilise,
)
from avatar3d.heads.fitting.distance import point_on_triangle, spread_evenly

MM = 1e-3


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("default")


def turned(*vector: float) -> np.ndarray:
    return quaternion_to_matrix(
        rotation_vector_to_quaternion(torch.tensor(vector).double())
    ).numpy()


@given(seed=st.integers(0, 10**6))
def test_the_nearest_point_of_a_triangle_is_nearer_than_any_other(seed: int):
    random = np.random.default_rng(seed)
    corners, point = random.normal(size=(3, 3)), random.normal(size=3) * 2
    weights = point_on_triangle(point, corners)
    assert weights.min() >= -1e-12
    assert weights.sum() == pytest.approx(1)
    best = np.linalg.norm(weights @ corners - point)
    others = random.dirichlet([0.7] * 3, 300) @ corners
    assert best <= np.linalg.norm(others - point, axis=1).min() + 1e-12


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), spread=st.floats(0.01, 3))
def test_closest_points_are_those_of_all_triangles(seed: int, spread: float):
    """Against each triangle in turn; sizes differ a hundredfold."""
    random = np.random.default_rng(seed)
    sizes = 10 ** random.uniform(-2, 0, (60, 1, 1))
    vertices = (random.normal(size=(60, 1, 3)) + sizes * random.normal(size=(60, 3, 3))).reshape(
        -1, 3
    )
    triangles = np.arange(180).reshape(60, 3)
    points = spread * random.normal(size=(20, 3))
    found = closest_points(points, vertices, triangles)
    corners = vertices[triangles]
    weights = point_on_triangle(points[:, None], corners[None])
    every = np.linalg.norm(np.einsum("nfk,fkc->nfc", weights, corners) - points[:, None], axis=-1)
    assert np.allclose(found.distance, every.min(1), rtol=0, atol=1e-12)
    place = found.of(vertices, triangles)
    assert np.allclose(np.linalg.norm(place - points, axis=1), found.distance)


def test_distances_of_shifted_squares():
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    there, back = mesh_to_mesh_distance(square, faces, square + [0, 0, 0.3], faces, 500)
    assert np.allclose([there, back], 0.3)
    inside = spread_evenly(square, faces, 1000)
    assert np.allclose(inside.mean(0), [0.5, 0.5, 0], atol=0.02)
    far = scan_to_mesh_distance(np.array([[2.0, 0.5, 0], [-1, -1, 0]]), square, faces)
    assert np.allclose(far, [1, np.sqrt(2)])


@given(seed=st.integers(0, 10**6))
def test_alignment_finds_the_motion(seed: int):
    random = np.random.default_rng(seed)
    motion = Similarity(float(random.uniform(0.3, 3)), turned(*random.normal(size=3)),
                        random.normal(size=3))  # fmt: skip
    points = random.normal(size=(7, 3))
    found = align(points, motion(points))
    assert found.scale == pytest.approx(motion.scale)
    assert np.allclose(found.rotation, motion.rotation)
    assert np.allclose(found.inverse()(motion(points)), points)
    mirrored = align(points, points * [-1, 1, 1])
    assert np.linalg.det(mirrored.rotation) == pytest.approx(1)


def test_stabilisation_takes_out_the_skulls_motion_alone(head: HeadModel):
    """Frames of talking and smiling under known motions: what is left is the expression."""
    random = np.random.default_rng(3)
    index = torch.arange(0, len(head.neutral), 3)
    still, frames, motions = [], [], []
    for _ in range(6):
        code = ExpressionCode.from_named(
            jawOpen=random.uniform(0, 1), mouthSmileLeft=random.uniform(0, 1),
            browInnerUp=random.uniform(0, 0.5),
        )  # fmt: skip
        points = head.vertices(None, code)[index].double().numpy()
        motion = Similarity(1.0, turned(*random.normal(size=3) * 0.4), random.normal(size=3) * 0.1)
        still.append(points)
        frames.append(motion(points))
        motions.append(motion)
    rest = head.neutral[index].double().numpy()
    stable, found = stabilise(np.array(frames), rest)
    assert np.abs(stable - np.array(still)).max() < 0.2 * MM
    for one, other in zip(found, motions):
        assert np.allclose(one.rotation, other.rotation, atol=2e-3)
    with pytest.raises(ValueError, match="frames"):
        stabilise(np.array(frames), rest[:-1])


def test_registration_to_a_scan_of_the_face(head: HeadModel):
    """Points of one side and the front of a known person, moved and a little noisy."""
    random = torch.Generator().manual_seed(5)
    identity = torch.randn(head.identity_count, generator=random)
    truth = head.vertices(identity, ExpressionCode.neutral()).double().numpy()
    skin = head.triangles[head.triangle_part == 0].unique().numpy()
    motion = Similarity(1.0, turned(0.3, -0.4, 0.2), np.array([0.2, 0.1, -0.3]))
    points = motion(truth[skin])
    points = points + 2e-4 * np.random.default_rng(1).normal(size=points.shape)
    surface = head.triangles[head.landmark_triangles].numpy()
    corners = truth[surface]
    weights = head.landmark_barycentrics.double().numpy()
    places = motion(np.einsum("lk,lkc->lc", weights, corners))
    landmarks = {i: places[i] for i in (1, 33, 263, 61, 291, 152)}
    fit = register_to_scan(head, points, landmarks=landmarks, iterations=10)
    # Point to plane: the surface may slide under the points to where it belongs.
    assert np.median(fit.distance) < 0.2 * MM
    assert np.linalg.norm(fit.vertices[skin] - motion(truth[skin]), axis=1).mean() < 0.5 * MM
    with pytest.raises(ValueError, match="at least 10 finite points"):
        register_to_scan(head, points[:3])


def test_registration_to_views(head: HeadModel):
    """Landmarks of three calibrated cameras, one of which sees half of them."""
    random = torch.Generator().manual_seed(6)
    identity = torch.randn(head.identity_count, generator=random)
    code = ExpressionCode.from_named(jawOpen=0.5, mouthSmileLeft=0.6, mouthSmileRight=0.6)
    turn = rotation_vector_to_quaternion(torch.tensor([0.1, 0.5, -0.1]))
    code = code._replace(head_rotation=turn, head_translation=torch.tensor([0.05, 0.1, -0.04]))
    points = head.landmarks(identity, code)
    cameras = [Camera.frontal(1500.0, 800, 1.0, yaw) for yaw in (-0.5, 0.2, 0.8)]
    seen = torch.stack([project(points, camera) for camera in cameras])
    weights = torch.ones(3, 478)
    weights[2, ::2] = 0
    seen[2, ::2] = 0  # hidden: must not matter
    fit = register_to_views(head, seen, cameras, weights=weights, iterations=60)
    assert fit.error_px < 2.0
    error = (head.landmarks(fit.identity, fit.code) - points).norm(dim=1)
    assert error.mean() < 2 * MM
    assert abs(float(fit.code.coefficients[ARKIT_INDEX["jawOpen"]]) - 0.5) < 0.25
    with pytest.raises(ValueError, match="expected landmarks of shape"):
        register_to_views(head, seen[:2], cameras)
    with pytest.raises(ValueError, match="at least 4 landmarks"):
        register_to_views(head, seen, cameras, weights=torch.zeros(3, 478))


def project(points: torch.Tensor, camera: Camera) -> torch.Tensor:
    inside = points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    pixels = inside @ camera.K.T
    return pixels[..., :2] / pixels[..., 2:]
