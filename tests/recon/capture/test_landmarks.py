"""Landmarks on scikit-image's portrait, which travels with a dependency: found, steady, refused."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from avatar3d.errors import UserError
from recon.capture import Frame, detect, detect_one, track_faces
from recon.capture.landmarks import MIN_FACE_HEIGHT_PX
from recon.capture.mirror import MIRROR

pytest.importorskip("mediapipe", reason="MediaPipe is not installed (extra recon)")
skimage_data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """u8 [512, 512, 3]: one face, about 110 px high, left of the middle."""
    return skimage_data.astronaut()


def _resized(image: np.ndarray, factor: float) -> np.ndarray:
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=method), np.uint8)


def test_one_face(portrait: np.ndarray) -> None:
    (face,) = detect(portrait)
    assert face.landmarks.shape == (478, 3)
    assert face.landmarks.dtype == np.float32
    assert 80 < face.height_px < 140
    right_iris, left_iris = face.landmarks[468, :2], face.landmarks[473, :2]
    assert right_iris[0] < left_iris[0]  # the subject's right is on the left of the picture
    assert np.linalg.norm(right_iris - (204, 108)) < 12
    assert not len(face.others)


def test_same_picture_same_answer(portrait: np.ndarray) -> None:
    np.testing.assert_array_equal(detect(portrait)[0].landmarks, detect(portrait)[0].landmarks)


def test_a_turned_picture_moves_landmarks_along(portrait: np.ndarray) -> None:
    turn = cv2.getRotationMatrix2D((224, 128), 5, 1.05)
    turned = np.asarray(cv2.warpAffine(portrait, turn, (512, 512)), np.uint8)
    straight, moved = detect(portrait)[0], detect(turned)[0]
    expected = straight.landmarks[:, :2] @ turn[:, :2].T + turn[:, 2]
    distance = np.linalg.norm(moved.landmarks[:, :2] - expected, axis=1)
    assert distance.mean() < 0.006 * straight.height_px


def test_a_mirrored_picture_mirrors_landmarks(portrait: np.ndarray) -> None:
    """The detector alone does not know left from right alike: .0039 of the height."""
    straight, mirrored = detect(portrait)[0], detect(np.ascontiguousarray(portrait[:, ::-1]))[0]
    expected = straight.landmarks[MIRROR, :2] * [-1, 1] + [portrait.shape[1], 0]
    distance = np.linalg.norm(mirrored.landmarks[:, :2] - expected, axis=1)
    assert distance.mean() < 0.002 * straight.height_px


def test_mirror_is_its_own_inverse() -> None:
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(478))
    assert (MIRROR[[33, 61, 1, 468, 469]] == [263, 291, 1, 473, 476]).all()


def test_close_up_is_found(portrait: np.ndarray) -> None:
    x0, y0, x1, y1 = detect(portrait)[0].box.astype(int)
    close = portrait[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3]
    assert len(detect(_resized(close, 4))) == 1


def test_small_face_in_a_large_picture_is_found(portrait: np.ndarray) -> None:
    large = np.full((1800, 1800, 3), 90, np.uint8)
    large[1200:1712, 900:1412] = portrait
    (face,) = detect(large)
    whole = detect(portrait)[0]
    np.testing.assert_allclose(face.landmarks[:, :2] - (900, 1200), whole.landmarks[:, :2], atol=3)


def test_no_face_names_the_picture() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    noise = _resized(noise, 4)
    with pytest.raises(UserError, match=r"no face was found in wall\.png"):
        detect_one(Frame(noise, source="wall.png"))


def test_tiny_face_is_refused(portrait: np.ndarray) -> None:
    small = _resized(portrait, 0.2)
    with pytest.raises(UserError, match=f"at least {MIN_FACE_HEIGHT_PX} are needed"):
        detect_one(Frame(small, source="far.png"))


def test_small_face_is_used_and_said(
    portrait: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    face = detect_one(Frame(_resized(portrait, 0.45), source="far.png"))
    assert MIN_FACE_HEIGHT_PX <= face.height_px < 64
    assert "far.png is only" in caplog.text


@pytest.fixture(scope="module")
def pair(portrait: np.ndarray) -> np.ndarray:
    """The portrait twice, the right one three quarters as large."""
    small = _resized(portrait[:400, 60:400], 0.75)
    picture = np.full((400, 620, 3), 60, np.uint8)
    picture[:, :340] = portrait[:400, 60:400]
    picture[: small.shape[0], 350 : 350 + small.shape[1]] = small
    return picture


def test_several_faces(pair: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    frame = Frame(pair, source="both.png")
    with caplog.at_level(logging.WARNING):
        largest = detect_one(frame)
    assert "both.png shows 2 faces" in caplog.text
    assert largest.box[2] < 340
    assert largest.others.shape == (1, 4)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        second = detect_one(frame, face_index=1)
    assert second.box[0] > 340
    assert caplog.text == ""
    with pytest.raises(UserError, match="face 2 was asked for"):
        detect_one(frame, face_index=2)


def _clip(picture: np.ndarray, shift_px: int = 3, blank: tuple[int, ...] = ()) -> Iterator[Frame]:
    for index in range(12):
        image = np.roll(picture, index * shift_px, axis=1)
        image = np.full_like(image, 127) if index in blank else image
        yield Frame(image, None, index / 25, "clip.mp4", index)


def test_tracking_follows_and_leaves_gaps(portrait: np.ndarray) -> None:
    track = track_faces(_clip(portrait, blank=(0, 6)))
    assert list(np.flatnonzero(~track.found)) == [0, 6]
    assert track.landmarks.shape == (12, 478, 3)
    noses = track.landmarks[track.found][:, 1, 0]
    steps = np.diff(noses) / np.diff(np.flatnonzero(track.found))
    np.testing.assert_allclose(steps, 3, atol=1.5)
    faces = track.faces_at([1, 6, 11, 40])
    assert [face is None for face in faces] == [False, True, False, True]


def test_tracking_stays_with_the_chosen_face(pair: np.ndarray) -> None:
    track = track_faces(_clip(pair, shift_px=0), face_index=1)
    assert track.found.all()
    assert track.landmarks[:, 1, 0].min() > 340
    assert all(len(others) == 1 for others in track.others)


def test_clip_without_face() -> None:
    with pytest.raises(UserError, match=r"no face was found in any frame of clip\.mp4"):
        track_faces(_clip(np.full((120, 160, 3), 127, np.uint8)))


def test_import_is_light_and_the_networks_are_silent() -> None:
    """In a fresh process: no MediaPipe on import, and nothing on stderr when it runs."""
    program = """
import sys
import recon.capture
heavy = {"mediapipe", "av", "cv2", "PIL"} & set(sys.modules)
assert not heavy, heavy
import skimage.data
from recon.capture import Frame, detect_one, prepare
prepare([Frame(skimage.data.astronaut())], size=128)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
