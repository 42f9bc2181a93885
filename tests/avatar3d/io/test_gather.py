"""What a surface shows of Gaussians, against the same said slowly: one ray, one Gaussian at a time."""

from __future__ import annotations

import numpy as np

from avatar3d.io.gather import Cloud, Hits, gather


def _scene(seed: int, count: int = 60) -> tuple[Cloud, np.ndarray, np.ndarray, np.ndarray]:
    """Gaussians of all shapes over a wavy patch of 5 cm, and points on it."""
    random = np.random.default_rng(seed)

    def on_patch(number: int) -> tuple[np.ndarray, np.ndarray]:
        xy = random.uniform(-0.025, 0.025, (number, 2))
        z = 0.003 * np.sin(120 * xy[:, 0])
        normal = np.stack([-0.36 * np.cos(120 * xy[:, 0]), 0 * z, np.ones(number)], -1)
        return np.column_stack([xy, z]), normal / np.linalg.norm(normal, axis=-1, keepdims=True)

    feet, normals = on_patch(count)
    axes = np.linalg.qr(random.normal(size=(count, 3, 3)))[0]
    scales = np.exp(random.uniform(np.log(5e-4), np.log(5e-3), (count, 3)))
    precisions = axes @ (axes / scales[:, None, :] ** 2).transpose(0, 2, 1)
    cloud = Cloud(
        means=feet + random.uniform(-0.004, 0.012, (count, 1)) * normals,
        feet=feet,
        normals=normals * np.where(random.random((count, 1)) < 0.15, -1, 1),
        precisions=precisions,
        extents=scales.max(-1),
        opacities=random.uniform(0.05, 1.0, count).astype(np.float32),
        group=random.integers(0, 2, count),
    )
    points, point_normals = on_patch(40)
    return cloud, points, point_normals, random.integers(0, 2, 40)


def _slowly(cloud: Cloud, point: np.ndarray, normal: np.ndarray, group: int) -> dict[int, float]:
    """The weight of each Gaussian that the ray through a point sees."""
    seen = []
    for index in range(len(cloud.means)):
        if cloud.group[index] != group or cloud.normals[index] @ normal <= 0.3:
            continue
        precision, away = cloud.precisions[index], cloud.means[index] - point
        height = (normal @ precision @ away) / (normal @ precision @ normal)
        rest = away - height * normal
        alpha = cloud.opacities[index] * np.exp(-0.5 * rest @ precision @ rest)
        if alpha > 1 / 255:
            seen.append((height, index, min(float(alpha), 0.999)))
    weights, left = {}, 1.0
    for _, index, alpha in sorted(seen, reverse=True):
        weights[index] = left * alpha
        left *= 1 - alpha
    return weights


def _all_hits(*scene) -> Hits:
    batches = list(gather(*scene))
    return Hits(*(np.concatenate(column) for column in zip(*(vars(b).values() for b in batches))))


def test_rays_see_what_they_see_said_slowly():
    for seed in range(4):
        cloud, points, normals, group = _scene(seed)
        hits = _all_hits(cloud, points, normals, group)
        for index in range(len(points)):
            mine = hits.point == index
            found = dict(zip(hits.gaussian[mine].tolist(), hits.weight[mine].tolist()))
            expected = _slowly(cloud, points[index], normals[index], int(group[index]))
            for gaussian in found.keys() | expected.keys():
                difference = abs(found.get(gaussian, 0) - expected.get(gaussian, 0))
                # At the least alpha, rounding decides whether a Gaussian is seen.
                assert difference < 1 / 200


def test_weights_of_a_ray_are_shares_of_one():
    hits = _all_hits(*_scene(7, count=400))
    cover = np.bincount(hits.point, hits.weight)
    assert (hits.weight > 0).all()
    assert cover.max() <= 1 + 1e-6


def test_hits_come_front_to_back():
    hits = _all_hits(*_scene(8))
    same = hits.point[1:] == hits.point[:-1]
    assert (np.diff(hits.height)[same] <= 0).all()


def test_one_gaussian_alone():
    """Seen from its axis: its opacity at the centre, exp(-1/2) of it a standard deviation away."""
    cloud = Cloud(
        means=np.array([[0.0, 0.0, 0.002]]),
        feet=np.zeros((1, 3)),
        normals=np.array([[0.0, 0.0, 1.0]]),
        precisions=np.diag([1 / 0.001**2, 1 / 0.002**2, 1 / 0.0005**2])[None],
        extents=np.array([0.002]),
        opacities=np.array([0.8], np.float32),
        group=np.zeros(1, np.int64),
    )
    points = np.array([[0.0, 0, 0], [0.001, 0, 0], [0, 0.002, 0], [0, 0.02, 0]])
    hits = _all_hits(cloud, points, np.tile([0.0, 0, 1], (4, 1)), np.zeros(4, np.int64))
    np.testing.assert_array_equal(hits.point, [0, 1, 2])
    np.testing.assert_allclose(hits.weight, 0.8 * np.exp([0, -0.5, -0.5]), rtol=1e-5)
    np.testing.assert_allclose(hits.height, 0.002, rtol=1e-5)
    np.testing.assert_allclose(hits.depth, 0.0005, rtol=1e-4)
