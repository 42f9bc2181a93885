"""From a row for every clip to figures for all of them, with intervals over the clips."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from recon.benchmark.method import START
from recon.benchmark.report import Row
from recon.benchmark.scores import mean

BASELINE = "warp2d"  # the method that others are counted against
OURS = "ours"
# What a figure is called where no region is named.
SHORT = {"psnr_face": "psnr", "ssim_face": "ssim", "flip_face": "flip", "akd_all": "akd"}
# Figures whose intervals are given, and those in which ours is compared with every other method.
WITH_INTERVAL = (
    "psnr_face", "ssim_face", "psnr_head", "ssim_head", "psnr_crop", "akd_lips", "sharpness",
    "lpips", "csim", "cross_csim",
)  # fmt: skip
GAINS = ("psnr_face", "ssim_face", "psnr_head", "ssim_head", "psnr_crop", "ssim_crop")
NOT_FIGURES = ("clip", "method", "shots", "support_indices", "sees_test_pixels", "driver")
RESAMPLES = 10_000


def summarize(rows: Sequence[Row]) -> dict[str, float]:
    """METRIC_METHOD_tT -> the mean over the clips; `_low` and `_high` after it bound its 95 %.

    `psnr`, `ssim` and `flip` alone are those of the face, `akd` that of all landmarks.
    METRIC_gain_over_OTHER_tT: ours less the other's, paired by clip, in the metric's own unit.
    Counts of clips: where the method's face beats the 2D warp's, where its face is worse than
    before its fit, where its head (PSNR) is worse than with one support frame, and where its face
    or head (SSIM) is.
    """
    groups = list(dict.fromkeys((row["method"], row["shots"]) for row in rows))
    summary: dict[str, float] = {}
    for method, shots in groups:
        own = rows_of(rows, method, shots)
        for figure in figures_of(own):
            values = [row.get(figure, np.nan) for row in own]
            name = key(figure, method, shots)
            summary[name] = mean(values)
            if figure in WITH_INTERVAL:
                summary[f"{name}_low"], summary[f"{name}_high"] = interval(values)
        summary.update(_counts(rows, method, shots))
    for method, shots in groups:
        ours = first_ours(rows)
        if ours is not None and method != ours and (ours, shots) in groups:
            for figure in GAINS:
                values = paired(rows, figure, ours, method, shots)
                name = f"{SHORT.get(figure, figure)}_gain_over_{plain(method)}_t{shots}"
                summary[name] = mean(values)
                summary[f"{name}_low"], summary[f"{name}_high"] = interval(values)
    return summary


def key(figure: str, method: str, shots: int) -> str:
    """How the summary calls a figure."""
    return f"{SHORT.get(figure, figure)}_{plain(method)}_t{shots}"


def plain(method: str) -> str:
    return method.replace("-", "_")


def first_ours(rows: Sequence[Row]) -> str | None:
    """`ours`, or ours on another head."""
    for row in rows:
        name = row["method"]
        if name == OURS or (name.startswith(OURS + "_") and not name.endswith(START)):
            return name
    return None


def rows_of(rows: Sequence[Row], method: str, shots: int) -> list[Row]:
    return [row for row in rows if (row["method"], row["shots"]) == (method, shots)]


def figures_of(rows: Sequence[Row]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if name not in NOT_FIGURES]


def paired(rows: Sequence[Row], figure: str, ours: str, other: str, shots: int) -> list[float]:
    """Ours less the other's in every clip that has both."""
    others = {row["clip"]: row for row in rows_of(rows, other, shots)}
    return [
        row.get(figure, np.nan) - others[row["clip"]].get(figure, np.nan)
        for row in rows_of(rows, ours, shots)
        if row["clip"] in others
    ]


def interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The middle 95 % of means over clips drawn again (percentile bootstrap, seeded); nan for
    fewer than two clips."""
    told = np.array([value for value in values if np.isfinite(value)])
    if len(told) < 2:
        return float("nan"), float("nan")
    low, high = np.percentile(told[_draws(len(told))].mean(1), (2.5, 97.5))
    return float(low), float(high)


@lru_cache(maxsize=8)
def _draws(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, count, (RESAMPLES, count))


def _counts(rows: Sequence[Row], method: str, shots: int) -> dict[str, float]:
    own = rows_of(rows, method, shots)
    groups = {(row["method"], row["shots"]) for row in rows}
    by_key = {(row["method"], row["shots"], row["clip"]): row for row in rows}
    counts: dict[str, float] = {}

    def count(name: str, figure: str, other: str, at: int, sign: int) -> None:
        if (other, at) in groups:
            counts[f"clips_{name}_{plain(method)}_t{shots}"] = sum(
                sign * (row[figure] - by_key[other, at, row["clip"]][figure]) > 0
                for row in own
                if (other, at, row["clip"]) in by_key and figure in row
            )

    if method != BASELINE:
        count(f"above_{BASELINE}", "psnr_face", BASELINE, shots, 1)
    count("below_start", "psnr_face", method + START, shots, -1)
    if shots != 1:
        count("head_below_t1", "psnr_head", method, 1, -1)
        count("face_ssim_below_t1", "ssim_face", method, 1, -1)
        count("head_ssim_below_t1", "ssim_head", method, 1, -1)
    return counts
