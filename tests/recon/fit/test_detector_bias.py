"""A detector that errs alike on a face and on its avatar is corrected; what it errs always stays."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from avatar3d.avatar import Avatar
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from recon.capture.mesh_points import BROWS, EYES
from recon.fit import detector_bias
from recon.fit.detector_bias import DetectorBias, DetectorBiasConfig, own_tracking
from recon.track import OWN, Tracking, calibrate, track_frames, track_support
from render.frames import frames
from tests.recon.track.synthetic import SIZE_PX, Scene, make_scene
from tests.support.avatars import plain_avatar

COUNT = 2000
NOSE, RIGHT_EYE, LEFT_EYE = 4, 33, 263


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most detectors here go by where the face is; a picture of 512 px for each would take long."""
    blank = np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8)
    monkeypatch.setattr(detector_bias, "frames", lambda *_, **__: iter([blank]))


@lru_cache(maxsize=1)
def known() -> tuple[Avatar, Scene, Tracking]:
    """A person, eight frames of theirs that a perfect detector saw, and eight new ones after them."""
    avatar = plain_avatar(COUNT)
    scene = make_scene(avatar.head, seed=5, frames=16, turn=0.2)
    tracking = track_support(scene.landmarks[:8], SIZE_PX, avatar.head)
    return replace(avatar, identity=scene.identity), scene, tracking


def bent(points: np.ndarray) -> np.ndarray:
    """How far a detector errs that takes every face to look more nearly into the camera, and its
    lids to be heavier, px [478, 2]; another way in every pose."""
    middle = points[[RIGHT_EYE, LEFT_EYE], 0].mean()
    turned = (points[NOSE, 0] - middle) / np.ptp(points[:, 0])
    depth = np.exp(-(((points[:, 0] - points[:, 0].mean()) / 60) ** 2))
    error = np.zeros((478, 2))
    error[:, 0] = -25 * turned * depth
    error[list(EYES), 1] = 10 * turned
    return error


def seeing(error):
    """A detector that finds every face, off by `error` of where it is."""

    def detect(picture: np.ndarray, about: np.ndarray) -> np.ndarray:
        assert picture.dtype == np.uint8
        assert about.shape == (478, 3)
        found = about.copy()
        found[:, :2] += error(about[:, :2])
        return found

    return detect


def blind(picture: np.ndarray, about: np.ndarray) -> None:
    """A detector that finds no face."""


def solver(tracking: Tracking):
    return lambda px: track_frames(tracking, px, settings=OWN)


def miss(found: ExpressionCode, tracking: Tracking, truth_px: np.ndarray) -> float:
    """Mean distance of the model's landmarks to the true ones, px."""
    return float(np.linalg.norm(tracking.project_landmarks(found) - truth_px, axis=-1).mean())


@pytest.mark.usefixtures("no_pictures")
def test_errors_that_differ_from_pose_to_pose_come_off():
    avatar, scene, tracking = known()
    truth = scene.landmarks[8:]
    seen = truth + np.stack([bent(points) for points in truth])
    solve = solver(tracking)
    alone = solve(seen)
    helped = DetectorBias(avatar, tracking, detector=seeing(bent)).track(seen, solve)
    best = miss(solve(truth), tracking, truth)
    assert miss(alone, tracking, truth) > best + 0.8  # px: the errors matter
    assert miss(helped, tracking, truth) - best < 0.5 * (miss(alone, tracking, truth) - best)


