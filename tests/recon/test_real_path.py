"""The whole path on real people at the draft preset; bounds that a regression would break."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.config import load_preset
from recon import CreateConfig, CreateResult, clip_motion, create
from recon.capture import detect, read_video
from recon.clip_motion import crops_at, track_clip
from render.frames import frames
from render.metrics.akd import akd
from render.metrics.psnr import psnr
from tests.support.data import data_file_by_hash

SIZE_PX = 256
MOVING, FRAMES = "ac7ee3c24190", 60  # a clip, and how much of it is followed
# SHA-256, least face PSNR in dB, greatest lip distance in px at 256; beside them what was measured.
CASES = [
    ("469e133cf016", 25.0, 0.9),  # 26.2, 0.48
    ("36029289c888", 20.0, 1.4),  # 21.1, 0.99
    ("d41e73cf9d39", 24.8, 0.9),  # 26.1, 0.44
    (MOVING, 26.0, 1.0),  # 27.4, 0.59
]


@pytest.mark.slow
@pytest.mark.parametrize(("digest", "least_db", "most_px"), CASES)
def test_a_real_person(digest: str, least_db: float, most_px: float, tmp_path: Path):
    made = drafted(digest)
    face_db, lips_px = judge(made)
    print(f"{digest}: face {face_db:.2f} dB, lips {lips_px:.2f} px, {made.seconds}")
    assert face_db > least_db
    assert lips_px < most_px
    made.avatar.save(tmp_path / "me.avatar")
    assert (tmp_path / "me.avatar").stat().st_size < 2e6


@lru_cache(maxsize=1)  # the tests that follow a clip come after that clip's avatar
def drafted(digest: str) -> CreateResult:
    return create(data_file_by_hash(digest), load_preset(CreateConfig, "create", "draft"))


def judge(made: CreateResult) -> tuple[float, float]:
    """Face PSNR and lip distance against the support frames, on average."""
    import cv2

    camera = made.tracking.camera.resized(SIZE_PX, SIZE_PX)
    likeness, distances = [], []
    for index, frame in enumerate(made.frames):
        render = next(frames(made.avatar, [made.fit.codes.at(index)], camera))
        truth = cv2.resize(frame.over(), (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
        landmarks = frame.landmarks[:, :2] * SIZE_PX / len(frame.image)
        hull = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
        cv2.fillConvexPoly(hull, cv2.convexHull(landmarks[:468].astype(np.int32)), (1,))
        likeness.append(
            psnr(
                torch.from_numpy(render / 255.0).float(),
                torch.from_numpy(truth),
                torch.from_numpy(hull),
            )
        )
        on_truth = detect(np.rint(truth * 255).astype(np.uint8))
        on_render = detect(render)
        assert on_render, "no face is found on the render"
        if on_truth:
            distances.append(akd(on_render[0].landmarks, on_truth[0].landmarks, "lips"))
    return float(np.mean(likeness)), float(np.mean(distances))


@pytest.fixture
def beginning(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clip of which only the first two seconds are read."""
    monkeypatch.setattr(clip_motion, "read_video", lambda path: islice(read_video(path), FRAMES))
    return data_file_by_hash(MOVING)


@pytest.mark.slow
def test_the_motion_of_a_real_clip_is_semantic(beginning: Path):
    """Codes stay in 0..1, few are active, and the face is followed through the clip."""
    from avatar3d.heads import load_head

    clip = track_clip(beginning, load_head("default"))
    coefficients = clip.motion.codes.coefficients
    assert len(coefficients) == FRAMES
    assert clip.found.mean() > 0.98
    assert coefficients.min() >= 0
    assert coefficients.max() <= 1
    assert (coefficients > 0.1).float().sum(-1).mean() < 22
    assert clip.tracking.residual_px.mean() < 6  # of a crop of 512


@pytest.mark.slow
def test_an_avatar_follows_its_own_person_nearer_than_a_strangers(beginning: Path):
    avatar = drafted(MOVING).avatar
    lips_px = []
    for own in (None, avatar):
        clip = track_clip(beginning, avatar.head, own=own)
        camera = clip.tracking.camera.resized(SIZE_PX, SIZE_PX)
        shown = range(0, FRAMES, 6)
        renders = frames(avatar, [clip.motion.codes.at(index) for index in shown], camera)
        truths = crops_at(beginning, clip.crop, clip.times_s[shown])
        lips_px.append(np.mean([lip_distance(*pair) for pair in zip(renders, truths)]))
    assert lips_px[1] < 0.8 * lips_px[0]  # .59


def lip_distance(render: np.ndarray, crop: np.ndarray) -> float:
    """px at 256; nan where the detector finds no face."""
    import cv2

    truth = cv2.resize(crop, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
    on_render, on_truth = detect(render), detect(np.asarray(truth, np.uint8))
    if not on_render or not on_truth:
        return np.nan
    return akd(on_render[0].landmarks, on_truth[0].landmarks, "lips")
