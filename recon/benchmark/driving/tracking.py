"""`avatar3d benchmark tracking`: the live tracker on clips, and on heads whose codes are known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar3d.animation import EXPRESSIONS, expression_code
from avatar3d.animation.smoothing import Smoothing
from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, ExpressionCode
from avatar3d.heads import HeadModel, load_head
from avatar3d.live_link_face import head_angles, head_rotation
from avatar3d.motion import Motion
from avatar3d.progress import progress
from recon.benchmark.config import NamedClip
from recon.benchmark.driving.plots import CURVE, plots_of
from recon.benchmark.report import Report, Row, commit, make_report, markdown_table
from recon.capture import read_video
from recon.capture.facemesh import open_face_mesh
from recon.capture.opencv import cv2
from recon.track.learn_response import RenderedClip, random_codes, render_clip
from recon.track.live import LiveSettings, LiveSolver, LiveTracker

NAME = "tracking"
LIVE_SIZE = (640, 480)
VISIBLE = [
    index
    for index, name in enumerate(ARKIT_NAMES)
    if name.startswith(("mouth", "jaw", "eye", "brow"))
]
_EYE_LOOKS = {
    side: [i for i, n in enumerate(ARKIT_NAMES) if n.startswith("eyeLook") and n.endswith(side)]
    for side in ("Left", "Right")
}
PLOTTED = ("jawOpen", "mouthSmileLeft", "mouthFunnel", "mouthPucker", "eyeBlinkLeft", "browInnerUp")
SHUT = 0.6  # behind a lid that far down nobody sees where an eye looks
NOISE = 2.0  # of a camera's picture, standard deviation in 255ths
REST_FRAMES = 30  # of a rendered sequence, for the user's neutral
FIRST_SEED = 7000  # of people who are not those that the response was learned from


@dataclass(frozen=True)
class TrackingConfig:
    people: int = 3  # painted heads
    clip_frames: int = 150
    still_frames: int = 90
    rendered_frames: int = 180  # of a sequence


QUICK = TrackingConfig(people=1, clip_frames=45, still_frames=30, rendered_frames=24)


class TrackingReport(Report):
    def plots(self) -> dict[str, str]:
        return plots_of(self.name, self.rows)

    def markdown(self) -> str:
        clips = [row for row in self.rows if row["kind"] == "clip"]
        renders = [row for row in self.rows if row["kind"] == "render"]
        figures = "\n".join(f"| {name} | {value:.4g} |" for name, value in self.summary.items())
        return (
            f"{self.heading()}| figure | value |\n|---|---:|\n{figures}\n"
            "\nClips:\n\n"
            + markdown_table(
                clips,
                ("name",),
                [
                    ("ms a frame, least", "ms_least", 1),
                    ("median", "ms_median", 1),
                    ("landmark error %", "landmark_error_percent", 2),
                    ("jitter", "jitter", 4),
                    ("worst coefficient", "jitter_worst", 4),
                    ("lag ms", "lag_ms", 1),
                    ("tracked", "tracked", 2),
                ],
            )
            + "\nRenders of known codes:\n\n"
            + markdown_table(
                renders,
                ("name", "person"),
                [
                    ("coefficient error", "coefficient_error", 3),
                    ("of active ones", "active_error", 3),
                    ("yaw deg", "yaw_error_deg", 2),
                    ("pitch deg", "pitch_error_deg", 2),
                    ("roll deg", "roll_error_deg", 2),
                ],
            )
        )


def run_tracking(
    clips: Sequence[NamedClip],
    motion: Motion | None = None,
    head: str = "default",
    config: TrackingConfig | None = None,
    *,
    quick: bool = False,
) -> Report:
    """`clips` are shown to the live tracker; `motion` adds real speech to the rendered sequences."""
    config = config or (QUICK if quick else TrackingConfig())
    commit()
    model = load_head(head)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows: list[Row] = []
    sequences = _sequences(model, config, motion)
    with progress("tracking", len(clips) + config.people * len(sequences)) as step:
        for clip in clips:
            rows.append({"kind": "clip", "name": clip.name, **_on_clip(clip.path, model, config)})
            step()
        for person in range(config.people):
            for name, codes in sequences.items():
                rendered = render_clip(model, codes, FIRST_SEED + person)
                found = tracked_live(rendered, model)
                figures = render_figures(rendered, found)
                rows.append({"kind": "render", "name": name, "person": person, **figures})
                if person == 0:
                    rows += [{"name": name, **row} for row in curve_rows(rendered, found)]
                step()
    settings = {
        "head": model.name,
        "clips": [clip.name for clip in clips],
        "live_size": list(LIVE_SIZE),
        "threads": 1,
        "people": config.people,
        "sequences": list(sequences),
        "quick": quick,
    }
    return make_report(NAME, settings, rows, _summary(rows), TrackingReport)


def _summary(rows: Sequence[Row]) -> dict[str, float]:
    def mean(kind: str, figure: str) -> float:
        values = [row[figure] for row in rows if row["kind"] == kind]
        return float(np.nanmean(values)) if values else float("nan")

    least = [row["ms_least"] for row in rows if row["kind"] == "clip"]
    return {
        "live_ms_per_frame": mean("clip", "ms_median"),
        "live_ms_per_frame_least": float(min(least)) if least else float("nan"),
        "live_landmark_error_percent": mean("clip", "landmark_error_percent"),
        "still_jitter": mean("clip", "jitter"),
        "still_jitter_worst": mean("clip", "jitter_worst"),
        "smoothing_lag_ms": mean("clip", "lag_ms"),
        "coefficient_error": mean("render", "coefficient_error"),
        "active_coefficient_error": mean("render", "active_error"),
        "yaw_error_deg": mean("render", "yaw_error_deg"),
    }


def _on_clip(path: Path, head: HeadModel, config: TrackingConfig) -> dict[str, Any]:
    images = [
        (np.asarray(cv2.resize(frame.image, LIVE_SIZE), np.uint8), frame.time_s)
        for frame in read_video(path, max_frames=config.clip_frames)
    ]
    settings = LiveSettings(resting=False, calibration_s=1.0)
    seconds, errors, statuses = [], [], []
    with LiveTracker(head, settings) as tracker:
        for image, time_s in images:
            wall = time.perf_counter()
            frame = tracker(image, time_s)
            seconds.append(time.perf_counter() - wall)
            statuses.append(frame.status)
            if frame.status == "tracked":
                errors.append(frame.landmark_error)
    jitter = _jitter(images[len(images) // 2][0], head, config.still_frames)
    known = 1e3 * np.array(seconds[5:])
    return {
        "ms_least": float(known.min()),
        "ms_median": float(np.median(known)),
        "landmark_error_percent": 100 * float(np.mean(errors)) if errors else float("nan"),
        "jitter": float(jitter.mean()),
        "jitter_worst": float(jitter.max()),
        "lag_ms": 1e3 * _lag_s([image for image, _ in images], head),
        "tracked": float(np.mean([status == "tracked" for status in statuses])),
    }


def _jitter(image: np.ndarray, head: HeadModel, frames: int) -> np.ndarray:
    """Rms of each coefficient [52] while one picture stands with a camera's noise."""
    rng = np.random.default_rng(0)
    codes = []
    with LiveTracker(head, LiveSettings(resting=False, calibration_s=0.5)) as tracker:
        for index in range(frames + 30):
            noisy = image + rng.normal(0, NOISE, image.shape)
            shown = tracker(np.clip(noisy, 0, 255).astype(np.uint8), index / 30)
            codes.append(shown.code.coefficients[: len(ARKIT_NAMES)].numpy())
    return np.stack(codes[30:]).std(0)


