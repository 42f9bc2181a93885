"""Scores of pictures whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from recon.benchmark import scores
from recon.benchmark.protocol import Protocol
from recon.benchmark.scores import Truth, as_compared, mean_scores, score
from tests.recon.benchmark.synthetic import fixed_detector, make_clip

pytest.importorskip("flip_evaluator", reason="FLIP needs the extra bench")

CLIP = make_clip(frames=12, protocol=Protocol(shots=(1,), test_frames=2))
TRUTH = Truth.of(CLIP.frame(CLIP.test[0]), fixed_detector)
REGIONS = ("crop", "head", "face")


def test_identical_pictures():
    figures = score(TRUTH.picture, TRUTH, fixed_detector)
    for region in REGIONS:
        assert figures[f"psnr_{region}"] == scores.MAX_PSNR
        assert figures[f"ssim_{region}"] == pytest.approx(1, abs=1e-5)
        assert figures[f"flip_{region}"] == pytest.approx(0, abs=1e-5)
    assert figures["sharpness"] == pytest.approx(1)
    assert [figures[f"akd_{k}"] for k in scores.LANDMARK_SUBSETS] == [0, 0, 0]
    assert figures["fail"] == 0


def test_an_error_of_a_tenth_is_20_db_in_every_region():
    shifted = TRUTH.picture + np.where(TRUTH.picture > 0.5, -0.1, 0.1).astype(np.float32)
    figures = score(shifted, TRUTH, fixed_detector)
    for region in REGIONS:
        assert figures[f"psnr_{region}"] == pytest.approx(20, abs=1e-3)
        assert figures[f"flip_{region}"] > 0


def test_an_error_outside_the_head_spares_the_head():
    changed = TRUTH.picture.copy()
    changed[-40:] = 0
    figures = score(changed, TRUTH, fixed_detector)
    assert figures["psnr_head"] == figures["psnr_face"] == scores.MAX_PSNR
    assert figures["psnr_crop"] < 20


def test_landmarks_are_compared_in_px_of_the_picture():
    figures = score(TRUTH.picture, TRUTH, lambda picture: fixed_detector(picture) + [3, 4])
    assert figures["akd_all"] == pytest.approx(5)


def test_a_render_without_a_face_fails_and_spares_the_means():
    good = score(TRUTH.picture, TRUTH, fixed_detector)
    failed = score(TRUTH.picture, TRUTH, lambda picture: None)
    assert failed["fail"] == 1
    assert np.isnan(failed["akd_all"])
    means = mean_scores([good, failed])
    assert means["fail"] == 0.5
    assert means["akd_all"] == 0
    assert np.isnan(mean_scores([failed])["akd_all"])


def test_a_truth_without_a_face_has_no_face_region():
    blind = Truth.of(CLIP.frame(CLIP.test[0]), lambda picture: None)
    figures = score(blind.picture, blind, fixed_detector)
    assert np.isnan(figures["psnr_face"])
    assert figures["psnr_head"] == scores.MAX_PSNR


def test_what_the_camera_did_not_see_does_not_count():
    render = TRUTH.picture.copy()
    render[:, :8] = 0
    np.testing.assert_array_equal(as_compared(render, TRUTH), TRUTH.picture)


@pytest.mark.parametrize("render", [np.zeros((128, 128, 3)), np.full((256, 256, 3), np.nan)])
def test_a_method_s_wrong_picture_is_refused(render):
    with pytest.raises(ValueError, match="must return a finite picture"):
        as_compared(render, TRUTH)
