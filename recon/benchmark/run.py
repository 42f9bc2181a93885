"""The few-shot benchmark: every method on every clip with every number of support frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d.errors import UserError
from avatar3d.progress import progress
from recon.benchmark.cache import cached_clip
from recon.benchmark.clip import PreparedClip
from recon.benchmark.config import NamedClip
from recon.benchmark.cross import Driver, cross_figures
from recon.benchmark.detect import Detector, picture_detector, version
from recon.benchmark.fewshot_report import FewshotReport
from recon.benchmark.judge import ClipJudge
from recon.benchmark.method import Fitted, Method, get_method
from recon.benchmark.networks import Networks
from recon.benchmark.pictures import SHEET_ROWS, PictureFolder
from recon.benchmark.prepare import hash_clip
from recon.benchmark.protocol import Indices, Protocol, thinned
from recon.benchmark.report import Row, commit, make_report
from recon.benchmark.scores import Truth, as_compared, mean, mean_scores, score_found
from recon.benchmark.store import RowStore, code_digest, fingerprint
from recon.benchmark.summary import key, summarize
from render.metrics.fid import fid

NAME = "fewshot"


@dataclass(frozen=True)
class Quick:
    """A run of less than a minute, to see that all works; its figures say little."""

    clips: int = 2
    shots: Indices = (1, 8)
    test_frames: int = 8


@dataclass(frozen=True)
class Keep:
    """What a run leaves on disk while it works."""

    rows: Path | None = None  # finished rows: a run that was stopped goes on from them
    pictures: Path | None = None  # truth, renders and contact sheets
    all_frames: bool = True  # else only those that the contact sheets show


def run_fewshot(
    clips: Sequence[Path | NamedClip | PreparedClip],
    methods: Sequence[str | Method],
    shots: Sequence[int] = (1, 8, 32),
    *,
    quick: bool = False,
    pictures: Path | None = None,
    keep: Keep | None = None,
    detector: Detector | None = None,
    networks: Networks | None = None,
    cross: bool = False,
) -> FewshotReport:
    """Measure `methods` (names of METHODS, or instances with settings of their own).

    Files are prepared through the cache; `PreparedClip`s are taken as they are. `pictures` is
    short for a `Keep` with that folder alone. `detector` finds the landmarks of renders (default:
    MediaPipe's). With `networks` a judge adds what they and the tracker say; `cross` asks each
    method to show every person in the motion of another clip.
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
    if cross and (len(clips) < 2 or networks is None):
        raise UserError(
            f"driving one person by another needs two clips and a judge, got {len(clips)} "
            f"{'clip' if len(clips) == 1 else 'clips'}; name more with --clips"
        )
    keep = keep or Keep(pictures=pictures)
    commit()  # remembered: what is measured, whatever changes until the report
    # The default shots are always prepared, so that one cached clip serves the usual runs.
    protocol = Protocol(shots=tuple(sorted({*Protocol.shots, *shots})))
    settings = {
        "shots": list(shots),
        "methods": {method.name: method.settings() for method in chosen},
        "test_frames": test_frames,
        "max_frames": protocol.max_frames,
        "detector": version() if detector is None else "given by the caller",
        "networks": networks.used if networks else {},
        "absent": networks.absent if networks else {},
        "cross": "the motion of the clip half of the list away" if cross else "not asked for",
        "quick": quick,
    }
    depends = {name: settings[name] for name in ("test_frames", "detector", "networks", "cross")}
    store = RowStore(keep.rows, {"code": code_digest(), "judged": networks is not None, **depends})

    rows: list[Row] = []
    features = _Features()
    with (
        picture_detector() if detector is None else nullcontext(detector) as detect,
        progress("few-shot benchmark", len(clips) * len(chosen) * len(shots)) as step,
    ):
        for place, clip in enumerate(clips):
            bench = _ClipBench(
                _prepared(clip, protocol), test_frames, detect, networks or Networks(),
                keep, store, judged=networks is not None,
            )  # fmt: skip
            if cross:
                other = _prepared(clips[(place + len(clips) // 2) % len(clips)], protocol)
                bench.driver = Driver(other, ClipJudge(other, (), networks or Networks()))
            path = _path(clip)
            digest = hash_clip(path) if path else ""
            for count in shots:
                for method in chosen:
                    row, own = bench.measured(method.about(digest) if digest else method, count)
                    rows.append(row)
                    features.add(method.name, count, own, bench)
                    step()
            bench.finish()

    settings["clips"] = list(dict.fromkeys(row["clip"] for row in rows))
    summary = {**summarize(rows), **features.distances()}
    return make_report(NAME, settings, rows, summary, FewshotReport)


def _path(clip: Path | NamedClip | PreparedClip) -> Path | None:
    if isinstance(clip, NamedClip):
        return clip.path
    return clip if isinstance(clip, Path) else None


def _prepared(clip: Path | NamedClip | PreparedClip, protocol: Protocol) -> PreparedClip:
    if isinstance(clip, NamedClip):
        return replace(cached_clip(clip.path, protocol), name=clip.name)
    return cached_clip(clip, protocol) if isinstance(clip, Path) else clip


class _ClipBench:
    """All that is measured on one clip. Nothing is computed before a row asks for it."""

    driver: Driver | None = None

    def __init__(
        self,
        clip: PreparedClip,
        test_frames: int,
        detect: Detector,
        networks: Networks,
        keep: Keep,
        store: RowStore,
        *,
        judged: bool,
    ) -> None:
        self.clip, self._detect, self._networks = clip, detect, networks
        self._test = thinned(clip.test, test_frames)
        self._keep, self._store, self._judged = keep, store, judged
        self._fingerprint = fingerprint(clip)

    @cached_property
    def truths(self) -> list[Truth]:
        return [Truth.of(self.clip.truth(index), self._detect) for index in self._test]

    @cached_property
    def judge(self) -> ClipJudge:
        return ClipJudge(self.clip, self.truths, self._networks)

    @cached_property
    def _folder(self) -> PictureFolder | None:
        """The test frames' pictures; with it those of the truth are there."""
        if self._keep.pictures is None:
            return None
        only = None if self._keep.all_frames else thinned(self._test, SHEET_ROWS)
        folder = PictureFolder(self._keep.pictures, self.clip.name, only)
        folder.add_column("truth")
        if not folder.has("truth", self._test):
            folder.save_truth(self.truths)
        return folder

    @cached_property
    def _cross_folder(self) -> PictureFolder | None:
        if self._keep.pictures is None or self.driver is None:
            return None
        frames = self.driver.frames
        only = None if self._keep.all_frames else thinned(frames, SHEET_ROWS)
        folder = PictureFolder(self._keep.pictures / self.clip.name, "cross", only)
        for index in frames:
            folder.save_render("driver", index, self.driver.clip.frame(index).on_white())
        return folder

    def measured(self, method: Method, shots: int) -> tuple[Row, np.ndarray | None]:
        """A row, and Inception's features of its renders; from an earlier run where it left them."""
        column = f"{method.name}_T{shots}"
        name = f"{self.clip.name}-{column}"
        about: dict[str, Any] = {
            "clip": self._fingerprint,
            "settings": method.settings(),
            "shots": shots,
            "method": method.name,
            "driver": None if self.driver is None else fingerprint(self.driver.clip),
        }
        digest = self._store.digest(about)
        there = self._folder is None or self._folder.has(column, self._test, digest)
        done = self._store.load(name, about) if there else None
        if done is not None:
            for folder in (self._folder, self._cross_folder):
                if folder:
                    folder.add_column(column)
            return done, self._store.load_features(name, about)
        if self._folder:
            self._folder.mark(column, "")
        row, renders = self._measure(method, shots, column)
        if self._folder:
            self._folder.mark(column, digest)
        features = self.judge.features(renders)
        self._store.save_features(name, about, features)
        self._store.save(name, about, row)
        return row, features

    def _measure(self, method: Method, shots: int, column: str) -> tuple[Row, list[np.ndarray]]:
        """One row: fit the method to the support frames, then show and judge it frame by frame.

        The method sees neither the test frames' pixels nor what comes after the frame asked for.
        """
        clip = self.clip
        support = clip.support[shots]
        started = time.perf_counter()
        fitted = method.fit(
            [clip.frame(index) for index in support],
            clip.seen_by(support, until=len(clip.ok) // 2 - 1),
        )
        fit_seconds = time.perf_counter() - started

        scores, seconds, renders = [], [], []
        for truth in self.truths:
            pixels = {*support, truth.index} if method.sees_test_pixels else support
            seen = clip.seen_by(pixels, until=truth.index)
            started = time.perf_counter()
            render = fitted.render(truth.index, seen)
            seconds.append(time.perf_counter() - started)
            compared = as_compared(render, truth)
            found = self._detect(compared)
            scores.append(score_found(compared, truth, found))
            if self._judged:
                scores[-1] = {**scores[-1], **self.judge.figures(compared, truth, found)}
            if self._networks.inception is not None:
                renders.append(compared)
            if self._folder:
                self._folder.save_render(column, truth.index, compared)
        row: Row = {
            "clip": clip.name,
            "method": method.name,
            "shots": shots,
            "support_frames": len(support),
            "support_indices": " ".join(map(str, support)),  # frontal ones are nearly alike
            "test_frames": len(self.truths),
            "sees_test_pixels": method.sees_test_pixels,
            **mean_scores(scores),
            "fit_seconds": fit_seconds,
            "render_ms": 1e3 * mean(seconds),
            **fitted.figures(),
            **self._cross(fitted, support, column),
        }
        return row, renders

    def _cross(self, fitted: Fitted, support: Indices, column: str) -> Row:
        if self.driver is None:
            return {}
        folder = self._cross_folder
        return {
            "driver": self.driver.clip.name,
            **cross_figures(
                fitted,
                self.clip,
                support,
                self.judge,
                self.driver,
                self._detect,
                keep=folder and (lambda index, render: folder.save_render(column, index, render)),
            ),
        }

    def finish(self) -> None:
        """Draw the contact sheets."""
        if self._folder:
            self._folder.save_contact_sheet(self._test)
        if self._cross_folder and self.driver:
            self._cross_folder.save_contact_sheet(self.driver.frames)


class _Features:
    """Inception's features of all clips, by method and number of support frames."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, int], tuple[list[np.ndarray], list[np.ndarray]]] = {}

    def add(self, method: str, shots: int, own: np.ndarray | None, bench: _ClipBench) -> None:
        truth = None if own is None else bench.judge.truth_features
        if own is not None and truth is not None:
            renders, truths = self._groups.setdefault((method, shots), ([], []))
            renders.append(own)
            truths.append(truth)

    def distances(self) -> dict[str, float]:
        """FID of each group over the frames of all its clips."""
        return {
            key("fid", method, shots): fid(
                np.concatenate(renders).astype(np.float64),
                np.concatenate(truths).astype(np.float64),
            )
            for (method, shots), (renders, truths) in self._groups.items()
        }
