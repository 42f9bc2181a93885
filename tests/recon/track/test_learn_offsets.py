"""Offsets that synthetic detections were made with are learned from these detections."""

from pathlib import Path

import numpy as np
import pytest

from avatar3d.heads import load_head
from recon.capture.mirror import MIRROR
from recon.track import landmark_shape as shapes
from recon.track.landmark_shape import learned_offsets
from recon.track.learn_offsets import learn_offsets, save_offsets
from tests.recon.track.synthetic import SIZE_PX, make_scene

HEAD = load_head("default")


def test_offsets_are_found_again() -> None:
    truth = learned_offsets()["default"]  # make_scene's heads carry them
    clips = [
        make_scene(HEAD, seed=seed, frames=5, noise_px=0.3).landmarks - SIZE_PX / 2
        for seed in range(4)
    ]
    learned = learn_offsets(HEAD, clips, rounds=3)
    assert learned.residual_px[-1] < learned.residual_px[0]
    error = np.linalg.norm(learned.offsets - truth, axis=1)
    assert np.median(error) < 0.75 * np.median(np.linalg.norm(truth, axis=1))
    assert np.corrcoef(learned.offsets[:468].ravel(), truth[:468].ravel())[0, 1] > 0.7
    flipped = learned.offsets[MIRROR] * [-1.0, 1.0, 1.0]
    np.testing.assert_allclose(flipped, learned.offsets, atol=1e-9)


def test_one_head_is_replaced_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = learned_offsets()
    file = tmp_path / "offsets.safetensors"
    save_offsets("default", np.ones((478, 3)), file)
    monkeypatch.setattr(shapes, "LANDMARK_OFFSETS", file)
    learned_offsets.cache_clear()
    try:
        np.testing.assert_allclose(learned_offsets()["default"], 1.0)
        np.testing.assert_allclose(learned_offsets()["ict"], before["ict"])
    finally:
        learned_offsets.cache_clear()
