"""Mattes: known opacities come back, the old background does not, neighbours are dropped."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from recon.capture import Face, Frame, detect, foreground_colors, prepare
from recon.capture.matting import _connected_to_face, _own_territory, guided_filter, refine_matte

SIZE = 256
SKIN, WALL = np.array([0.7, 0.45, 0.35], np.float32), np.array([0.1, 0.5, 0.2], np.float32)


@pytest.fixture(scope="module")
def disc() -> tuple[np.ndarray, np.ndarray]:
    """A soft-edged disc over a wall, and its true opacity; both lightly noisy."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    hairs = 4 * np.sin(40 * np.arctan2(y - 128, x - 128))
    alpha = np.clip((80 + hairs - np.hypot(x - 128, y - 128)) / 3 + 0.5, 0, 1)
    alpha = alpha.astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.01, (SIZE, SIZE, 3)).astype(np.float32)
    return alpha[..., None] * SKIN + (1 - alpha[..., None]) * WALL + noise, alpha


def test_refinement_finds_the_edge(disc: tuple[np.ndarray, np.ndarray]) -> None:
    image, alpha = disc
    coarse = np.asarray(cv2.GaussianBlur((alpha > 0.5).astype(np.float32), (0, 0), 4), np.float32)
    refined = refine_matte(image, coarse)
    assert refined.dtype == np.float32
    band = (alpha > 0.02) & (alpha < 0.98)
    assert np.abs(refined - alpha)[band].mean() < 0.12
    assert np.abs(refined - alpha)[band].mean() < 0.5 * np.abs(coarse - alpha)[band].mean()
    assert np.abs(refined - alpha)[~band].mean() < 0.01


def test_no_background_is_left_in_the_foreground(disc: tuple[np.ndarray, np.ndarray]) -> None:
    image, alpha = disc
    colours = foreground_colors(image, alpha)
    edge = (alpha > 0.2) & (alpha < 0.9)
    assert np.abs(colours[edge] - SKIN).mean() < 0.06
    assert np.abs(image[edge] - SKIN).mean() > 0.1
    np.testing.assert_allclose(colours[128, 128], image[128, 128], atol=0.02)


def test_guided_filter_keeps_a_constant_and_follows_edges() -> None:
    guide = np.zeros((40, 40, 3), np.float32)
    guide[:, 20:] = 1.0
    constant = guided_filter(guide, np.full((40, 40), 0.3, np.float32), 9, 1e-4)
    np.testing.assert_allclose(constant, 0.3, atol=1e-5)
    step = guide[..., 0].copy()
    np.testing.assert_allclose(guided_filter(guide, step, 9, 1e-4, shrink=1), step, atol=0.02)


def _face_at(x: float, y: float, others: list[list[float]] | None = None) -> Face:
    points = np.random.default_rng(0).uniform(-20, 20, (478, 3)) + (x, y, 0)
    boxes = np.array(others or np.zeros((0, 4)), np.float32)
    return Face(points.astype(np.float32), boxes)


def test_only_what_hangs_together_with_the_face_stays() -> None:
    matte = np.zeros((SIZE, SIZE), np.float32)
    cv2.circle(matte, (80, 128), 50, (1.0,), -1)
    cv2.circle(matte, (200, 128), 40, (1.0,), -1)
    cv2.line(matte, (80, 128), (200, 128), (1.0,), 2)  # too narrow to make them one
    kept = _connected_to_face(matte, _face_at(80, 128))
    assert kept[128, 80] == 1
    assert kept[128, 200] == 0


def test_a_neighbour_is_cut_off_in_the_middle() -> None:
    territory = _own_territory(_face_at(80, 128, [[180, 108, 220, 148]]), SIZE)
    assert territory[128, 100] == 1
    assert territory[128, 180] == 0
    assert (_own_territory(_face_at(80, 128), SIZE) == 1).all()


pytest.importorskip("mediapipe", reason="MediaPipe is not installed (extra recon)")
skimage_data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")


def test_portrait() -> None:
    (frame,) = prepare([Frame(skimage_data.astronaut(), source="portrait")], size=256)
    assert frame.image.shape == frame.foreground.shape == (256, 256, 3)
    assert frame.matte.shape == frame.valid.shape == (256, 256)
    assert frame.landmarks.shape == (478, 3)
    x, y = frame.landmarks[1, :2].astype(int)
    assert frame.matte[y - 15 : y + 15, x - 15 : x + 15].min() > 0.99
    assert frame.matte[:20, :20].max() < 0.05
    assert (frame.matte[~frame.valid] == 0).all()
    np.testing.assert_allclose(frame.over((1, 0, 1))[5, 5], (1, 0, 1), atol=0.02)


def test_a_given_alpha_is_the_matte() -> None:
    image = skimage_data.astronaut()
    face = detect(image)[0]
    x, y = face.landmarks[1, :2]
    rows, columns = np.mgrid[0:512, 0:512]
    alpha = (np.hypot(columns - x, rows - y) < 0.9 * face.height_px).astype(np.float32)
    (frame,) = prepare([Frame(image, alpha)], size=256, faces=[face])
    np.testing.assert_allclose(
        frame.matte, np.clip(frame.crop.warp(alpha), 0, 1) * frame.valid, atol=1e-6
    )


def test_shared_crop_progress_and_missing_faces() -> None:
    image = skimage_data.astronaut()
    face = detect(image)[0]
    frames = [Frame(np.roll(image, 10 * index, axis=1), index=index) for index in range(3)]
    moved = [Face(face.landmarks + np.array([10 * i, 0, 0], np.float32)) for i in range(3)]
    seen: list[tuple[int, int]] = []
    prepared = prepare(
        iter(frames),
        size=128,
        shared_crop=True,
        faces=[moved[0], None, moved[2]],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [frame.index for frame in prepared] == [0, 2]
    assert prepared[0].crop == prepared[1].crop
    assert seen == [(1, 3), (2, 3), (3, 3)]
    shift = prepared[1].landmarks - prepared[0].landmarks
    np.testing.assert_allclose(shift[:, 0], 20 * prepared[0].crop.scale, atol=1e-2)