def _lag_s(images: list[np.ndarray], head: HeadModel) -> float:
    """By how much smoothing moves the coefficients later, where they move most: the shift at which
    smoothed and unsmoothed ones agree best."""
    mesh = open_face_mesh(tracking=True)
    found = [mesh(image) for image in images]
    mesh.close()

    def follow(strength: float) -> np.ndarray:
        settings = LiveSettings(
            resting=False, calibration_s=0.5, smoothing=Smoothing(strength), blend_s=1e-3
        )
        solver = LiveSolver(head, settings)
        return np.stack(
            [
                solver(faces[0] if faces else None, LIVE_SIZE, index / 25)
                .code.coefficients[: len(ARKIT_NAMES)]
                .numpy()
                for index, faces in enumerate(found)
            ]
        )

    raw, smooth = follow(0.0), follow(1.0)
    skip = min(20, len(raw) // 2)
    raw, smooth = raw[skip:], smooth[skip:]
    moving = np.argsort(-raw.std(0))[:10]
    fine = np.arange(0, len(raw) - 1, 0.1)
    lags = np.arange(0, 1.5, 0.05)
    at = np.arange(len(raw))
    misses = []
    for lag in lags:
        misses.append(
            sum(
                np.mean(
                    (np.interp(fine, at, smooth[:, i]) - np.interp(fine - lag, at, raw[:, i])) ** 2
                )
                for i in moving
            )
        )
    return float(lags[int(np.argmin(misses))] / 25)


def tracked_live(rendered: RenderedClip, head: HeadModel) -> ExpressionCode:
    """The codes of a rendered sequence, found as a live user's."""
    settings = LiveSettings(calibration_s=0.8, focal_px=float(rendered.camera.K[0, 0]))
    solver = LiveSolver(head, settings)
    size_px = (rendered.camera.width, rendered.camera.height)
    frames = [
        solver(None if np.isnan(px).any() else px, size_px, index / 30)
        for index, px in enumerate(rendered.landmarks)
    ]
    return ExpressionCode.stack([frame.code for frame in frames])


def render_figures(rendered: RenderedClip, codes: ExpressionCode) -> dict[str, float]:
    """Compare what was tracked with what was rendered."""
    seen = slice(REST_FRAMES, None)
    found = codes.coefficients[seen].numpy()
    truth = rendered.codes.coefficients[seen].numpy()
    error = np.abs(found - truth)[:, : len(ARKIT_NAMES)]
    for side, looks in _EYE_LOOKS.items():
        shut = np.flatnonzero(truth[:, ARKIT_INDEX[f"eyeBlink{side}"]] > SHUT)
        error[shut[:, None], np.array(looks)] = np.nan
    angles = head_angles(codes.head_rotation)
    off = torch.rad2deg(angles - head_angles(rendered.codes.head_rotation))[seen].abs().mean(0)
    active = np.where(truth[:, : len(ARKIT_NAMES)] > 0.1, error, np.nan)[:, VISIBLE]
    return {
        "coefficient_error": float(np.nanmean(error[:, VISIBLE])),
        "active_error": float(np.nanmean(active)),
        "yaw_error_deg": float(off[0]),
        "pitch_error_deg": float(off[1]),
        "roll_error_deg": float(off[2]),
    }


def curve_rows(rendered: RenderedClip, codes: ExpressionCode) -> list[Row]:
    """Some coefficients and the yaw over time, as rendered and as tracked: what is plotted."""
    pairs = {
        name: (
            rendered.codes.coefficients[:, ARKIT_INDEX[name]],
            codes.coefficients[:, ARKIT_INDEX[name]],
        )
        for name in PLOTTED
    }
    yaw = [torch.rad2deg(head_angles(c.head_rotation)[:, 0]) for c in (rendered.codes, codes)]
    pairs["head yaw, degrees"] = (yaw[0], yaw[1])
    return [
        {
            "kind": CURVE,
            "coefficient": name,
            "step_s": 1 / 30,
            "truth": [round(float(value), 3) for value in truth],
            "found": [round(float(value), 3) for value in found],
        }
        for name, (truth, found) in pairs.items()
    ]


def _sequences(
    head: HeadModel, config: TrackingConfig, motion: Motion | None
) -> dict[str, ExpressionCode]:
    """Each begins at rest; then the head swings to 45 degrees of yaw and back while codes play."""
    count = config.rendered_frames
    names = [name for name in EXPRESSIONS if name != "neutral"]
    each = max(4, count // len(names))
    rise = np.sin(np.pi * (np.arange(each) + 0.5) / each)[:, None]
    shown = [rise * expression_code(name).coefficients.numpy() for name in names]
    played = {"expressions": np.concatenate(shown)[:count]}
    played["combinations"] = random_codes(head, count, FIRST_SEED).coefficients.numpy()
    if motion is not None:
        values = motion.resample(30.0).codes.coefficients[:, : len(ARKIT_NAMES)].numpy()
        rest = np.quantile(values, 0.05, axis=0)  # of a recorded face that was never calibrated
        values = np.clip((values - rest) / (1 - rest), 0, 1)
        begin = len(values) // 3
        played["speech"] = values[begin : begin + count]
    return {name: _turning(values, head.expression_count) for name, values in played.items()}


def _turning(values: np.ndarray, count: int) -> ExpressionCode:
    frames = len(values) + REST_FRAMES
    coefficients = np.zeros((frames, count), np.float32)
    coefficients[REST_FRAMES:, : values.shape[1]] = values
    time_s = np.maximum(np.arange(frames) - REST_FRAMES, 0) / 30
    degrees = np.stack(
        [
            45 * np.sin(2 * np.pi * time_s / 5.3),
            12 * np.sin(2 * np.pi * time_s / 3.7),
            8 * np.sin(2 * np.pi * time_s / 4.3),
        ],
        axis=1,
    )
    rotation = head_rotation(torch.from_numpy(np.radians(degrees)).float())
    return ExpressionCode(
        torch.from_numpy(coefficients), rotation, torch.zeros(frames, 3), rotation.clone()
    )
