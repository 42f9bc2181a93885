"""`avatar3d benchmark audio`: how well a voice drives a mouth, and how fast.

People: the shipped `clean` weights on everybody who did not teach them; the `research` recipe cross-
validated, every person judged by a network that learned from others only. Languages: synthetic
speech in languages that no training has used.
"""

from __future__ import annotations

import functools
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avatar3d.audio.features import RATE_HZ, FeatureStream
from avatar3d.audio.model import EngineName, VoiceModel, load_voice
from avatar3d.audio.network import LOOKAHEAD
from avatar3d.audio.stream import FRAME_S, VoiceFrames, VoiceStream
from avatar3d.avatar import Avatar
from avatar3d.heads import load_head
from recon.audio import visemes
from recon.audio.corpus import Corpus, corpus
from recon.audio.crossvalidate import (
    Predictor,
    Scores,
    constant,
    cross_validate,
    f1,
    folds,
    loudness,
    score,
)
from recon.audio.head_measures import measures_by_channel
from recon.audio.latency import sound_to_picture
from recon.audio.material import Lesson, correlation
from recon.audio.measures import MEASURES
from recon.audio.outputs import CLOSURE, COUNT, run
from recon.audio.pretrain import pretrain
from recon.audio.train import REPLAY_CHUNKS, Material, material, predictor, recipe
from recon.benchmark.driving.plots import plots_of
from recon.benchmark.report import Column, Report, Row, make_report, markdown_table

SPEED_S = 10.0  # of sound
_STEP = RATE_HZ // 50  # samples
_PEOPLE: list[Column] = [
    ("mean", "correlation", 3),
    *((name, name, 2) for name in MEASURES),
    ("posed head", "posed", 3),
    ("closed lips F1", "closure_f1", 3),
    ("s", "seconds", 1),
    ("offset ms", "offset_ms", 0),
]


@dataclass(frozen=True)
class AudioConfig:
    cross_validate: bool = True
    unseen_minutes: float = 10.0
    repeats: int = 8  # of each timing; the fastest of each step counts


QUICK = AudioConfig(cross_validate=False, unseen_minutes=1.0, repeats=2)


class AudioReport(Report):
    def plots(self) -> dict[str, str]:
        return plots_of(self.name, self.rows)

    def markdown(self) -> str:
        methods = [row for row in self.rows if row["table"] == "people"]
        clips = [row for row in self.rows if row["table"] == "clips"]
        figures = "\n".join(f"| {name} | {value:.4g} |" for name, value in self.summary.items())
        return (
            f"{self.heading()}{self.settings['split']}\n\n"
            f"People who were not learned from:\n\n{markdown_table(methods, ('method',), _PEOPLE)}\n"
            f"Figures:\n\n| figure | value |\n|---|---:|\n{figures}\n\n"
            f"Every clip:\n\n{markdown_table(clips, ('clip', 'method'), _PEOPLE)}"
        )


def run_audio(data: Path | None, config: AudioConfig, avatar: Avatar | None = None) -> AudioReport:
    """All figures; those of people need `data`, those of languages espeak-ng, and the time from a
    sound to its picture an avatar."""
    clean = load_voice("clean")
    summary: dict[str, float] = {}
    rows: list[Row] = []
    notes: list[str] = []
    if data is not None:
        people_rows, people = _people(data, clean, config, notes)
        rows += people_rows
        summary |= people
    else:
        notes.append("No --data: figures of people were not measured.")
    if shutil.which("espeak-ng"):
        summary |= unseen_languages(clean, corpus(1, "unseen", config.unseen_minutes))
    else:
        notes.append("espeak-ng is not installed: unseen languages were not measured.")
    summary |= speed(clean, config.repeats)
    if avatar is not None:
        summary |= sound_to_picture(avatar, clean)
    else:
        notes.append("No --avatar: the time from sound to picture was not measured.")
    settings = vars(config) | {"split": " ".join(notes), "threads": torch.get_num_threads()}
    return make_report("audio", settings, rows, summary, AudioReport)


