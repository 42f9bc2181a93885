"""Known people and codes, found again from their landmarks."""

import numpy as np
import pytest
import torch

from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError
from avatar3d.geometry import quaternion_to_matrix
from avatar3d.heads import load_head
from recon.track import Tracking, calibrate, track_frames, track_support
from tests.recon.track.synthetic import SIZE_PX, Scene, make_scene

HEAD = load_head("default")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(HEAD, seed=3, frames=14, noise_px=0.5)


@pytest.fixture(scope="module")
def tracking(scene: Scene) -> Tracking:
    return track_support(scene.landmarks[:8], SIZE_PX, HEAD)


def turn_degrees(found: ExpressionCode, truth: ExpressionCode) -> float:
    relative = quaternion_to_matrix(found.head_rotation).transpose(-1, -2) @ quaternion_to_matrix(
        truth.head_rotation
    )
    cosine = (torch.diagonal(relative, dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).max())


def test_support_explains_its_landmarks(tracking: Tracking, scene: Scene) -> None:
    # Half a pixel of noise in x and y is 0.63 px of distance.
    assert tracking.residual_px.mean() < 0.8
    assert turn_degrees(tracking.codes, scene.codes.at(slice(0, 8))) < 3.0
    assert abs(tracking.focal_px - 1500) < 60
    assert tracking.identity.norm() < 1.5 * scene.identity.norm()


def test_codes_of_new_frames_are_found_again(tracking: Tracking, scene: Scene) -> None:
    found = track_frames(tracking, scene.landmarks[8:])
    truth = scene.codes.at(slice(8, None))
    error = (found.coefficients - truth.coefficients).abs()
    assert error.mean() < 0.02
    assert turn_degrees(found, truth) < 3.0
    assert ((found.coefficients > 0.05).sum(1) <= 14).all()
    assert found.coefficients.min() >= 0
    assert found.coefficients.max() <= 1


@pytest.mark.parametrize(
    "names",
    [
        ("eyeBlinkLeft", "eyeBlinkRight"),
        ("mouthSmileLeft", "mouthSmileRight"),
        ("jawOpen",),
        ("eyeLookInLeft", "eyeLookOutRight"),
        ("eyeLookOutLeft", "eyeLookInRight"),
        ("eyeLookUpLeft", "eyeLookUpRight"),
        ("browInnerUp",),
        ("mouthPucker",),
        ("eyeBlinkLeft",),
    ],
)
def test_an_expression_is_called_by_its_name(names: tuple[str, ...], tracking: Tracking) -> None:
    coefficients = torch.zeros(1, HEAD.expression_count)
    for name in names:
        coefficients[0, ARKIT_INDEX[name]] = 0.8
    # The same person as the tracking's (seed), and another noise.
    scene = make_scene(HEAD, seed=3, frames=1, noise_px=0.5, turn=0.1, coefficients=coefficients)
    found = track_frames(tracking, scene.landmarks).coefficients[0]
    strongest = {ARKIT_NAMES[index] for index in found.argsort(descending=True)[: len(names)]}
    assert strongest == set(names)
    for name in names:
        assert abs(found[ARKIT_INDEX[name]] - 0.8) < 0.3


def test_one_photo_does_not_put_the_expression_into_the_identity() -> None:
    coefficients = torch.zeros(1, HEAD.expression_count)
    for name in ("mouthSmileLeft", "mouthSmileRight", "jawOpen"):
        coefficients[0, ARKIT_INDEX[name]] = 0.6
    scene = make_scene(HEAD, seed=5, frames=1, noise_px=0.5, turn=0.1, coefficients=coefficients)
    tracking = track_support(scene.landmarks, SIZE_PX, HEAD)
    found = tracking.codes.coefficients[0]
    for name in ("mouthSmileLeft", "mouthSmileRight", "jawOpen"):
        assert found[ARKIT_INDEX[name]] > 0.35


def test_frames_do_not_depend_on_each_other_unless_asked(tracking: Tracking, scene: Scene) -> None:
    together = track_frames(tracking, scene.landmarks[8:])
    alone = track_frames(tracking, scene.landmarks[10:11])
    torch.testing.assert_close(together.coefficients[2:3], alone.coefficients, atol=1e-4, rtol=0)


def test_video_mode_is_causal_and_steadier(tracking: Tracking) -> None:
    still = make_scene(HEAD, seed=3, frames=1, turn=0.1)
    rng = np.random.default_rng(0)
    shaky = np.repeat(still.landmarks, 12, axis=0)
    shaky = shaky + rng.normal(0, 0.5, shaky.shape)
    follow = track_frames(tracking, shaky, temporal=True)
    prefix = track_frames(tracking, shaky[:5], temporal=True)
    torch.testing.assert_close(follow.coefficients[:5], prefix.coefficients)
    alone = track_frames(tracking, shaky)
    assert follow.head_translation.diff(dim=0).norm() < alone.head_translation.diff(dim=0).norm()
    assert follow.coefficients.diff(dim=0).norm() < alone.coefficients.diff(dim=0).norm()


def test_frames_without_a_face_keep_the_code_before(tracking: Tracking, scene: Scene) -> None:
    landmarks = scene.landmarks[8:12].copy()
    landmarks[[0, 2]] = np.nan
    for temporal in (False, True):
        codes = track_frames(tracking, landmarks, temporal=temporal)
        torch.testing.assert_close(codes.head_rotation[2], codes.head_rotation[1])
        assert codes.coefficients.isfinite().all()


def test_scale_of_the_crop_does_not_matter(tracking: Tracking, scene: Scene) -> None:
    small = track_support(scene.landmarks[:8] / 2, SIZE_PX // 2, HEAD)
    torch.testing.assert_close(small.identity, tracking.identity, atol=0.02, rtol=0)
    assert abs(small.focal_px * 2 - tracking.focal_px) < 1


def test_calibration_lands_where_the_pixels_said(tracking: Tracking, scene: Scene) -> None:
    seen = scene.landmarks[:8].copy()
    seen[:, list(range(0, 60))] += [1.5, -1.0]  # how the detector sees this person
    truth = tracking.codes
    before = track_frames(tracking, seen)
    calibrated = calibrate(tracking, seen, truth)
    after = track_frames(calibrated, seen)
    assert calibrated.residual_px.mean() < tracking.residuals_px(truth, seen).mean()
    for name, share in (("coefficients", 0.95), ("head_translation", 0.7)):
        old = (getattr(before, name) - getattr(truth, name)).norm()
        assert (getattr(after, name) - getattr(truth, name)).norm() < share * old
    again = calibrate(calibrated, seen, truth)
    torch.testing.assert_close(again.landmark_offsets, calibrated.landmark_offsets)


def test_bad_landmarks_are_refused() -> None:
    with pytest.raises(UserError, match="478"):
        track_support(np.zeros((2, 468, 3)), SIZE_PX, HEAD)
    with pytest.raises(UserError, match="none of the 2 frames"):
        track_support(np.full((2, 478, 3), np.nan), SIZE_PX, HEAD)
    landmarks = make_scene(HEAD, seed=1, frames=2).landmarks
    landmarks[1] = np.nan
    with pytest.raises(UserError, match=r"support frames \[1\]"):
        track_support(landmarks, SIZE_PX, HEAD)
