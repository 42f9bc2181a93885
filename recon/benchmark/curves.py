"""Curves over the number of support frames, as an SVG that any browser shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from recon.benchmark.report import Row
from recon.benchmark.scores import mean
from recon.benchmark.summary import interval, rows_of
from recon.benchmark.svg import COLORS, ticks

PANELS = {
    "psnr_face": "face PSNR, dB",
    "ssim_face": "face SSIM",
    "ssim_head": "head SSIM",
    "akd_lips": "AKD of the lips, px (less is better)",
    "sharpness": "sharpness",
    "lpips": "LPIPS (less is better)",
    "csim": "CSIM",
}
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _COLUMNS = 380, 260, 54, 34, 30, 2
_FONT = 'font-family="sans-serif" font-size="12"'


def curves(rows: Sequence[Row]) -> str:
    """One panel a figure: mean over the clips against T, with its 95 % interval."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    shots = sorted({row["shots"] for row in rows})
    shown = [name for name in PANELS if any(math.isfinite(row.get(name, math.nan)) for row in rows)]
    lines = -(-max(1, len(shown)) // _COLUMNS)
    width, height = _WIDTH * _COLUMNS, _HEIGHT * lines + 20 * (-(-len(methods) // 4)) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for place, figure in enumerate(shown):
        column, line = place % _COLUMNS, place // _COLUMNS
        inside = _panel(rows, methods, shots, figure)
        parts.append(f'<g transform="translate({column * _WIDTH},{line * _HEIGHT})">{inside}</g>')
    for place, method in enumerate(methods):
        x, y = _LEFT + (place % 4) * 170, _HEIGHT * lines + 12 + 20 * (place // 4)
        color = COLORS[place % len(COLORS)]
        parts.append(
            f'<path d="M{x} {y}h22" stroke="{color}" stroke-width="2"/>'
            f'<text x="{x + 28}" y="{y + 4}" {_FONT}>{escape(method)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _panel(rows: Sequence[Row], methods: Sequence[str], shots: Sequence[int], figure: str) -> str:
    points: list[tuple[int, int, float, float, float]] = []  # method, T, mean, low, high
    for place, method in enumerate(methods):
        for count in shots:
            values = [row.get(figure, math.nan) for row in rows_of(rows, method, count)]
            middle, (low, high) = mean(values), interval(values)
            if math.isfinite(middle):
                points.append(
                    (place, count, middle, *((low, high) if low == low else (middle, middle)))
                )
    lowest, highest = min(p[3] for p in points), max(p[4] for p in points)
    scale = ticks(lowest, highest)
    lowest, highest = min(lowest, scale[0]), max(highest, scale[-1])
    steps = math.log2(max(shots)) - math.log2(min(shots)) or 1.0

    def x(count: int) -> float:
        across = _WIDTH - _LEFT - 24
        return _LEFT + 8 + across * (math.log2(count) - math.log2(min(shots))) / steps

    def y(value: float) -> float:
        down = _HEIGHT - _TOP - _BOTTOM
        return _TOP + down * (highest - value) / ((highest - lowest) or 1.0)

    parts = [f'<text x="{_LEFT}" y="18" {_FONT} font-weight="bold">{escape(PANELS[figure])}</text>']
    for tick in scale:
        parts.append(
            f'<path d="M{_LEFT} {y(tick):.1f}H{_WIDTH - 12}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" {_FONT} text-anchor="end">{tick:g}</text>'
        )
    for count in shots:
        parts.append(
            f'<text x="{x(count):.1f}" y="{_HEIGHT - 14}" {_FONT} text-anchor="middle">'
            f"T={count}</text>"
        )
    for place in range(len(methods)):
        own = [point for point in points if point[0] == place]
        color = COLORS[place % len(COLORS)]
        shift = 1.5 * (place - (len(methods) - 1) / 2)  # intervals beside each other
        path = " ".join(
            f"{'M' if k == 0 else 'L'}{x(count) + shift:.1f} {y(middle):.1f}"
            for k, (_, count, middle, _, _) in enumerate(own)
        )
        parts.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        for _, count, middle, low, high in own:
            at = x(count) + shift
            parts.append(
                f'<path d="M{at:.1f} {y(low):.1f}V{y(high):.1f}" stroke="{color}"/>'
                f'<circle cx="{at:.1f}" cy="{y(middle):.1f}" r="3" fill="{color}"/>'
            )
    return "".join(parts)
