"""`avatar3d benchmark frame`: from an expression code to an 8-bit picture, and one step of a fit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from avatar3d.animation import expression_tour, portrait_camera
from avatar3d.avatar import Avatar
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.gaussians import Gaussians
from avatar3d.progress import progress
from recon.benchmark.report import Column, Row, make_report
from recon.benchmark.speed.report import SpeedReport, Table, begin
from recon.benchmark.speed.scene import SEED, Scene, synthetic_head
from recon.benchmark.speed.surroundings import accelerator
from recon.benchmark.speed.timing import Timing, timed
from render.frames import frames
from render.losses import photometric_loss, prepare_target
from render.preview import write_picture
from render.rasterize import BackendName, rasterize, rasterize_8_bit

NAME = "frame"
# Steps of Adam on what is fitted, large enough that the picture changes from step to step.
_LEARNING_RATES = {
    "means": 1e-4,
    "quaternions": 1e-3,
    "scales": 1e-5,
    "opacities": 1e-2,
    "colors": 5e-3,
}

_FRAME_COLUMNS: list[Column] = [
    ("frames/s", "code_to_picture_fps", 1),
    ("median", "code_to_picture_median_fps", 1),
    ("pose ms", "pose_ms", 2),
    ("draw ms", "draw_ms", 2),
    ("GPU frames/s", "gpu_code_to_picture_fps", 1),
]
_FIT_COLUMNS: list[Column] = [
    ("iterations/s", "fit_its", 1),
    ("median", "fit_median_its", 1),
    ("rasterize ms", "fit_rasterize_ms", 2),
    ("loss ms", "fit_loss_ms", 2),
    ("backward ms", "fit_backward_ms", 2),
    ("Adam ms", "fit_adam_ms", 2),
]


@dataclass(frozen=True)
class FrameConfig:
    sizes_px: tuple[int, ...] = (256, 512)
    codes: int = 24  # a pass: expressions from rest to the ends of their range
    levels: tuple[int, ...] = (20_000, 30_000)  # of detail: the avatar's first Gaussians
    seconds: float = 4.0  # of repeats a figure
    fit_count: int = 30_000  # Gaussians of the synthetic head
    fit_steps: int = 10  # a round


QUICK = FrameConfig(codes=8, levels=(20_000,), seconds=0.5)


class FrameReport(SpeedReport):
    def tables(self) -> list[Table]:
        drawn = [row for row in self.rows if row["scene"] in ("avatar", "level")]
        fitted = [row for row in self.rows if row["scene"] == "head"]
        return [
            (
                "Code to 8-bit picture (best and median pass, stages a frame):",
                drawn,
                _FRAME_COLUMNS,
            ),
            (
                "Fit, L1 + SSIM under Adam (best and median round, stages a step):",
                fitted,
                _FIT_COLUMNS,
            ),
        ]


def run_frame(avatar: Avatar, config: FrameConfig, *, pictures: Path | None = None) -> FrameReport:
    settings, gpu = begin(config, pictures), accelerator()
    codes = _codes(config.codes)
    head = synthetic_head(config.fit_count)
    rows: list[Row] = []
    levels = [avatar.level(count) for count in config.levels if count < avatar.count]
    drawn = [(level, size_px) for level in (*levels, avatar) for size_px in config.sizes_px]
    with progress("frame benchmark", len(drawn) + len(config.sizes_px)) as step:
        for level, size_px in drawn:
            row: Row = {"scene": "avatar", "gaussians": level.count, "size": size_px}
            if level is not avatar:
                row["scene"] = "level"
            camera = portrait_camera(level, size_px)
            row |= measure_frames(level, codes, camera, config.seconds)
            if gpu:
                row |= {
                    f"gpu_{figure}": value
                    for figure, value in _code_to_picture(
                        level, codes, camera, config.seconds, "cuda"
                    ).items()
                }
            rows.append(row)
            step()
            if pictures is not None:
                for index in (0, len(codes.coefficients) // 2):
                    (picture,) = frames(level, codes.at(slice(index, index + 1)), camera)
                    name = f"avatar_{level.count}_{size_px}_code{index}.png"
                    write_picture(picture, pictures / name)
        for size_px in config.sizes_px:
            rows.append(measure_fit(head.resized(size_px), config.seconds, config.fit_steps))
            step()
    if gpu:
        settings["notes"].append("GPU frames: codes are posed on the CPU, splats drawn on the GPU.")
    return make_report(NAME, settings, rows, summarize(rows), FrameReport)


def measure_frames(avatar: Avatar, codes: ExpressionCode, camera: Camera, seconds: float) -> Row:
    """Frames a second as `render.frames` gives them, and the stages one by one."""
    return _code_to_picture(avatar, codes, camera, seconds, "cpu") | _frame_stages(
        avatar, codes, camera, seconds
    )


def measure_fit(scene: Scene, seconds: float, steps: int) -> Row:
    """Iterations a second toward the scene's own picture, from colours and shapes put off."""
    camera = scene.camera
    target = prepare_target(rasterize(scene.gaussians, camera, backend="cpu").colors)
    leaves = _put_off(scene.gaussians)
    optimizer = torch.optim.Adam(
        [{"params": [getattr(leaves, k)], "lr": rate} for k, rate in _LEARNING_RATES.items()],
        fused=True,
    )
    stages = ("fit_rasterize_ms", "fit_loss_ms", "fit_backward_ms", "fit_adam_ms")
    totals_s = dict.fromkeys(stages, 0.0)
    taken = 0

    def one_step() -> None:
        nonlocal taken
        times_s = [time.perf_counter()]
        image = rasterize(leaves, camera, backend="cpu").colors
        times_s.append(time.perf_counter())
        loss = photometric_loss(image, target)
        times_s.append(time.perf_counter())
        loss.backward()
        times_s.append(time.perf_counter())
        optimizer.step()
        optimizer.zero_grad()
        times_s.append(time.perf_counter())
        for stage, start_s, end_s in zip(stages, times_s, times_s[1:]):
            totals_s[stage] += end_s - start_s
        taken += 1

    one_round = timed(lambda: [one_step() for _ in range(steps)], seconds, warm_ups=1)
    return {
        "scene": scene.name,
        "gaussians": scene.gaussians.count,
        "size": camera.width,
        "fit_its": 1e3 * steps / one_round.minimum_ms,
        "fit_median_its": 1e3 * steps / one_round.median_ms,
        **{stage: 1e3 * total / taken for stage, total in totals_s.items()},
    }