def _people(
    data: Path, clean: VoiceModel, config: AudioConfig, notes: list[str]
) -> tuple[list[Row], dict[str, float]]:
    head = load_head("default")
    # The gentle steps replay synthetic speech through the head that it had: the trunk as pretrained.
    trunk = pretrain() if config.cross_validate and shutil.which("espeak-ng") else None
    found = material(data, (trunk or clean).network)
    everybody = found.of("research")
    strangers = [one for one in everybody if not one.clean]
    predict = predictor(clean.network, clean.calibration)
    closed = clean.calibration.closure_threshold
    threshold = math.log(closed / (1 - closed))
    scores = {
        "clean, shipped": score([(one, predict(one), threshold) for one in strangers], head),
        "loudness": cross_validate(loudness, everybody, head),
        "constant mean": cross_validate(constant, everybody, head),
    }
    notes.append(_split(found, strangers))
    if trunk is not None:
        spoken = corpus(REPLAY_CHUNKS)

        def research(taught: list[Lesson]) -> Predictor:
            return predictor(*recipe(trunk, taught, "research", spoken))

        scores["research, cross-validated"] = cross_validate(research, everybody, head)
        groups = folds(everybody)
        notes.append(
            f"research: {len(groups)} folds by identity of {', '.join(str(len(g)) for g in groups)} "
            "people, each judged by a network taught by the other folds only; the person with most "
            "speech is a fold alone."
        )
    else:
        notes.append("research was not cross-validated (--quick, or no espeak-ng for replay).")
    rows = [_row("people", name, one) for name, one in scores.items()]
    for name in ("clean, shipped", "research, cross-validated"):
        if name in scores:
            rows += [{"table": "clips", "method": name, **row} for row in scores[name].rows]
    best = scores.get("research, cross-validated", scores["clean, shipped"])
    summary = {
        "jaw_correlation": best.mean,
        "closure_f1": best.closure_f1,
        "posed_correlation": best.posed_mean,
        "clean_jaw_correlation": scores["clean, shipped"].mean,
        "clean_closure_f1": scores["clean, shipped"].closure_f1,
        "loudness_jaw_correlation": scores["loudness"].mean,
        "loudness_closure_f1": scores["loudness"].closure_f1,
        "constant_jaw_correlation": scores["constant mean"].mean,
        "constant_closure_f1": scores["constant mean"].closure_f1,
    }
    return rows, summary


def _split(found: Material, strangers: list[Lesson]) -> str:
    people = len({one.identity for one in strangers})
    seconds = sum(one.seen.sum() for one in strangers) / 50
    left_out = f" Left out, sound and lips disagree: {', '.join(found.left_out)}."
    return (
        f"clean: taught by synthetic speech and {len(found.of('clean'))} clips of clean licence, "
        f"judged on {len(strangers)} clips of {people} other people ({seconds:.0f} s)."
        + (left_out if found.left_out else "")
    )


def _row(table: str, name: str, scores: Scores) -> Row:
    row: Row = {"table": table, "method": name, "correlation": scores.mean}
    row |= dict(zip(MEASURES, map(float, scores.measures)))
    row["closure_f1"] = scores.closure_f1
    if scores.posed is not None:
        row["posed"] = scores.posed_mean
    return row


def unseen_languages(model: VoiceModel, spoken: Corpus) -> dict[str, float]:
    """Opening and closed lips against the mouth curves of synthetic speech.

    The opening is that of a head posed by the channels, as they are in the curves.
    """
    opening = measures_by_channel()[:, 0].numpy()
    said, truth, closure, closed = [], [], [], []
    for one in spoken.utterances:
        outputs = run(model.network, one.bands.astype(np.float32))[0]
        said.append(outputs[:, :COUNT] @ opening)
        truth.append(one.channels.astype(np.float32) @ opening)
        closure.append(outputs[:, CLOSURE])
        closed.append(one.visemes == visemes.CLOSED)
    logits, shut = np.concatenate(closure), np.concatenate(closed)
    best = max(f1(logits > at, shut) for at in np.quantile(logits, np.linspace(0.5, 0.99, 50)))
    return {
        "unseen_language_opening": correlation(np.concatenate(said), np.concatenate(truth)),
        "unseen_language_closure_f1": best,
    }


