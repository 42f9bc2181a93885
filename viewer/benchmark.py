"""`avatar3d benchmark viewer`: what the page weighs and how fast it is, in headless Chromium.

Only what the CPU does carries over to other machines; drawing here is software. Nothing is timed
before the page is seen to have drawn a head.
"""

from __future__ import annotations

import gzip
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from avatar3d.animation import portrait_camera
from avatar3d.avatar import Avatar
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.optional import require
from recon.benchmark.report import Column, Report, Row, commit, make_report, markdown_table
from viewer.asset import encode_web_asset
from viewer.server import ServerConfig, ViewerServer
from viewer.static import page

NAME = "viewer"
COUNTS = (30_000, 40_000)
SIZE_PX = 512
THROTTLE = 6  # times slower: a phone's core
RUN = 50  # frames, a third of a second of a throttled core
CHIN = 152  # MediaPipe's landmark
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_SOFTWARE = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox")

_COLUMNS: list[Column] = [
    ("asset MB", "asset_mb", 3),
    ("textures MB", "texture_mb", 2),
    ("first picture s", "first_picture_s", 2),
    ("deform ms", "deform_ms", 2),
    ("sort ms", "sort_ms", 2),
    ("both ms", "cpu_ms", 2),
    (f"both, {THROTTLE}x slower", "cpu_throttled_ms", 2),
    ("slower, measured", "slowdown", 1),
    ("drawn", "drawn", 0),
    ("layers on the head", "layers_head", 1),
    ("layers", "layers", 1),
    ("software draw ms", "software_draw_ms", 0),
]

# Resolves with ms since navigation when a picture with a head in it has left the graphics driver.
_FIRST_PICTURE = """
window.firstPicture = new Promise(done => { const look = () => {
  const viewer = window.avatar3d?.viewer;
  if (!viewer) return requestAnimationFrame(look);
  viewer.on('frame', ({ drawn }) => { // the canvas can be read until the task ends
    const { gl, canvas } = viewer, pixel = new Uint8Array(4);
    gl.readPixels(canvas.width / 2, canvas.height / 2, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    if (drawn > 0) done(performance.now()); }); };
  requestAnimationFrame(look); });
"""
# Codes and turns that change from frame to frame, after a warm-up: ms of deforming, of sorting, and
# of a fixed sum beside them, which says how fast this core is at the time.
_CPU = """async (frames) => { const { viewer } = avatar3d, [avatar] = viewer.avatars;
  viewer.suspended = true; const times = [[], [], []], numbers = new Float32Array(1 << 14);
  for (let i = 0; i < frames + 100; i++) {
    const t = 0.04 * i;
    const wave = (k) => Math.max(0, 0.6 * Math.sin(2.1 * t + 1.7 * k));
    avatar.setExpression(Array.from({ length: 52 }, (_, k) => wave(k)));
    avatar.setPose({ head: [Math.cos(0.1 * Math.sin(t)), 0, Math.sin(0.1 * Math.sin(t)), 0] });
    const a = performance.now(); avatar.update(t, 0.04);
    const b = performance.now();
    avatar.sorter.sort(avatar.rig.out, [0.1 * Math.sin(t), 0, -1], [0, 0, 0.9], avatar.count, true);
    const c = performance.now();
    for (let k = 0; k < 20; k++)
      for (let j = 0; j < numbers.length; j++) numbers[j] = 0.5 * numbers[j] + j;
    const d = performance.now();
    if (i >= 100) { times[0].push(b - a); times[1].push(c - b); times[2].push(d - c); }
    if (i % 50 === 0) await new Promise(done => setTimeout(done));
  }
  return times; }"""
_LAYERS = """(chinRow) => { const { viewer } = avatar3d, { canvas, renderer } = viewer;
  viewer.suspended = true; viewer.render();
  const { width, height } = canvas, { view, projection } = viewer.cameraMatrices(width, height);
  const layers = renderer.countLayers({ view, projection, x: 0, y: 0, width, height });
  const mean = (above) => { let sum = 0, count = 0; layers.forEach((n, i) => {
    const row = height - 1 - Math.floor(i / width); // the first row read is the lowest
    if (n > 0 && row < above) { sum += n; count++; } }); return count ? sum / count : 0; };
  return [mean(chinRow), mean(height)]; }"""
_DRAW = """() => { const { viewer } = avatar3d, { gl } = viewer; const pixel = new Uint8Array(4);
  viewer.suspended = true; const times = [];
  for (let i = 0; i < 5; i++) {
    const a = performance.now(); viewer.camera.yaw = 0.01 * i; viewer.render();
    gl.readPixels(256, 256, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    times.push(performance.now() - a); }
  viewer.camera.yaw = 0; return Math.min(...times); }"""


class ViewerReport(Report):
    def markdown(self) -> str:
        return (
            f"{self.heading()}"
            f"Page: {self.summary['page_gzip_kb']:.1f} KB gzipped, with its interface.\n"
            f"{SIZE_PX}x{SIZE_PX} pixels, {self.settings['browser']}, drawn in software.\n\n"
            f"{markdown_table(self.rows, ('gaussians',), _COLUMNS)}"
        )


