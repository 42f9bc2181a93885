"""Figures as SVG, which every browser shows: values as dots on a scale, and curves over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from avatar3d.files import atomic_output

# Tell series apart for the colour blind (Okabe and Ito 2008).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933")
_WIDTH, _LABEL, _RIGHT = 760, 180, 24
_TITLE, _ROW, _SCALE, _CURVE = 60, 18, 30, 70
_GREY = "#777"


class Dots(NamedTuple):
    """A row a label, in it a dot a series; `marks` are lines across all rows (what is demanded)."""

    title: str
    rows: Sequence[tuple[str, Mapping[str, float]]]
    marks: Mapping[str, float] = {}

    @property
    def height(self) -> int:
        return _TITLE + _ROW * len(self.rows) + _SCALE


class Curves(NamedTuple):
    """Series of equally many values, `step_s` apart."""

    title: str
    step_s: float
    series: Mapping[str, Sequence[float]]

    @property
    def height(self) -> int:
        return _TITLE + _CURVE + _SCALE


def figure(panels: Sequence[Dots | Curves]) -> str:
    """Panels below each other, each with its legend."""
    height = sum(panel.height for panel in panels) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="12">'
        '<rect width="100%" height="100%" fill="#fff"/>'
    ]
    top = 0
    for panel in panels:
        inside = _dots(panel) if isinstance(panel, Dots) else _curves(panel)
        parts.append(f'<g transform="translate(0,{top})">{inside}</g>')
        top += panel.height
    return "\n".join([*parts, "</svg>\n"])


def ticks(low: float, high: float) -> list[float]:
    """Some round numbers that hold low and high between them."""
    span = max(high - low, 1e-9 + 1e-3 * abs(high))
    step = 10 ** math.floor(math.log10(span / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (factor * step) <= 5)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def _dots(panel: Dots) -> str:
    names = list(dict.fromkeys(name for _, values in panel.rows for name in values))
    known = [v for _, values in panel.rows for v in values.values() if math.isfinite(v)]
    scale = ticks(min([0.0, *known]), max([*known, *panel.marks.values(), 1e-9]))
    bottom = _TITLE + _ROW * len(panel.rows)

    def x(value: float) -> float:
        return _LABEL + (_WIDTH - _LABEL - _RIGHT) * (value - scale[0]) / (scale[-1] - scale[0])

    parts = [_heading(panel.title, names)]
    for tick in scale:
        parts.append(
            f'<path d="M{x(tick):.1f} {_TITLE}V{bottom}" stroke="#ddd"/>'
            f'<text x="{x(tick):.1f}" y="{bottom + 15}" text-anchor="middle">{tick:g}</text>'
        )
    for name, value in panel.marks.items():
        parts.append(
            f'<path d="M{x(value):.1f} {_TITLE}V{bottom}" stroke="{_GREY}" stroke-dasharray="4 3"/>'
            f'<text x="{x(value) - 3:.1f}" y="{_TITLE - 2}" text-anchor="end" fill="{_GREY}">'
            f"{escape(name)}</text>"
        )
    for number, (label, values) in enumerate(panel.rows):
        y = _TITLE + _ROW * (number + 0.5)
        parts.append(
            f'<text x="{_LABEL - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        )
        for name, value in values.items():
            if math.isfinite(value):
                color = COLORS[names.index(name) % len(COLORS)]
                parts.append(f'<circle cx="{x(value):.1f}" cy="{y:.1f}" r="4" fill="{color}"/>')
    return "".join(parts)


def _curves(panel: Curves) -> str:
    known = [v for values in panel.series.values() for v in values if math.isfinite(v)]
    scale = ticks(min([0.0, *known]), max([*known, 1e-9]))
    count = max([2, *(len(values) for values in panel.series.values())])
    bottom = _TITLE + _CURVE

    def x(index: float) -> float:
        return _LABEL + (_WIDTH - _LABEL - _RIGHT) * index / (count - 1)

    def y(value: float) -> float:
        return bottom - _CURVE * (value - scale[0]) / (scale[-1] - scale[0])

    parts = [_heading(panel.title, list(panel.series))]
    for value in (scale[0], scale[-1]):
        parts.append(
            f'<path d="M{_LABEL} {y(value):.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
            f'<text x="{_LABEL - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for tick in ticks(0, (count - 1) * panel.step_s):
        if tick <= (count - 1) * panel.step_s + 1e-9:
            at = x(tick / panel.step_s)
            parts.append(
                f'<text x="{at:.1f}" y="{bottom + 15}" text-anchor="middle">{tick:g} s</text>'
            )
    for values, color in zip(panel.series.values(), COLORS):
        points = " ".join(
            f"{x(index):.1f},{y(value):.1f}"
            for index, value in enumerate(values)
            if math.isfinite(value)
        )
        parts.append(f'<polyline fill="none" stroke="{color}" points="{points}"/>')
    return "".join(parts)


def _heading(title: str, names: Sequence[str]) -> str:
    """The title, and the legend below it where there are several series."""
    parts = [f'<text x="12" y="20" font-weight="bold">{escape(title)}</text>']
    at = 18.0
    for name, color in zip(names if len(names) > 1 else (), COLORS):
        parts.append(
            f'<circle cx="{at:.0f}" cy="34" r="4" fill="{color}"/>'
            f'<text x="{at + 9:.0f}" y="38">{escape(name)}</text>'
        )
        at += 7 * len(name) + 30
    return "".join(parts)


def write_plots(plots: Mapping[str, str], beside: Path) -> list[Path]:
    """`NAME_PLOT.svg` beside the report NAME."""
    written = []
    for name, svg in plots.items():
        file = beside.with_name(f"{beside.stem}_{name}.svg")
        with atomic_output(file) as temporary:
            temporary.write_text(svg, encoding="utf-8")
        written.append(file)
    return written
