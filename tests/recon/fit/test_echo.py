"""A detector that errs alike on a face and on its avatar is corrected; what it errs always stays."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from avatar3d.avatar import Avatar
from avatar3d.codes import ExpressionCode
from recon.capture.mesh_points import BROWS, EYES
from recon.fit.echo import Echo, EchoConfig, own_tracking
from recon.track import OWN, Tracking, calibrate, track_frames, track_support
from tests.recon.track.synthetic import SIZE_PX, Scene, make_scene
from tests.support.avatars import plain_avatar

COUNT = 2000
NOSE, RIGHT_EYE, LEFT_EYE = 4, 33, 263


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detectors here go by where the face is; a picture of 512 px for each would take long."""
    blank = np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8)
    monkeypatch.setattr(Echo, "_render", lambda self, code: blank)


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


def solver(tracking: Tracking):
    return lambda px: track_frames(tracking, px, settings=OWN)


def miss(found: ExpressionCode, tracking: Tracking, truth_px: np.ndarray) -> float:
    """Mean distance of the model's landmarks to the true ones, px."""
    return float(np.linalg.norm(tracking.project_landmarks(found) - truth_px, axis=-1).mean())


def test_errors_that_differ_from_pose_to_pose_come_off():
    avatar, scene, tracking = known()
    truth = scene.landmarks[8:]
    seen = truth + np.stack([bent(points) for points in truth])
    solve = solver(tracking)
    alone = solve(seen)
    helped = Echo(avatar, tracking, detector=seeing(bent)).track(seen, solve)
    best = miss(solve(truth), tracking, truth)
    assert miss(alone, tracking, truth) > best + 0.8  # px: the errors matter
    assert miss(helped, tracking, truth) - best < 0.5 * (miss(alone, tracking, truth) - best)


def test_one_share_of_one_echo_is_taken_off():
    avatar, scene, tracking = known()
    seen = scene.landmarks[8:10]
    solve = solver(tracking)
    config = EchoConfig(share=0.5, rounds=1, shrink_frames=2)
    helped = Echo(avatar, tracking, config, seeing(bent)).track(seen, solve)
    first = tracking.project_landmarks(solve(seen))
    always = np.mean([bent(each) for each in tracking.project_landmarks(tracking.codes)], axis=0)
    expected = solve(seen - 0.5 * (np.stack([bent(each) for each in first]) - 0.8 * always))
    for value, wanted in zip(helped, expected):
        torch.testing.assert_close(value, wanted, atol=1e-5, rtol=0)


def test_what_the_detector_always_says_is_left_to_the_personal_offsets():
    avatar, scene, tracking = known()

    def moustache(points: np.ndarray) -> np.ndarray:
        return np.where(np.arange(478)[:, None] < 100, 3.0, 0.0) * np.ones(2)

    seen = scene.landmarks + moustache(scene.landmarks[0])
    calibrated = calibrate(tracking, seen[:8], tracking.codes)
    solve = solver(calibrated)
    echo = Echo(avatar, calibrated, EchoConfig(shrink_frames=0), seeing(moustache))
    helped = echo.track(seen[8:], solve)
    for value, wanted in zip(helped, solve(seen[8:])):
        torch.testing.assert_close(value, wanted, atol=1e-5, rtol=0)


def test_without_a_face_on_the_render_nothing_changes():
    avatar, scene, tracking = known()
    solve = solver(tracking)
    seen = scene.landmarks[8:10]
    helped = Echo(avatar, tracking, detector=lambda picture, about: None).track(seen, solve)
    for value, wanted in zip(helped, solve(seen)):
        torch.testing.assert_close(value, wanted)


def test_frames_without_a_face_are_not_rendered_and_all_are_counted():
    avatar, scene, tracking = known()
    seen = scene.landmarks[8:12].copy()
    seen[1] = np.nan
    asked: list[np.ndarray] = []
    counted: list[None] = []

    def detect(picture: np.ndarray, about: np.ndarray) -> np.ndarray:
        asked.append(about)
        return seeing(bent)(picture, about)

    echo = Echo(avatar, tracking, EchoConfig(rounds=2, known_frames=3), detect)
    codes = echo.track(seen, solver(tracking), lambda: counted.append(None))
    assert len(codes.coefficients) == 4
    assert torch.isfinite(codes.coefficients).all()
    assert len(asked) == 2 * 3 + 3
    assert len(counted) == 2 * 4


def test_an_avatar_tells_where_its_own_persons_landmarks_lie():
    """The detector sees this person's brows too high, and the avatar's as well."""
    avatar, scene, _ = known()

    def high_brows(points: np.ndarray) -> np.ndarray:
        error = np.zeros((478, 2))
        error[list(BROWS), 1] = -6.0
        return error

    seen = scene.landmarks + high_brows(scene.landmarks[0])
    stranger = track_support(seen[:8], SIZE_PX, avatar.head)
    own = own_tracking(avatar, stranger, seen[:8], seeing(high_brows))
    torch.testing.assert_close(own.identity, avatar.identity)
    errors = [
        (solver(each)(seen[8:]).coefficients - scene.codes.coefficients[8:]).abs().mean()
        for each in (stranger, own)
    ]
    assert errors[1] < 0.6 * errors[0]


def test_an_avatar_that_shows_no_face_tells_its_identity_alone():
    avatar, scene, tracking = known()
    own = own_tracking(avatar, tracking, scene.landmarks[:8], lambda picture, about: None)
    torch.testing.assert_close(own.identity, avatar.identity)
    assert not own.landmark_offsets.any()
    assert miss(own.codes, own, scene.landmarks[:8]) < 0.5
