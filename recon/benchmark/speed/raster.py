"""`avatar3d benchmark raster`: the rasterizer by size, count and stage, beside its limit."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from avatar3d.avatar import Avatar
from avatar3d.gaussians import Gaussians
from avatar3d.progress import progress
from recon.benchmark.report import Column, Row, make_report
from recon.benchmark.speed.first_call import first_call_seconds
from recon.benchmark.speed.limit import (
    BACKWARD_INSTRUCTIONS,
    FORWARD_INSTRUCTIONS,
    count_work,
    limit_ms,
    vector_peak,
)
from recon.benchmark.speed.peers import Peer, peers
from recon.benchmark.speed.report import SpeedReport, Table, begin
from recon.benchmark.speed.scene import Scene, avatar_scene, synthetic_head
from recon.benchmark.speed.surroundings import accelerator
from recon.benchmark.speed.timing import Timing, timed
from render.backends.cpu.stages import stage_seconds
from render.frames import to_uint8
from render.preview import write_picture
from render.rasterize import BackendName, rasterize

NAME = "raster"
SUMMARY_COUNT = 30_000  # Gaussians of the synthetic head in the summary
STAGES = (
    "prepare", "project", "sort", "bin", "blend", "blend_backward", "gather", "project_backward",
)  # fmt: skip

# Figures of the summary begin so; the others are in the rows.
_SUMMARIZED = ("forward", "fraction", "gpu", "gsplat", "reference")

_COLUMNS: list[Column] = [
    ("forward ms", "forward_ms", 2),
    ("median", "forward_median_ms", 2),
    ("+ backward ms", "forward_backward_ms", 2),
    ("median", "forward_backward_median_ms", 2),
    ("over reference", "forward_over_reference", 0),
    ("+ backward", "forward_backward_over_reference", 0),
    ("of the limit", "fraction_of_limit", 2),
    ("+ backward", "forward_backward_fraction_of_limit", 2),
    ("GPU forward ms", "gpu_forward_ms", 3),
    ("GPU + backward ms", "gpu_forward_backward_ms", 3),
    ("gsplat torch, projection only, ms", "gsplat_torch_project_ms", 1),
    ("gsplat CUDA ms", "gsplat_cuda_forward_ms", 3),
]
_STAGE_COLUMNS: list[Column] = [
    (stage.replace("_", " "), f"stage_{stage}_ms", 2) for stage in STAGES
]
_LIMIT_COLUMNS: list[Column] = [
    ("pairs, million", "pairs_million", 2),
    ("block-vectors, thousand", "block_vectors_thousand", 0),
    ("limit forward ms", "limit_forward_ms", 2),
    ("+ backward ms", "limit_forward_backward_ms", 2),
]


@dataclass(frozen=True)
class RasterConfig:
    sizes_px: tuple[int, ...] = (256, 512, 1024)
    counts: tuple[int, ...] = (10_000, 30_000, 60_000)
    rounds: int = 3  # through all scenes, so that a busy minute does not spoil a figure
    seconds: float = 0.35  # of repeats a figure and round
    reference_sizes_px: tuple[int, ...] = (512,)  # the slow reference is timed there, once a round
    first_call: bool = True  # most of it is the compiler's time


QUICK = RasterConfig(
    sizes_px=(256, 512),
    counts=(SUMMARY_COUNT,),
    rounds=1,
    seconds=0.2,
    reference_sizes_px=(256,),
    first_call=False,
)


def full(config: RasterConfig) -> RasterConfig:
    return replace(config, reference_sizes_px=config.sizes_px)


class RasterReport(SpeedReport):
    def tables(self) -> list[Table]:
        return [
            ("Milliseconds a picture (minimum and median):", self.rows, _COLUMNS),
            ("Stages of forward + backward (median), ms:", self.rows, _STAGE_COLUMNS),
            ("What must be computed:", self.rows, _LIMIT_COLUMNS),
        ]

    def markdown(self) -> str:
        text = super().markdown()
        if "first_call_cold_s" in self.summary:
            cold, warm = (self.summary[f"first_call_{state}_s"] for state in ("cold", "warm"))
            text += f"\nFirst call: {cold:.1f} s, with compiled kernels {warm:.2f} s.\n"
        return text


def run_raster(
    avatar: Avatar | None, config: RasterConfig, *, pictures: Path | None = None
) -> RasterReport:
    """Time the synthetic head and, if given, an avatar."""
    settings, others = begin(config, pictures), peers()
    scenes = [synthetic_head(count) for count in config.counts]
    if avatar is not None:
        scenes.append(avatar_scene(avatar))
    sized = [scene.resized(size_px) for scene in scenes for size_px in config.sizes_px]
    rounds: list[list[Row]] = [[] for _ in sized]
    peak = 0.0
    with progress("raster benchmark", config.rounds * len(sized)) as step:
        for _ in range(config.rounds):
            for scene, found in zip(sized, rounds):
                peak = max(peak, vector_peak())
                found.append(measure(scene, config, others))
                step()
    rows = [_completed(scene, found, peak) for scene, found in zip(sized, rounds)]
    if pictures is not None:
        for scene in sized:
            _draw(scene, pictures)
    summary = summarize(rows)
    if config.first_call:
        summary["first_call_cold_s"], summary["first_call_warm_s"] = first_call_seconds()
    absent = {peer.name: peer.absent for peer in others if peer.absent is not None}
    settings |= {
        "vector_fma_per_s": peak,
        "instructions_per_block_vector": {
            "forward": FORWARD_INSTRUCTIONS,
            "backward": BACKWARD_INSTRUCTIONS,
        },
        "absent": absent,
    }
    settings["notes"] += [
        *(f"{name} is absent: {reason}." for name, reason in absent.items()),
        f"Peak: {peak / 1e9:.1f}e9 vector instructions (16 lanes) a second.",
    ]
    return make_report(NAME, settings, rows, summary, RasterReport)


def measure(scene: Scene, config: RasterConfig, others: Sequence[Peer] = ()) -> Row:
    """One round: all times of one scene at one size, in milliseconds."""
    row = _timings("", _calls(scene, "cpu"), config.seconds) | _stages(scene, config.seconds)
    if scene.camera.width in config.reference_sizes_px:
        row |= _timings("reference_", _calls(scene, "reference"), 0, at_least=1, warm_ups=0)
    if accelerator():
        calls = _calls(scene.to("cuda"), "cuda")
        row |= _timings("gpu_", calls, config.seconds, wait=torch.cuda.synchronize)
    for peer in others:
        if peer.absent is None:
            wait = torch.cuda.synchronize if "cuda" in peer.name else None
            row |= _timings(f"{peer.name}_", peer.calls(scene), config.seconds, wait=wait)
    return row


def _completed(scene: Scene, rounds: Sequence[Row], peak: float) -> Row:
    """A row of the report: the rounds as one, and what follows from them."""
    row: Row = {
        "scene": scene.name,
        "gaussians": scene.gaussians.count,
        "size": scene.camera.width,
    }
    for figure in rounds[0]:
        values = [times[figure] for times in rounds]
        lasting = figure.endswith("_median_ms") or figure.startswith("stage_")
        row[figure] = statistics.median(values) if lasting else min(values)
    for figure in ("forward", "forward_backward"):
        if f"reference_{figure}_ms" in row:
            row[f"{figure}_over_reference"] = row[f"reference_{figure}_ms"] / row[f"{figure}_ms"]
    return row | _limits(scene, row, peak)


def summarize(rows: Sequence[Row]) -> dict[str, float]:
    """ "FIGURE_SIZE_ms" of the head with 30,000 Gaussians; the avatar's begin with "avatar_"."""
    summary: dict[str, float] = {}
    for row in rows:
        if row["scene"] == "head" and row["gaussians"] != SUMMARY_COUNT:
            continue
        prefix = "" if row["scene"] == "head" else f"{row['scene']}_"
        for figure, value in row.items():
            if figure.startswith(_SUMMARIZED) and "median" not in figure:
                summary[prefix + _with_size(figure, row["size"])] = value
    return summary


