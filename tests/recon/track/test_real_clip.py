"""Real faces: expressions are called by their names, and the model explains the landmarks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatar3d.codes import ARKIT_INDEX
from avatar3d.geometry import quaternion_to_matrix
from avatar3d.heads import load_head
from recon.track import OWN, Tracking, track_frames, track_support
from recon.track.figures import tracking_figures
from tests.support.data import data_file_by_hash

pytest.importorskip("mediapipe", reason="landmarks of real clips need the extra recon")


def landmarks_of(digest: str, step: int, end: int) -> np.ndarray:
    """Landmarks [F, 478, 3] of every `step`-th frame, px of a 512 crop."""
    from recon.capture import read_video, stable_head_crop, track_faces

    frames = read_video(data_file_by_hash(digest), indices=range(0, end, step))
    found = track_faces(frames).landmarks
    return stable_head_crop(found).to_crop(found)


@pytest.fixture(scope="module")
def happy() -> tuple[np.ndarray, Tracking]:
    landmarks = landmarks_of("cc25ac2663dd", 2, 108)
    return landmarks, track_support(landmarks[::8], 512, load_head("default"))


def test_a_happy_face_smiles_speaks_and_blinks(happy: tuple[np.ndarray, Tracking]) -> None:
    landmarks, tracking = happy
    codes = track_frames(tracking, landmarks)
    value = {name: codes.coefficients[:, number] for name, number in ARKIT_INDEX.items()}
    lids = np.linalg.norm(landmarks[:, 159, :2] - landmarks[:, 145, :2], axis=1)
    shut = int(lids.argmin())
    assert lids[shut] < 0.3 * np.median(lids)
    assert min(value["eyeBlinkLeft"][shut], value["eyeBlinkRight"][shut]) > 0.5
    wide = lids > np.median(lids)
    assert value["eyeBlinkLeft"][torch.from_numpy(wide)].mean() < 0.2
    # A smile: more of it than of its opposite, in the mean.
    smile = (value["mouthSmileLeft"] + value["mouthSmileRight"]).mean()
    assert smile > 4 * (value["mouthFrownLeft"] + value["mouthFrownRight"]).mean()
    lips = np.linalg.norm(landmarks[:, 13, :2] - landmarks[:, 14, :2], axis=1)
    assert np.corrcoef(lips, value["jawOpen"].numpy())[0, 1] > 0.7


def test_figures_of_a_real_clip(happy: tuple[np.ndarray, Tracking]) -> None:
    landmarks, tracking = happy
    figures = tracking_figures(tracking, track_frames(tracking, landmarks), landmarks)
    assert figures["residual_px"] < 1.6
    assert figures["active"] < 17
    assert figures["asymmetry"] < 0.12
    assert 1450 < tracking.focal_px < 1550
    assert tracking.identity.norm() / len(tracking.identity) ** 0.5 < 1.2


def test_own_codes_lie_closer_to_the_face_and_mean_less(
    happy: tuple[np.ndarray, Tracking],
) -> None:
    landmarks, tracking = happy
    meant = tracking_figures(tracking, track_frames(tracking, landmarks), landmarks)
    own = tracking_figures(tracking, track_frames(tracking, landmarks, settings=OWN), landmarks)
    assert own["residual_lips_px"] < 0.97 * meant["residual_lips_px"]
    assert own["active"] > meant["active"]
    # The avatar is fitted to its support frames at codes of this kind.
    again = track_frames(tracking, landmarks[::8], settings=OWN)
    assert (again.coefficients - tracking.codes.coefficients).abs().mean() < 0.01


def test_a_turned_head_turns_the_same_way() -> None:
    landmarks = landmarks_of("7d5c918a975c", 12, 240)
    tracking = track_support(landmarks[:10], 512, load_head("default"))
    codes = track_frames(tracking, landmarks)
    forward = quaternion_to_matrix(codes.head_rotation)[:, :, 2]
    yaw = torch.rad2deg(torch.atan2(forward[:, 0], forward[:, 2])).numpy()
    # Where the nose lies between the cheeks; +X, the subject's left, is the picture's right.
    left, right, nose = landmarks[:, 234, 0], landmarks[:, 454, 0], landmarks[:, 1, 0]
    assert np.corrcoef(yaw, (2 * nose - left - right) / (right - left))[0, 1] > 0.97
    assert np.abs(yaw).max() > 20