def summarize(rows: list[Row]) -> dict[str, float]:
    """ "code_to_picture_512_fps", "fit_512_its", and the stages likewise; those of a level of detail
    begin with "level_20000_"."""
    summary: dict[str, float] = {}
    for row in rows:
        prefix = f"level_{row['gaussians']}_" if row["scene"] == "level" else ""
        for figure, value in row.items():
            if figure not in ("scene", "gaussians", "size"):
                name, _, unit = figure.rpartition("_")
                name, median = name.removesuffix("_median"), name.endswith("_median")
                ending = f"{row['size']}{'_median' if median else ''}_{unit}"
                summary[f"{prefix}{name}_{ending}"] = value
    return summary


def _codes(count: int) -> ExpressionCode:
    """Spread over the tour of expressions that `avatar3d demo` shows."""
    tour = expression_tour(25.0).codes
    return tour.at(torch.linspace(0, len(tour.coefficients) - 1, count).round().long())


def _code_to_picture(
    avatar: Avatar, codes: ExpressionCode, camera: Camera, seconds: float, backend: BackendName
) -> Row:
    def one_pass() -> None:
        for _ in frames(avatar, codes, camera, backend=backend):
            pass

    timing, count = timed(one_pass, seconds, warm_ups=1), len(codes.coefficients)
    return {
        "code_to_picture_fps": 1e3 * count / timing.minimum_ms,
        "code_to_picture_median_fps": 1e3 * count / timing.median_ms,
    }


@torch.no_grad()
def _frame_stages(avatar: Avatar, codes: ExpressionCode, camera: Camera, seconds: float) -> Row:
    code, background = codes.at(len(codes.coefficients) // 2), torch.ones(3)
    gaussians = avatar.gaussians(code)

    calls: dict[str, Callable[[], object]] = {
        "pose_ms": lambda: avatar.gaussians(code),
        "draw_ms": lambda: rasterize_8_bit(gaussians, camera, background=background, backend="cpu"),
    }
    timings: dict[str, Timing] = {stage: timed(call, seconds / 4) for stage, call in calls.items()}
    return {stage: timing.minimum_ms for stage, timing in timings.items()}


def _put_off(gaussians: Gaussians) -> Gaussians:
    random = torch.Generator().manual_seed(SEED)
    colors = gaussians.colors + 0.1 * torch.randn(gaussians.colors.shape, generator=random)
    start = gaussians._replace(colors=colors.clamp(0, 1), opacities=0.9 * gaussians.opacities)
    return Gaussians(*(value.clone().requires_grad_() for value in start))