def run_viewer(
    avatar: Avatar, *, pictures: Path | None = None, quick: bool = False
) -> ViewerReport:
    """Measure the page with an avatar of 30,000 and of 40,000 Gaussians."""
    commit()  # remembered: what is measured, whatever changes until the report
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    frames = 100 if quick else 400
    rows: list[Row] = []
    with _browser() as browser:
        version = f"Chromium {browser.version}"
        for count in [count for count in COUNTS if count <= avatar.count] or [avatar.count]:
            rows.append(_measure(browser, avatar, count, frames, pictures))
    weight = len(gzip.compress(page().encode(), 9)) / 1e3
    settings = {"browser": version, "size_px": SIZE_PX, "frames": frames, "throttle": THROTTLE}
    summary = {"page_gzip_kb": weight}
    for row in rows:
        name = f"{row['gaussians'] // 1000}k"
        summary |= {f"{name}/{k}": v for k, v in row.items() if k != "gaussians"}
    return make_report(NAME, settings, rows, summary, ViewerReport)


def _measure(browser: Any, avatar: Avatar, count: int, frames: int, pictures: Path | None) -> Row:
    asset = encode_web_asset(avatar, count)
    server = ViewerServer(ServerConfig(port=0))
    server.show(asset, "benchmark")
    with server:
        size = {"width": SIZE_PX + 330, "height": SIZE_PX}
        shown = browser.new_page(viewport=size)
        shown.add_init_script(_FIRST_PICTURE)
        # The best of three: the first one also warms the browser's process.
        first_s = math.inf
        for _ in range(3):
            shown.goto(server.url)
            first_s = min(first_s, shown.evaluate("() => firstPicture") / 1e3)
        if pictures is not None:
            shown.screenshot(path=str(pictures / f"viewer_{count}.png"))
        layers_head, layers = shown.evaluate(_LAYERS, _chin_row(avatar))
        if not layers_head > 1:
            raise UserError(
                "the page drew no head, so its times would mean nothing; expected several layers of "
                f"Gaussians on it, got {layers_head:.1f}: see what Chromium says of WebGL2"
            )
        drawn = shown.evaluate("() => avatar3d.viewer.renderer.stats.drawn")
        textures = shown.evaluate("() => avatar3d.viewer.renderer.textureBytes")
        draw_ms = shown.evaluate(_DRAW)
        deform_ms, sort_ms, fixed_ms = map(_faster_half, shown.evaluate(_CPU, frames))
        session = shown.context.new_cdp_session(shown)
        session.send("Emulation.setCPUThrottlingRate", {"rate": THROTTLE})
        throttled_ms, slowdown = least_disturbed(shown.evaluate(_CPU, frames), fixed_ms)
        shown.close()
    return {
        "gaussians": count,
        "asset_mb": len(asset) / 1e6,
        "texture_mb": textures / 1e6,
        "first_picture_s": first_s,
        "deform_ms": deform_ms,
        "sort_ms": sort_ms,
        "cpu_ms": deform_ms + sort_ms,
        "cpu_throttled_ms": throttled_ms,
        "slowdown": slowdown,
        "drawn": drawn,
        "layers_head": layers_head,
        "layers": layers,
        "software_draw_ms": draw_ms,
    }


def _faster_half(times_ms: list[float]) -> float:
    """The mean of it: the clock is coarse, and other programs disturb the faster frames least."""
    half = sorted(times_ms)[: max(1, len(times_ms) // 2)]
    return sum(half) / len(half)


def least_disturbed(times_ms: list[list[float]], fixed_ms: float) -> tuple[float, float]:
    """Of a throttled core: ms a frame, and how many times slower than `fixed_ms` it was meanwhile.

    Such a core stands still now and then, so that means over many frames count; of those means, the
    one during which other programs disturbed least by the fixed sum, not by the frames themselves.
    """
    runs = []
    for start in range(0, len(times_ms[0]), RUN):
        deform, sort, fixed = (fmean(part[start : start + RUN]) for part in times_ms)
        runs.append((fixed / fixed_ms, deform + sort))
    slowdown, frame_ms = min(runs)
    return frame_ms, slowdown


def _chin_row(avatar: Avatar) -> float:
    """Row of the chin in the portrait, px."""
    neutral = ExpressionCode.neutral(coefficient_count=avatar.head.expression_count)
    chin = avatar.head.landmarks(avatar.identity, neutral)[CHIN]
    camera = portrait_camera(avatar, SIZE_PX)
    seen = camera.K @ (camera.viewmat[:3, :3] @ chin + camera.viewmat[:3, 3])
    return float(torch.round(seen[1] / seen[2]))


@contextmanager
def _browser() -> Iterator[Any]:
    path = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        raise UserError("this needs Chromium; install it, on Debian with: apt-get install chromium")
    with require("playwright.sync_api", extra="dev").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_SOFTWARE))
        try:
            yield browser
        finally:
            browser.close()
