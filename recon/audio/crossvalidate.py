"""How well a voice drives the mouth of somebody whom the network has never heard or seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from avatar3d.audio.features import BANDS, Normaliser
from avatar3d.heads import HeadModel
from recon.audio.head_measures import measures_of_coefficients
from recon.audio.material import Lesson, correlation
from recon.audio.measures import MEASURES

WARM_UP = 25  # frames at a clip's start that are not judged: the normaliser has heard too little

# A method learns from lessons and then predicts one: measures [T, 7], coefficients [T, 52] or None,
# and how closed the lips are (any scale).
Prediction = tuple[np.ndarray, "np.ndarray | None", np.ndarray]
Predictor = Callable[[Lesson], Prediction]
Method = Callable[[list[Lesson]], Predictor]


@dataclass(frozen=True)
class Scores:
    """Means over the clips, weighted by their length; F1 over all their frames that speak."""

    measures: Float[np.ndarray, " 7"]  # correlation of each
    posed: Float[np.ndarray, " 7"] | None  # of a head that is posed by the coefficients
    closure_f1: float
    always_closed_f1: float
    rows: list[dict[str, Any]]  # one a clip

    @property
    def mean(self) -> float:
        return float(self.measures.mean())

    @property
    def posed_mean(self) -> float:
        return math.nan if self.posed is None else float(self.posed.mean())


def folds(lessons: list[Lesson], count: int = 4) -> list[set[str]]:
    """Groups of people with about as much speech; whoever has most stands alone."""
    seconds: dict[str, float] = {}
    for lesson in lessons:
        seconds[lesson.identity] = seconds.get(lesson.identity, 0.0) + lesson.seen.sum()
    people = sorted(seconds, key=lambda one: -seconds[one])
    groups: list[set[str]] = [{people[0]}] + [set() for _ in range(count - 1)]
    for person in people[1:]:
        min(groups[1:], key=lambda group: sum(seconds[p] for p in group)).add(person)
    return [group for group in groups if group]


def cross_validate(method: Method, lessons: list[Lesson], head: HeadModel) -> Scores:
    """Every person is judged by what was learned from others only."""
    judged: list[tuple[Lesson, Prediction, float]] = []
    for group in folds(lessons):
        taught = [lesson for lesson in lessons if lesson.identity not in group]
        predictor = method(taught)
        said = [predictor(lesson)[2][lesson.seen] for lesson in taught]
        closed = [lesson.closed[lesson.seen] for lesson in taught]
        threshold = best_threshold(np.concatenate(said), np.concatenate(closed))
        judged += [
            (lesson, predictor(lesson), threshold) for lesson in lessons if lesson.identity in group
        ]
    return score(judged, head)


def score(judged: list[tuple[Lesson, Prediction, float]], head: HeadModel) -> Scores:
    """`judged`: a lesson, what was predicted for it, and the threshold above which lips count as
    closed (chosen on other people)."""
    rows, seconds, measures, posed = [], [], [], []
    said, truth = [], []
    for lesson, (predicted, coefficients, closure), threshold in judged:
        frames = lesson.seen.copy()
        frames[:WARM_UP] = False
        measures.append(_correlations(predicted, lesson.measures, frames))
        if coefficients is not None:
            moved = measures_of_coefficients(head, coefficients)
            posed.append(_correlations(moved, lesson.measures, frames))
        spoken = lesson.seen & lesson.speaking
        said.append(closure[spoken] > threshold)
        truth.append(lesson.closed[spoken])
        seconds.append(float(frames.sum()) / 50)
        row = {
            "clip": lesson.sha256[:8],
            "seconds": seconds[-1],
            "offset_ms": round(1000 * lesson.offset_s),
            "correlation": float(measures[-1].mean()),
            "closure_f1": f1(said[-1], truth[-1]),
        }
        row |= dict(zip(MEASURES, map(float, measures[-1])))
        rows.append(row | ({"posed": float(posed[-1].mean())} if coefficients is not None else {}))
    weight = np.array(seconds) / sum(seconds)
    closed, found = np.concatenate(truth), np.concatenate(said)
    return Scores(
        weight @ np.array(measures),
        weight @ np.array(posed) if posed else None,
        f1(found, closed),
        f1(np.ones_like(closed), closed),
        rows,
    )


def best_threshold(
    closure: Float[np.ndarray, " N"], closed: Bool[np.ndarray, " N"], beta: float = 1.0
) -> float:
    """The one above which these frames are called closed with the best F score."""
    candidates = np.quantile(closure, np.linspace(0.02, 0.98, 49))
    return float(max(candidates, key=lambda threshold: f1(closure > threshold, closed, beta)))


def f1(said: np.ndarray, truth: np.ndarray, beta: float = 1.0) -> float:
    """The F score of van Rijsbergen; recall counts `beta` times as much as precision."""
    both = (1 + beta**2) * float((said & truth).sum())
    return both / max(float(said.sum()) + beta**2 * float(truth.sum()), 1e-9)


def loudness(taught: list[Lesson]) -> Predictor:
    """The baseline of every puppet: the louder, the wider; each measure by ridge regression on the
    loudness of 0.2 s around the frame."""

    def features(lesson: Lesson) -> np.ndarray:
        loud = Normaliser()(lesson.bands[None])[0, :, BANDS].reshape(-1, 2).mean(1)
        smooth = np.convolve(loud, np.ones(9) / 9, "same")
        return np.concatenate(
            [_shifted(np.stack([loud, smooth], 1), shift) for shift in range(-5, 6)], axis=1
        )

    x = np.concatenate([features(lesson)[lesson.seen] for lesson in taught])
    y = np.concatenate([_targets(lesson)[lesson.seen] for lesson in taught])
    middle, mean = x.mean(0), y.mean(0)
    weight = np.linalg.solve(
        (x - middle).T @ (x - middle) + 10 * np.eye(x.shape[1]), (x - middle).T @ (y - mean)
    )

    def predictor(lesson: Lesson) -> Prediction:
        said = (features(lesson) - middle) @ weight + mean
        return said[:, :-1], None, said[:, -1]

    return predictor


def constant(taught: list[Lesson]) -> Predictor:
    """The mean mouth: correlates with nothing, and its lips are always closed (the better guess)."""
    mean = np.concatenate([lesson.measures[lesson.seen] for lesson in taught]).mean(0)

    def predictor(lesson: Lesson) -> Prediction:
        rest = np.repeat(mean[None], len(lesson), axis=0)
        # Tied scores are all above the threshold that is a hair below them.
        return rest, None, np.linspace(1, 1 + 1e-9, len(lesson))

    return predictor


def _targets(lesson: Lesson) -> np.ndarray:
    return np.concatenate([lesson.measures, lesson.closed[:, None]], axis=1)


def _shifted(values: np.ndarray, frames: int) -> np.ndarray:
    return values[np.clip(np.arange(len(values)) + frames, 0, len(values) - 1)]


def _correlations(said: np.ndarray, truth: np.ndarray, frames: np.ndarray) -> np.ndarray:
    return np.array([correlation(said[frames, k], truth[frames, k]) for k in range(len(MEASURES))])
