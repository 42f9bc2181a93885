"""The few-shot benchmark: every method on every clip with every number of support frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from avatar3d.errors import UserError
from avatar3d.progress import progress
from recon.benchmark.cache import cached_clip
from recon.benchmark.clip import PreparedClip
from recon.benchmark.config import NamedClip
from recon.benchmark.detect import Detector, picture_detector, version
from recon.benchmark.method import START, Method, get_method
from recon.benchmark.pictures import PictureFolder
from recon.benchmark.protocol import Indices, Protocol, thinned
from recon.benchmark.report import Report, Row, commit, make_report
from recon.benchmark.scores import Truth, as_compared, mean, mean_scores, score

NAME = "fewshot"
BASELINE = "warp2d"  # the method that others are counted against


@dataclass(frozen=True)
class Quick:
    """A run of less than a minute, to see that all works; its figures say little."""

    clips: int = 2
    shots: Indices = (1, 8)
    test_frames: int = 8


def run_fewshot(
    clips: Sequence[Path | NamedClip | PreparedClip],
    methods: Sequence[str | Method],
    shots: Sequence[int] = (1, 8, 32),
    *,
    quick: bool = False,
    pictures: Path | None = None,
    detector: Detector | None = None,
) -> Report:
    """Measure `methods` (names of METHODS, or instances with settings of their own).

    Files are prepared through the cache; `PreparedClip`s are taken as they are. `pictures` is a
    folder for truth, renders and contact sheets; `detector` finds the landmarks of renders
    (default: MediaPipe's).
    """
    if not shots or min(shots) < 1:
        raise UserError(
            f"the numbers of support frames must be 1 or more, but {list(shots)} were given; "
            f"try 1 8 32"
        )
    chosen = [get_method(method) if isinstance(method, str) else method for method in methods]
    test_frames = Protocol.test_frames
    if quick:
        clips, test_frames = clips[: Quick.clips], Quick.test_frames
        shots = [count for count in shots if count in Quick.shots] or list(Quick.shots)
    commit()  # remembered: what is measured, whatever changes until the report
    # The default shots are always prepared, so that one cached clip serves the usual runs.
    protocol = Protocol(shots=tuple(sorted({*Protocol.shots, *shots})))

    rows: list[Row] = []
    with (
        picture_detector() if detector is None else nullcontext(detector) as detect,
        progress("few-shot benchmark", len(clips) * len(chosen) * len(shots)) as step,
    ):
        for clip in clips:
            prepared = _prepared(clip, protocol)
            test = thinned(prepared.test, test_frames)
            truths = [Truth.of(prepared.frame(index), detect) for index in test]
            folder = PictureFolder(pictures, prepared.name) if pictures else None
            if folder:
                folder.save_truth(truths)
            for count in shots:
                for method in chosen:
                    rows.append(measure(method, prepared, count, truths, detect, folder))
                    step()
            if folder:
                folder.save_contact_sheet(test)

    settings = {
        "shots": list(shots),
        "methods": {method.name: method.settings() for method in chosen},
        "clips": list(dict.fromkeys(row["clip"] for row in rows)),
        "test_frames": test_frames,
        "max_frames": protocol.max_frames,
        "detector": version() if detector is None else "given by the caller",
        "quick": quick,
    }
    return make_report(NAME, settings, rows, summarize(rows))


def _prepared(clip: Path | NamedClip | PreparedClip, protocol: Protocol) -> PreparedClip:
    if isinstance(clip, NamedClip):
        return replace(cached_clip(clip.path, protocol), name=clip.name)
    return cached_clip(clip, protocol) if isinstance(clip, Path) else clip


def measure(
    method: Method,
    clip: PreparedClip,
    shots: int,
    truths: Sequence[Truth],
    detect: Detector,
    folder: PictureFolder | None = None,
) -> Row:
    """One row: fit the method to the support frames, then show and judge it frame by frame.

    The method sees neither the test frames' pixels nor what comes after the frame asked for.
    """
    support = clip.support[shots]
    started = time.perf_counter()
    fitted = method.fit(
        [clip.frame(index) for index in support],
        clip.seen_by(support, until=len(clip.ok) // 2 - 1),
    )
    fit_seconds = time.perf_counter() - started

    scores, seconds = [], []
    for truth in truths:
        pixels = {*support, truth.index} if method.sees_test_pixels else support
        seen = clip.seen_by(pixels, until=truth.index)
        started = time.perf_counter()
        render = fitted.render(truth.index, seen)
        seconds.append(time.perf_counter() - started)
        compared = as_compared(render, truth)
        scores.append(score(compared, truth, detect))
        if folder:
            folder.save_render(f"{method.name}_T{shots}", truth.index, compared)
    return {
        "clip": clip.name,
        "method": method.name,
        "shots": shots,
        "support_frames": len(support),
        "test_frames": len(truths),
        "sees_test_pixels": method.sees_test_pixels,
        **mean_scores(scores),
        "fit_seconds": fit_seconds,
        "render_ms": 1e3 * mean(seconds),
        **fitted.figures(),
    }


def summarize(rows: Sequence[Row]) -> dict[str, float]:
    """ "METHOD/T=8/FIGURE" -> its mean over the clips, and in how many clips the method has a
    better face than the 2D warp, a worse face than it has before its fit, and a worse head than it
    has itself with one support frame.
    """
    by_key = {(row["method"], row["shots"], row["clip"]): row for row in rows}
    groups = dict.fromkeys((row["method"], row["shots"]) for row in rows)
    summary: dict[str, float] = {}
    for method, shots in groups:
        own = [row for row in rows if (row["method"], row["shots"]) == (method, shots)]
        label = f"{method}/T={shots}"
        for figure in own[0]:
            if figure not in ("clip", "method", "shots", "sees_test_pixels"):
                summary[f"{label}/{figure}"] = mean(row.get(figure, float("nan")) for row in own)
        if method != BASELINE and (BASELINE, shots) in groups:
            summary[f"{label}/clips_above_{BASELINE}"] = sum(
                row["psnr_face"] > by_key[BASELINE, shots, row["clip"]]["psnr_face"] for row in own
            )
        if (method + START, shots) in groups:
            summary[f"{label}/clips_below_start"] = sum(
                row["psnr_face"] < by_key[method + START, shots, row["clip"]]["psnr_face"]
                for row in own
            )
        if shots != 1 and (method, 1) in groups:
            summary[f"{label}/clips_head_below_T1"] = sum(
                row["psnr_head"] < by_key[method, 1, row["clip"]]["psnr_head"] for row in own
            )
    return summary
