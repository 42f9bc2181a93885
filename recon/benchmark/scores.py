"""How good a render is: per region PSNR, SSIM, FLIP; sharpness; distance of landmarks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from recon.benchmark.clip import EVAL_PX, PreparedFrame, white_outside
from recon.benchmark.detect import Detector
from recon.benchmark.regions import Regions, regions_of
from render.metrics.akd import Subset, akd
from render.metrics.flip import flip_map
from render.metrics.psnr import psnr
from render.metrics.sharpness import sharpness
from render.metrics.ssim import ssim_map

Scores = dict[str, float]
LANDMARK_SUBSETS: tuple[Subset, ...] = ("all", "lips", "iris")
# A region without any error counts as this many dB: infinity would swallow the mean over frames.
MAX_PSNR = 120.0


@dataclass(frozen=True)
class Truth:
    """A test frame as it is compared with."""

    index: int
    picture: Float[np.ndarray, "256 256 3"]
    regions: Regions
    landmarks: Float[np.ndarray, "478 2"] | None  # found on `picture` itself, px

    @classmethod
    def of(cls, frame: PreparedFrame, detect: Detector) -> Truth:
        picture = frame.on_white()
        landmarks = detect(picture)
        return cls(frame.index, picture, regions_of(frame, landmarks), landmarks)


def as_compared(render: np.ndarray, truth: Truth) -> Float[np.ndarray, "256 256 3"]:
    """A method's picture, checked, in 0..1, and white where the camera saw nothing."""
    if render.shape != (EVAL_PX, EVAL_PX, 3) or not np.isfinite(render).all():
        raise ValueError(
            f"a method must return a finite picture [{EVAL_PX}, {EVAL_PX}, 3], got shape "
            f"{render.shape} with {np.count_nonzero(~np.isfinite(render))} values not finite"
        )
    return white_outside(np.clip(render, 0, 1), truth.regions.crop)


def score(render: Float[np.ndarray, "256 256 3"], truth: Truth, detect: Detector) -> Scores:
    """`score_found` with the landmarks that `detect` finds on the render."""
    return score_found(render, truth, detect(render))


def score_found(
    render: Float[np.ndarray, "256 256 3"],
    truth: Truth,
    found: Float[np.ndarray, "478 2"] | None,
) -> Scores:
    """All figures of one render (as `as_compared` returns it) with the landmarks found on it; nan
    where one cannot be told.

    The landmarks' distances are px at 256; `fail` is 1 where no face was found on the render, and
    its distance is then nan: read the means of both together.
    """
    image, target = torch.from_numpy(render), torch.from_numpy(truth.picture)
    ssim, flip = ssim_map(image, target).mean(-1), flip_map(image, target)
    scores: Scores = {}
    for region, mask in truth.regions._asdict().items():
        inside = torch.from_numpy(mask)
        seen = bool(mask.any())
        scores[f"psnr_{region}"] = min(psnr(image, target, inside), MAX_PSNR) if seen else np.nan
        scores[f"ssim_{region}"] = float(ssim[inside].mean()) if seen else np.nan
        scores[f"flip_{region}"] = float(flip[inside].mean()) if seen else np.nan
    head = torch.from_numpy(truth.regions.head)
    scores["sharpness"] = sharpness(image, target, head) if head.any() else np.nan

    for subset in LANDMARK_SUBSETS:
        scores[f"akd_{subset}"] = (
            akd(found, truth.landmarks, subset)
            if found is not None and truth.landmarks is not None
            else np.nan
        )
    scores["fail"] = float(found is None)
    return scores


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean of each figure over the frames where it could be told; nan where none could."""
    return {name: mean(each[name] for each in scores) for name in scores[0]}


def mean(values: Iterable[float]) -> float:
    """The mean without nans, nan for none; numpy's nanmean warns there."""
    told = [value for value in values if np.isfinite(value)]
    return float(np.mean(told)) if told else float("nan")