@pytest.mark.usefixtures("no_pictures")
def test_a_share_of_the_bias_is_taken_off():
    avatar, scene, tracking = known()
    seen = scene.landmarks[8:10]
    solve = solver(tracking)
    config = DetectorBiasConfig(share=0.5, shrink_frames=2)
    helped = DetectorBias(avatar, tracking, config, seeing(bent)).track(seen, solve)
    first = tracking.project_landmarks(solve(seen))
    always = np.mean([bent(each) for each in tracking.project_landmarks(tracking.codes)], axis=0)
    expected = solve(seen - 0.5 * (np.stack([bent(each) for each in first]) - 0.8 * always))
    for value, wanted in zip(helped, expected):
        torch.testing.assert_close(value, wanted, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("no_pictures")
def test_what_the_detector_always_errs_is_left_to_the_personal_offsets():
    avatar, scene, tracking = known()

    def moustache(points: np.ndarray) -> np.ndarray:
        return np.where(np.arange(478)[:, None] < 100, 3.0, 0.0) * np.ones(2)

    seen = scene.landmarks + moustache(scene.landmarks[0])
    calibrated = calibrate(tracking, seen[:8], tracking.codes)
    solve = solver(calibrated)
    config = DetectorBiasConfig(shrink_frames=0)
    helped = DetectorBias(avatar, calibrated, config, seeing(moustache)).track(seen[8:], solve)
    for value, wanted in zip(helped, solve(seen[8:])):
        torch.testing.assert_close(value, wanted, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("no_pictures")
def test_without_a_face_on_the_render_nothing_changes():
    avatar, scene, tracking = known()
    solve = solver(tracking)
    seen = scene.landmarks[8:10]
    helped = DetectorBias(avatar, tracking, detector=blind).track(seen, solve)
    for value, wanted in zip(helped, solve(seen)):
        torch.testing.assert_close(value, wanted)


@pytest.mark.usefixtures("no_pictures")
def test_a_frame_that_the_detector_missed_is_as_the_next_to_it():
    avatar, scene, tracking = known()
    seen = np.repeat(scene.landmarks[8:9], 3, axis=0)
    answers = iter([True, False, True])

    def detect(picture: np.ndarray, about: np.ndarray) -> np.ndarray | None:
        return seeing(bent)(picture, about) if next(answers, True) else None

    bias = DetectorBias(avatar, tracking, detector=detect)
    assert bias._mean_px is bias._mean_px  # measured once, and before the frames
    answers = iter([True, False, True])
    codes = bias.track(seen, solver(tracking))
    for value in codes:
        torch.testing.assert_close(value[1], value[0], atol=1e-5, rtol=0)


@pytest.mark.usefixtures("no_pictures")
def test_frames_without_a_face_are_not_rendered_and_all_are_counted():
    avatar, scene, tracking = known()
    seen = scene.landmarks[8:12].copy()
    seen[1] = np.nan
    asked: list[np.ndarray] = []
    counted: list[None] = []

    def detect(picture: np.ndarray, about: np.ndarray) -> np.ndarray:
        asked.append(about)
        return seeing(bent)(picture, about)

    bias = DetectorBias(avatar, tracking, DetectorBiasConfig(known_frames=3), detect)
    codes = bias.track(seen, solver(tracking), lambda: counted.append(None))
    assert len(asked) == 3 + 3
    assert len(counted) == 4
    without = bias.track(seen[[0, 2, 3]], solver(tracking))
    for value, wanted in zip(codes, without):
        torch.testing.assert_close(value[[0, 2, 3]], wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("aside_m", [0.0, 0.1, 0.25])
def test_the_whole_face_is_looked_at_wherever_it_is(aside_m: float):
    """In the crop, at its edge, and outside of it: there as it would be in a larger picture."""
    avatar, _, tracking = known()
    code = tracking.codes.at(0)._replace(head_translation=torch.tensor([aside_m, 0.02, 0.0]))
    shown: list[tuple[np.ndarray, np.ndarray]] = []

    def detect(picture: np.ndarray, about: np.ndarray) -> None:
        shown.append((picture, about))

    assert DetectorBias(avatar, tracking, detector=detect).at(code) is None
    picture, about = shown[0]
    assert np.abs(about[:, :2].mean(0) - SIZE_PX / 2).max() < 1
    places = tracking.project_landmarks(ExpressionCode.stack([code]))[0]
    left, top = SIZE_PX + np.round(places - about[:, :2]).astype(int)[0]
    K = tracking.camera.K.clone()
    K[:2, 2] += SIZE_PX
    wide = Camera(tracking.camera.viewmat, K, 3 * SIZE_PX, 3 * SIZE_PX)
    whole = next(frames(avatar, [code], wide, background=torch.full((3,), 0.5)))
    cut = whole[top : top + SIZE_PX, left : left + SIZE_PX]
    assert (np.abs(picture.astype(int) - cut) <= 1).mean() > 0.999
    assert (np.abs(picture.astype(int) - 128) > 4).any(-1).mean() > 0.2  # a head is there


@pytest.mark.usefixtures("no_pictures")
def test_an_avatar_tells_where_its_own_persons_landmarks_lie():
    """The detector sees this person's brows too high, and the avatar's as well."""
    avatar, scene, _ = known()

    def high_brows(points: np.ndarray) -> np.ndarray:
        error = np.zeros((478, 2))
        error[list(BROWS), 1] = -6.0
        return error

    seen = scene.landmarks + high_brows(scene.landmarks[0])
    stranger = track_support(seen[:12], SIZE_PX, avatar.head)
    own = own_tracking(avatar, stranger, seen[:12], seeing(high_brows))
    torch.testing.assert_close(own.identity, avatar.identity)
    assert len(own.codes.coefficients) == len(own.residual_px) == 12
    assert own.residual_px.mean() < 0.7
    errors = [
        (solver(each)(seen[12:]).coefficients - scene.codes.coefficients[12:]).abs().mean()
        for each in (stranger, own)
    ]
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("modes", [10, None])
def test_an_avatar_that_shows_no_face_tells_its_identity_alone(modes: int | None):
    """Identities may have fewer numbers than the head has modes."""
    avatar, scene, tracking = known()
    avatar = replace(avatar, identity=avatar.identity[:modes])
    own = own_tracking(avatar, tracking, scene.landmarks[:12], blind)
    torch.testing.assert_close(own.identity, avatar.identity)
    assert not own.landmark_offsets.any()
    assert len(own.codes.coefficients) == len(own.residual_px) == 12
    assert own.residual_px.mean() < (3.0 if modes else 0.5)
