"""Speed and parity on a GPU: `python -m recon.benchmark.speed.gpu [--avatar FILE] [--json FILE]`.

The avatar is posed and drawn on the GPU: one code at a time, one at a time with its pose as a CUDA
graph, and in batches with one call of gsplat for all pictures. gsplat itself waits for the number
of (splat, tile) pairs in every call, so a graph cannot hold all of a frame. Pictures stay on the
GPU as bytes; `..._to_host_fps` copies them to memory, one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
import tyro
from torch import Tensor

from avatar3d.animation import expression_tour, portrait_camera
from avatar3d.avatar import Avatar, pose_gaussians
from avatar3d.camera import Camera
from avatar3d.cli import run_script
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.gaussians import Gaussians
from recon.benchmark.report import Report, Row, make_report, markdown_table
from recon.benchmark.speed.peers import peers
from recon.benchmark.speed.report import begin
from recon.benchmark.speed.scene import load_or_make_avatar, synthetic_head
from recon.benchmark.speed.timing import timed
from recon.training.device import moved
from render.backends.cuda import CudaBackend
from render.rasterize import rasterize

SIZE_PX = 512
COUNT = 20_000  # Gaussians of the avatar's level of detail
BATCHES = (8, 32)
_SECONDS = 2.0
_FLIP = 1.05 / 255  # what a contribution at the edge of being drawn changes

T = TypeVar("T")


class GpuReport(Report):
    def markdown(self) -> str:
        return self.heading() + markdown_table(self.rows, ("figure",), [("value", "value", 3)])


class OnDevice:
    """An avatar whose tensors lie on a device, posed by the readable torch path."""

    def __init__(self, avatar: Avatar, device: str) -> None:
        self._device = torch.device(device)
        self._binding = moved(avatar.binding, device)
        self._attributes = moved(avatar.attributes, device)
        self._basis, self._light = moved(avatar.basis, device), moved(avatar.light, device)
        self._lit = moved(avatar.template.lit, device)

    @torch.no_grad()
    def gaussians(self, code: ExpressionCode) -> Gaussians:
        with self._device:  # constants of the formulas are made there too
            return pose_gaussians(
                self._binding.frames(code),
                code,
                self._attributes,
                basis=self._basis,
                light=self._light,
                lit=self._lit,
            )


@torch.no_grad()
def run_gpu(avatar: Avatar) -> GpuReport:
    settings = begin()
    figures = _parity() | _overhead() | _code_to_picture(avatar.level(COUNT))
    settings |= {
        "gpu": torch.cuda.get_device_name(),
        "size_px": SIZE_PX,
        "gaussians": min(COUNT, avatar.count),
        "batches": BATCHES,
    }
    rows: list[Row] = [{"figure": name, "value": value} for name, value in figures.items()]
    return make_report("gpu", settings, rows, figures, GpuReport)


def _parity() -> dict[str, float]:
    """The largest difference from the reference, and the share of pixels that differ visibly."""
    scene = synthetic_head(3000).resized(192)
    figures = {}
    for mode in ("classic", "antialiased"):
        truth = rasterize(scene.gaussians, scene.camera, mode=mode, backend="reference").colors
        on_device = scene.to("cuda")
        drawn = rasterize(on_device.gaussians, on_device.camera, mode=mode, backend="cuda").colors
        difference = (drawn.cpu() - truth).abs().amax(-1)
        if difference.max() > _FLIP:
            raise UserError(
                f"the cuda backend must draw what the reference draws within {_FLIP:.4f} "
                f"({mode}), got a difference of {difference.max():.4f}; its figures mean nothing"
            )
        figures[f"parity_{mode}_max"] = float(difference.max())
        figures[f"parity_{mode}_differing"] = float((difference > 1e-4).float().mean())
    return figures


def _overhead() -> dict[str, float]:
    """Our entry against gsplat's bare call, the same Gaussians."""
    scene = synthetic_head(COUNT).resized(SIZE_PX)
    (bare,) = (peer.calls(scene)["forward"] for peer in peers() if peer.name == "gsplat_cuda")
    on_device = scene.to("cuda")
    ours_ms = _milliseconds(
        lambda: rasterize(on_device.gaussians, on_device.camera, backend="cuda")
    )
    bare_ms = _milliseconds(bare)
    return {"forward_ms": ours_ms, "gsplat_ms": bare_ms, "overhead": ours_ms / bare_ms - 1}


def _code_to_picture(avatar: Avatar) -> dict[str, float]:
    person, camera = OnDevice(avatar, "cuda"), portrait_camera(avatar, SIZE_PX)
    camera = Camera(camera.viewmat.cuda(), camera.K.cuda(), SIZE_PX, SIZE_PX)
    background = torch.ones(3, device="cuda")
    tour = moved(expression_tour(25.0).codes, "cuda")
    code = tour.at(len(tour.coefficients) // 2)

    def draw(gaussians: Gaussians) -> Tensor:
        colors = rasterize(gaussians, camera, background=background, backend="cuda").colors
        return (colors.clamp(0, 1) * 255 + 0.5).to(torch.uint8)

    figures = {
        "pose_ms": _milliseconds(lambda: person.gaussians(code)),
        f"code_to_picture_{SIZE_PX}_fps": _rate(lambda: draw(person.gaussians(code))),
        f"code_to_picture_{SIZE_PX}_to_host_fps": _rate(lambda: draw(person.gaussians(code)).cpu()),
    }
    posed, pose_again = _captured(lambda: person.gaussians(code))

    def replayed() -> Tensor:
        pose_again()
        return draw(posed)

    figures[f"code_to_picture_{SIZE_PX}_graph_fps"] = _rate(replayed)
    for batch in BATCHES:
        index = torch.linspace(0, len(tour.coefficients) - 1, batch).long()
        codes = tour.at(index.to("cuda"))
        figures[f"code_to_picture_{SIZE_PX}_batch_{batch}_fps"] = batch * _rate(
            lambda codes=codes: draw(person.gaussians(codes))
        )
    return figures


def _captured(call: Callable[[], T]) -> tuple[T, Callable[[], None]]:
    """`call` as a CUDA graph: its result, and what computes it anew in the same memory."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()
    return result, graph.replay


def _milliseconds(call: Callable[[], object]) -> float:
    return timed(call, _SECONDS, warm_ups=10, wait=torch.cuda.synchronize).minimum_ms


def _rate(call: Callable[[], object]) -> float:
    """Calls a second in a loop that waits only at its end."""

    def many() -> None:
        for _ in range(50):
            call()

    return 50e3 / timed(many, _SECONDS, warm_ups=2, wait=torch.cuda.synchronize).minimum_ms


def main(
    avatar: Path | None = None,
    json: Annotated[Path | None, tyro.conf.arg(help="Write the report here.")] = None,
) -> int:
    """Measure on the GPU: parity, overhead over gsplat, pictures a second.

    Args:
        avatar: A .avatar file; without it one is made of the demo's portrait.
    """
    reason = CudaBackend().why_unavailable()
    if reason is not None:
        print(f"No GPU is present here that could be measured: {reason}.")
        return 1
    report: Any = run_gpu(load_or_make_avatar(avatar, quick=False))
    if json is not None:
        report.write_json(json)
    print(report.markdown())
    return 0


if __name__ == "__main__":
    run_script(main)
