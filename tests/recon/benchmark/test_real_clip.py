"""One real clip: a change in how clips are prepared or scored moves these figures."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from recon.benchmark import cache
from recon.benchmark.clip import PreparedFrame
from recon.benchmark.ours import FollowingAvatar, OursOnPixels
from recon.benchmark.prepare import prepare_clip
from recon.benchmark.protocol import Protocol
from recon.benchmark.regions import regions_of
from recon.benchmark.run import run_fewshot
from recon.fit.fitter import FitConfig
from tests.support.data import data_file_by_hash

pytest.importorskip("mediapipe", reason="needs the extra recon")
pytest.importorskip("flip_evaluator", reason="FLIP needs the extra bench")


def _once(image, landmarks, *, copies):
    """Landmarks as the instrument found them, as in the study."""
    return landmarks


def test_baselines_on_a_real_clip_equal_the_studys(tmp_path, monkeypatch):
    monkeypatch.setenv("AVATAR3D_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "prepare_clip", partial(prepare_clip, measure=_once))
    clip = data_file_by_hash("60fb69b90af2")
    summary = run_fewshot([clip], ["copy", "warp2d"], (1,), quick=True).summary
    # On all 32 test frames these figures equal the study's (docs/benchmarks/README.md); here they
    # stand for eight of them. The detector's network rounds otherwise on other processors: 32.25 dB
    # on one, 32.32 on another.
    assert summary["psnr_copy_t1"] == pytest.approx(26.63, abs=0.05)
    assert summary["psnr_warp2d_t1"] == pytest.approx(32.28, abs=0.1)
    assert summary["ssim_warp2d_t1"] == pytest.approx(0.929, abs=0.002)
    assert summary["psnr_head_warp2d_t1"] == pytest.approx(22.90, abs=0.05)
    assert summary["akd_lips_warp2d_t1"] == pytest.approx(0.84, abs=0.05)
    assert summary["sharpness_warp2d_t1"] == pytest.approx(0.82, abs=0.01)
    assert summary["fail_warp2d_t1"] == 0


def test_methods_follow_landmarks_that_are_measured_again(tmp_path, monkeypatch):
    monkeypatch.setenv("AVATAR3D_CACHE", str(tmp_path))
    clip = data_file_by_hash("60fb69b90af2")
    summary = run_fewshot([clip], ["copy", "warp2d"], (1,), quick=True).summary
    assert summary["psnr_copy_t1"] == pytest.approx(26.63, abs=0.05)  # the regions stayed
    assert summary["psnr_warp2d_t1"] == pytest.approx(33.74, abs=0.15)
    assert summary["ssim_warp2d_t1"] == pytest.approx(0.936, abs=0.002)  # .929 with one pass


def test_the_avatar_helps_the_tracker_and_the_frames_pixels_help_more(tmp_path, monkeypatch):
    monkeypatch.setenv("AVATAR3D_CACHE", str(tmp_path))
    path = data_file_by_hash("60fb69b90af2")
    clip = cache.cached_clip(path, Protocol())
    support = clip.support[1]
    method = OursOnPixels(config=FitConfig(gaussian_count=20_000))
    assert method.sees_test_pixels
    fitted = method.fit(
        [clip.frame(index) for index in support], clip.seen_by(support, until=len(clip.ok) // 2 - 1)
    )
    assert isinstance(fitted, FollowingAvatar)

    def miss(picture: np.ndarray, truth: PreparedFrame, region: str) -> float:
        where = getattr(regions_of(truth, truth.landmarks_px()[:, :2]), region)
        return float(np.square(picture - truth.on_white())[where].mean())

    faces, heads = [], []  # with help and without; with the frame's pixels and without
    for number, index in enumerate(clip.test[::4]):
        truth, landmarks = clip.truth(index), clip.landmarks[index]
        helped = fitted._picture(fitted.code(landmarks))
        alone = fitted._picture(fitted.solve(landmarks[None]).at(0))
        faces.append([miss(picture, truth, "face") for picture in (helped, alone)])
        if number % 4 == 0:
            followed = fitted.render(index, clip.seen_by({*support, index}, until=index))
            heads.append([miss(picture, truth, "head") for picture in (followed, helped)])
    with_help, without = np.mean(faces, axis=0)
    assert with_help < 0.96 * without  # .92
    with_pixels, without = np.mean(heads, axis=0)
    assert with_pixels < 0.85 * without  # .70