def _with_size(figure: str, size_px: int) -> str:
    """forward_ms -> forward_512_ms, forward_over_reference -> forward_512_over_reference."""
    for ending in ("_ms", "_over_reference"):
        if figure.endswith(ending):
            return f"{figure[: -len(ending)]}_{size_px}{ending}"
    return f"{figure}_{size_px}"


def _calls(scene: Scene, backend: BackendName) -> dict[str, Callable[[], object]]:
    """Drawing, and drawing with all gradients."""
    leaves = Gaussians(*(value.clone().requires_grad_() for value in scene.gaussians))
    camera, colors = scene.camera, scene.gaussians.colors
    gradient = colors.new_ones(camera.height, camera.width, colors.shape[-1])

    def forward() -> object:
        with torch.no_grad():
            return _draw_with(scene, scene.gaussians, backend)

    def forward_backward() -> object:
        image = _draw_with(scene, leaves, backend)
        return torch.autograd.grad(image, leaves, gradient)

    return {"forward": forward, "forward_backward": forward_backward}


def _draw_with(scene: Scene, gaussians: Gaussians, backend: BackendName) -> torch.Tensor:
    return rasterize(gaussians, scene.camera, backend=backend).colors


def _timings(
    prefix: str,
    calls: dict[str, Callable[[], object]],
    seconds: float,
    *,
    at_least: int = 5,
    warm_ups: int = 2,
    wait: Callable[[], object] | None = None,
) -> Row:
    row: Row = {}
    for figure, call in calls.items():
        timing: Timing = timed(call, seconds, at_least=at_least, warm_ups=warm_ups, wait=wait)
        row[f"{prefix}{figure}_ms"] = timing.minimum_ms
        row[f"{prefix}{figure}_median_ms"] = timing.median_ms
    return row


def _stages(scene: Scene, seconds: float) -> Row:
    call = _calls(scene, "cpu")["forward_backward"]
    pictures: list[dict[str, float]] = []

    def watched() -> None:
        with stage_seconds() as stages:
            call()
        pictures.append(stages)

    timed(watched, seconds)
    return {
        f"stage_{stage}_ms": 1e3 * statistics.median(stages[stage] for stages in pictures)
        for stage in STAGES
    }


def _limits(scene: Scene, row: Row, peak: float) -> Row:
    work = count_work(scene)
    forward = limit_ms(work.block_vectors, FORWARD_INSTRUCTIONS, peak)
    both = limit_ms(work.block_vectors, FORWARD_INSTRUCTIONS + BACKWARD_INSTRUCTIONS, peak)
    return {
        "pairs_million": work.pairs / 1e6,
        "block_vectors_thousand": work.block_vectors / 1e3,
        "limit_forward_ms": forward,
        "limit_forward_backward_ms": both,
        "fraction_of_limit": forward / row["forward_ms"],
        "forward_backward_fraction_of_limit": both / row["forward_backward_ms"],
    }


def _draw(scene: Scene, folder: Path) -> None:
    background = torch.ones(3)
    with torch.no_grad():
        picture = rasterize(scene.gaussians, scene.camera, background=background, backend="cpu")
    name = f"{scene.name}_{scene.gaussians.count}_{scene.camera.width}.png"
    write_picture(to_uint8(picture.colors), folder / name)
