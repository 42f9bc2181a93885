"""A face measured again: in the picture's own pixels, alike for turned and mirrored pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from recon.capture import measure
from recon.capture.facemesh import has_plain_mesh, open_face_mesh
from recon.capture.mesh_points import EYES, LIPS
from recon.capture.mirror import MIRROR
from recon.capture.search import search_faces

pytest.importorskip("mediapipe", reason="MediaPipe is not installed (extra recon)")
skimage_data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")

FEATURES = np.isin(np.arange(478), [*LIPS, *EYES]) | (np.arange(478) >= 468)


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return skimage_data.astronaut()


@pytest.fixture(scope="module")
def rough(portrait) -> np.ndarray:
    return search_faces(portrait, max_faces=1, model_path=None)[0]


@pytest.fixture(scope="module")
def measured(portrait, rough) -> np.ndarray:
    return measure.refine_landmarks(portrait, rough)


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances [478] in percent of the face's height."""
    height = np.linalg.norm(a[152, :2] - a[10, :2])
    return 100 * np.linalg.norm(a[:, :2] - b[:, :2], axis=1) / height


def test_it_stays_near_the_first_look_depth_too(rough, measured):
    assert measured.shape == (478, 3)
    assert measured.dtype == np.float32
    assert _apart(measured, rough).mean() < 1.5
    assert np.corrcoef(measured[:, 2], rough[:, 2])[0, 1] > 0.98
    assert np.ptp(measured[:, 2]) == pytest.approx(np.ptp(rough[:, 2]), rel=0.15)


def test_a_mirrored_picture_is_measured_alike(portrait, rough, measured):
    mirrored = rough[MIRROR].copy()
    mirrored[:, 0] = portrait.shape[1] - mirrored[:, 0]
    again = measure.refine_landmarks(np.ascontiguousarray(portrait[:, ::-1]), mirrored)[MIRROR]
    again[:, 0] = portrait.shape[1] - again[:, 0]
    assert _apart(measured, again).mean() < 0.2  # one look alone: .4


@pytest.mark.parametrize(("turn", "zoom"), [(25, 1.0), (-10, 0.6), (0, 2.5)])
def test_it_turns_and_grows_with_the_picture(portrait, rough, measured, turn, zoom):
    matrix = np.asarray(cv2.getRotationMatrix2D((224, 128), turn, zoom))
    matrix[:, 2] += 0.5 * (matrix[:, :2].sum(1) - 1)  # centres of pixels lie at .5
    drawn = cv2.warpAffine(portrait, matrix - [[0, 0, 0.5], [0, 0, 0.5]], (512, 512))
    moved = np.column_stack([rough[:, :2] @ matrix[:, :2].T + matrix[:, 2], rough[:, 2] * zoom])
    again = measure.refine_landmarks(np.asarray(drawn, np.uint8), moved.astype(np.float32))
    expected = measured[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    assert _apart(again, expected).mean() < 0.9


def test_both_networks_have_their_say(portrait, rough, measured, monkeypatch):
    assert has_plain_mesh()
    monkeypatch.setattr(measure, "has_plain_mesh", lambda path: False)
    alone = measure.refine_landmarks(portrait, rough)
    moved = _apart(alone, measured)
    assert 0.05 < moved[~FEATURES].mean() < 1.0
    assert moved[FEATURES].mean() < 0.5 * moved[~FEATURES].mean()  # lips and eyes: mostly attention
    np.testing.assert_allclose(alone[468:], measured[468:], atol=1e-3)  # irises: attention alone


def test_where_the_face_is_not_found_again_the_first_look_stays(rough):
    grey = np.full((512, 512, 3), 127, np.uint8)
    np.testing.assert_array_equal(measure.refine_landmarks(grey, rough), rough)


def test_a_task_file_has_one_network(tmp_path, monkeypatch):
    monkeypatch.setenv("AVATAR3D_FACE_LANDMARKER", str(tmp_path / "mine.task"))
    assert not has_plain_mesh()
    assert not has_plain_mesh(tmp_path / "other.task")
    with pytest.raises(ValueError, match="without attention"):
        open_face_mesh(tracking=True, attention=False)
