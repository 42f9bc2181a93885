"""Plots of what `benchmark audio`, `tracking` and `codec` measured: numbers only, nobody's picture.

    python -m recon.benchmark.driving.plots audio.json tracking.json codec.json

draws those of finished reports beside them; `avatar3d benchmark ... --markdown FILE` draws its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from avatar3d.cli import run_script
from avatar3d.errors import UserError
from avatar3d.files import check_readable
from recon.benchmark.svg import Curves, Dots, figure, write_plots

Rows = Sequence[Mapping[str, Any]]
CURVE = "curve"  # the kind of a row that holds a coefficient over time, true and found

_MEASURES = ("opening", "jaw", "width", "protrusion", "upper lip", "lower lip", "corners")


def plots_of(name: str, rows: Rows) -> dict[str, str]:
    """SVGs by what they show; none for other benchmarks, or where nothing was measured."""
    if name == "audio":
        return _audio(rows)
    if name == "tracking":
        return _tracking(rows)
    return _codec(rows) if name == "codec" else {}


def _audio(rows: Rows) -> dict[str, str]:
    people = [row for row in rows if row.get("table") == "people"]
    clips = [row for row in rows if row.get("table") == "clips"]
    plots = {}
    if people:
        telling = [row for row in people if row["correlation"] != 0]
        telling.sort(key=lambda row: row["method"] == "loudness")  # the baseline's color is last
        means = [
            (measure, {str(row["method"]): row[measure] for row in telling})
            for measure in _MEASURES
        ]
        closed = [(str(row["method"]), {"F1": row["closure_f1"]}) for row in people]
        plots["people"] = figure(
            [
                Dots("Correlation with the mouth, mean over the clips", means),
                Dots("Closed lips while speaking, F1", closed, {"must": 0.32, "aim": 0.45}),
            ]
        )
    if clips:
        plots["clips"] = figure(
            [
                Dots(
                    "Seven measures, correlation in every clip",
                    _by_clip(clips, "correlation"),
                    {"must": 0.45, "aim": 0.55},
                ),
                Dots(
                    "Closed lips, F1 in every clip",
                    _by_clip(clips, "closure_f1"),
                    {"must": 0.32, "aim": 0.45},
                ),
            ]
        )
    return plots


def _by_clip(rows: Rows, figure_name: str) -> list[tuple[str, dict[str, float]]]:
    """A row a clip, the best of its methods' first."""
    methods = sorted({str(row["method"]) for row in rows})
    clips: dict[str, dict[str, float]] = {}
    for row in rows:
        values = clips.setdefault(str(row["clip"]), dict.fromkeys(methods, math.nan))
        values[str(row["method"])] = row[figure_name]
    return sorted(
        clips.items(), key=lambda pair: -max(v for v in pair[1].values() if math.isfinite(v))
    )


def _tracking(rows: Rows) -> dict[str, str]:
    clips = [row for row in rows if row["kind"] == "clip"]
    renders = [row for row in rows if row["kind"] == "render"]
    plots = {}
    if clips:
        plots["clips"] = figure(
            [
                Dots(title, [(str(row["name"]), {"value": row[name]}) for row in clips], marks)
                for title, name, marks in (
                    (
                        "Landmark error, % of the distance between the pupils",
                        "landmark_error_percent",
                        {"must": 3.0, "aim": 2.0},
                    ),
                    (
                        "Jitter on a still picture, rms of a coefficient",
                        "jitter",
                        {"must": 0.01, "aim": 0.005},
                    ),
                    ("Lag added by smoothing, ms", "lag_ms", {"must": 40.0, "aim": 20.0}),
                )
            ]
        )
    if renders:
        plots["renders"] = figure(
            [
                Dots(title, _by_person(renders, name), marks)
                for title, name, marks in (
                    (
                        "Renders of known codes: coefficient error",
                        "coefficient_error",
                        {"must": 0.08, "aim": 0.05},
                    ),
                    (
                        "Renders of known codes: yaw error, degrees",
                        "yaw_error_deg",
                        {"must": 2.5, "aim": 1.5},
                    ),
                )
            ]
        )
    drawn = [row for row in rows if row["kind"] == CURVE]
    for sequence in dict.fromkeys(row["name"] for row in drawn):
        plots[f"curves_{sequence}"] = figure(
            [
                Curves(
                    str(row["coefficient"]),
                    row["step_s"],
                    {"rendered": row["truth"], "tracked": row["found"]},
                )
                for row in drawn
                if row["name"] == sequence
            ]
        )
    return plots


def _by_person(rows: Rows, figure_name: str) -> list[tuple[str, dict[str, float]]]:
    sequences: dict[str, dict[str, float]] = {}
    for row in rows:
        person = f"person {row['person'] + 1}"
        sequences.setdefault(str(row["name"]), {})[person] = row[figure_name]
    return list(sequences.items())


def _codec(rows: Rows) -> dict[str, str]:
    return {
        "rate": figure(
            [
                Dots(
                    "Codes of 30 a second, kbit/s",
                    [(str(row["motion"]), {"kbit/s": row["kbit_per_second"]}) for row in rows],
                    {"must": 6.0, "aim": 3.0},
                ),
                Dots(
                    "Error of a coefficient",
                    [
                        (
                            str(row["motion"]),
                            {
                                "mean": row["mean_error"],
                                "greatest": row["greatest_error"],
                                "mean, 5 % lost": row["mean_error_with_loss"],
                            },
                        )
                        for row in rows
                    ],
                    {"must, greatest": 0.01},
                ),
            ]
        )
    }


def main(reports: tyro.conf.Positional[tuple[Path, ...]], /, output: Path | None = None) -> None:
    """Draw the plots of finished reports.

    Args:
        reports: JSON of `avatar3d benchmark`.
        output: Folder; beside each report if not given.
    """
    for path in reports:
        check_readable(path)
        try:
            report = json.loads(path.read_text("utf-8"))
            drawn = plots_of(report["name"], report["rows"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} must be the JSON of `avatar3d benchmark`, but it is not ({error!r}); give "
                "what --json wrote"
            ) from error
        for file in write_plots(drawn, (output or path.parent) / path.name):
            print(f"wrote {file}")


if __name__ == "__main__":
    run_script(main)
