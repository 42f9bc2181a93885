"""Coefficients over time as an SVG: a row for each that moves, and the head's angles."""

from __future__ import annotations

import html

import torch

from avatar3d.animation.editing import columns_of
from avatar3d.live_link_face import head_angles
from avatar3d.motion import Motion

WIDTH, ROW, LABEL, MARGIN = 1000, 34, 150, 24
MOST_POINTS = 2000  # a line: more is not seen
_COLORS = {"eye": "#2a6fb0", "brow": "#7a4fb0", "jaw": "#b0452a", "mouth": "#c0752a"}


def plot_svg(motion: Motion, names: tuple[str, ...] = (), least: float = 0.05) -> str:
    """An SVG text. `names`: these coefficients (a name without its side means both); else those
    that reach `least`."""
    values = motion.codes.coefficients
    if names:
        shown = columns_of(motion, names)
    else:
        shown = [i for i in range(len(motion.names)) if values[:, i].amax() >= least]
    rows = [(motion.names[i], values[:, i], 0.0, 1.0, _color(motion.names[i])) for i in shown]
    angles = torch.rad2deg(head_angles(motion.codes.head_rotation))
    for index, name in enumerate(("head yaw", "head pitch", "head roll")):
        reach = max(10.0, float(angles[:, index].abs().amax()))
        label = f"{name}, +-{reach:.0f} deg"
        rows.append((label, angles[:, index], -reach, reach, "#333333"))
    height = 2 * MARGIN + ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    duration_s = max(motion.duration_s, 1e-9)
    step_s = next(step for step in (0.5, 1, 2, 5, 10, 30, 60, 300, 1e9) if duration_s / step <= 16)
    for tick in range(int(duration_s / step_s) + 1):
        x = LABEL + (WIDTH - LABEL - MARGIN) * tick * step_s / duration_s
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{MARGIN}" y2="{height - MARGIN}" stroke="#ddd"/>'
            f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{tick * step_s:g} s</text>'
        )
    for number, (label, series, low, high, color) in enumerate(rows):
        top = MARGIN + number * ROW
        parts.append(
            f'<text x="{LABEL - 8}" y="{top + ROW * 0.65:.1f}" text-anchor="end">'
            f"{html.escape(label)}</text>"
            f'<polyline fill="none" stroke="{color}" points="{_line(series, low, high, top)}"/>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _line(series: torch.Tensor, low: float, high: float, top: float) -> str:
    count = len(series)
    stride = max(1, count // MOST_POINTS)
    scale = (WIDTH - LABEL - MARGIN) / max(count, 1)
    return " ".join(
        f"{LABEL + index * scale:.1f},"
        f"{top + ROW * (0.95 - 0.9 * (float(series[index]) - low) / (high - low)):.1f}"
        for index in range(0, count, stride)
    )


def _color(name: str) -> str:
    return next((color for prefix, color in _COLORS.items() if name.startswith(prefix)), "#4a8a4a")