def speed(model: VoiceModel, repeats: int) -> dict[str, float]:
    """Milliseconds for a second of sound on one core, in steps of 20 ms (what a microphone gives),
    of 40 ms and as a whole, and streaming's truth."""
    rng = np.random.default_rng(0)
    envelope = np.repeat(rng.random(int(SPEED_S * 10)), RATE_HZ // 10)
    sound = (0.1 * envelope * rng.standard_normal(len(envelope))).astype(np.float32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        figures = {
            "lookahead_ms": 1000 * LOOKAHEAD * FRAME_S,
            "delay_ms": 1000 * (LOOKAHEAD + 1) * FRAME_S,
            "features_ms_per_second": _fastest(repeats, lambda: _features_pushed(sound)),
        }
        engines: list[EngineName] = ["torch"] if model.onnx is None else ["torch", "onnx"]
        for engine in engines:
            figures[f"{engine}_load_ms"] = _load_ms(model, engine, repeats)
            for name, step in (("", _STEP), ("_in_40_ms_steps", 2 * _STEP), ("_whole", len(sound))):
                figures[f"{engine}_ms_per_second{name}"] = _fastest(
                    repeats, functools.partial(_sound_pushed, model, sound, engine, step)
                )
        whole = _stream(model, sound, "torch", len(sound))
        figures["streaming_difference"] = max(
            float((_stream(model, sound, engine, size).raw - whole.raw).abs().max())
            for engine in engines
            for size in (160, 997)
        )
    finally:
        torch.set_num_threads(threads)
    folder = Path(__file__).parents[2] / "avatar3d" / "audio" / "weights"
    figures["weights_mb"] = max(
        (os.path.getsize(file) / 1e6 for file in folder.glob("*.safetensors")), default=math.nan
    )
    return figures


def _stream(
    model: VoiceModel, sound: np.ndarray, engine: EngineName, size: int = _STEP
) -> VoiceFrames:
    stream = VoiceStream(model, engine=engine)
    parts = [stream.push(sound[start : start + size]) for start in range(0, len(sound), size)]
    return VoiceFrames.joined([*parts, stream.finish()])


def _sound_pushed(
    model: VoiceModel, sound: np.ndarray, engine: EngineName, step: int
) -> Iterator[None]:
    stream = VoiceStream(model, engine=engine)
    yield  # loaded
    for start in range(0, len(sound), step):
        stream.push(sound[start : start + step])
        yield
    stream.finish()
    yield


def _features_pushed(sound: np.ndarray) -> Iterator[None]:
    stream = FeatureStream()
    yield
    for start in range(0, len(sound), _STEP):
        stream.push(sound[start : start + _STEP])
        yield


def _fastest(repeats: int, steps: Callable[[], Iterator[None]]) -> float:
    """Milliseconds for a second of sound: of each step the fastest of the repeats, summed, since on
    a busy machine no whole run is undisturbed. What comes before the first step is set up once,
    however long the sound."""
    runs = [[time.perf_counter() for _ in steps()] for _ in range(repeats)]
    return 1000 * float(np.diff(runs, axis=1).min(axis=0).sum()) / SPEED_S


def _load_ms(model: VoiceModel, engine: EngineName, repeats: int) -> float:
    times = [time.perf_counter()]
    for _ in range(repeats):
        model.engine(engine)
        times.append(time.perf_counter())
    return 1000 * float(np.diff(times).min())
