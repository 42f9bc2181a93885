"""Cross-reenactment: one person's picture, another person's motion. There is no truth to compare
with, so it is asked: is it still the person (CSIM), and does it move as the driver (APD, AED, AKD)?
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recon.benchmark.clip import PreparedClip, white_outside
from recon.benchmark.detect import Detector
from recon.benchmark.judge import NAN, ClipJudge
from recon.benchmark.method import Fitted
from recon.benchmark.protocol import Indices, thinned
from recon.benchmark.regions import CHIN, FOREHEAD
from recon.benchmark.scores import Scores, mean_scores
from render.metrics.akd import akd
from render.metrics.csim import similarity
from render.metrics.motion import aed, apd

FRAMES = 16  # of the driver's test frames


@dataclass(frozen=True)
class Driver:
    """Whose motion is shown."""

    clip: PreparedClip
    judge: ClipJudge

    @property
    def frames(self) -> Indices:
        return thinned(self.clip.test, FRAMES)


def cross_figures(
    fitted: Fitted,
    clip: PreparedClip,
    support: Indices,
    judge: ClipJudge,
    driver: Driver,
    detect: Detector,
    keep=None,
) -> Scores:
    """Means over the driver's frames, each figure's name with `cross_` before it.

    `cross_csim` is the cosine with the person of `clip` (beside `csim_person` of the same method);
    `cross_apd` and `cross_aed` compare the tracker's code of the render with that of the driver's
    frame; `cross_akd` is the distance of the landmarks from the driver's, px, after the similarity
    that makes it smallest: it holds the difference of the two faces' shapes as well. `keep` is
    called with each frame's number and picture.
    """
    driven = with_motion_of(clip, support, driver.clip)
    scores = []
    for index in driver.frames:
        render = np.clip(fitted.drive(index, driven, driver.clip), 0, 1)
        render = white_outside(render, clip.inside())
        if keep is not None:
            keep(index, render)
        found = detect(render)
        if found is None:
            scores.append(dict.fromkeys(("csim", "apd", "aed", "akd"), NAN) | {"fail": 1.0})
            continue
        code, asked = judge.code(found), driver.judge.code_in_crop(driver.clip.landmarks[index])
        assert code is not None  # landmarks were found
        scores.append(
            {
                "csim": judge.likeness(judge.embed(render, found)),
                "apd": apd(code, asked),
                "aed": aed(code, asked),
                "akd": akd_aligned(found, driver.clip.landmarks_px(index)[:, :2]),
                "fail": 0.0,
            }
        )
    return {f"cross_{name}": value for name, value in mean_scores(scores).items()}


def akd_aligned(found: np.ndarray, asked: np.ndarray) -> float:
    """Landmarks' distance [478, 2] px once place, size and roll are taken off."""
    matrix = similarity(found[:, :2], asked)
    return akd(found[:, :2] @ matrix[:, :2].T + matrix[:, 2], asked)


def with_motion_of(clip: PreparedClip, support: Indices, driver: PreparedClip) -> PreparedClip:
    """`clip` as methods that know landmarks alone may see it: the pixels of its support frames, and
    landmarks that leave its most frontal frame as the driver's leave theirs (relative motion, as in
    Siarohin et al. 2019), scaled by the heights of the two faces.
    """
    home, start = clip.landmarks[clip.support[1][0]], driver.landmarks[driver.support[1][0]]
    scale = _height(home) / _height(start)
    seen = clip.seen_by(support, until=-1)
    moved = (home + scale * (driver.landmarks - start)).astype(np.float32)
    return replace(seen, landmarks=moved, ok=driver.ok)


def _height(landmarks: np.ndarray) -> float:
    return float(np.linalg.norm(landmarks[CHIN, :2] - landmarks[FOREHEAD, :2]))
