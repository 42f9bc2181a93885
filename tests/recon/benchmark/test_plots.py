"""Plots of driving: well-formed, complete, and where the numbers say."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.benchmark.driving.plots import CURVE, main, plots_of
from recon.benchmark.svg import COLORS, Curves, Dots, figure

REPORTS = Path(__file__).parents[3] / "docs" / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"


def _dots(svg: str) -> list[float]:
    """Where the dots of rows lie, px from the left; those of the legend are left out."""
    circles = ElementTree.fromstring(svg).iter(f"{SVG}circle")
    return [float(c.get("cx", "nan")) for c in circles if float(c.get("cy", "0")) > 60]


@given(st.lists(st.floats(0, 1e3), min_size=2, max_size=6))
def test_dots_stand_in_the_order_of_their_values(values: list[float]) -> None:
    svg = figure([Dots("a < b & c", [(str(v), {"x": v}) for v in values], {"must": 3.0})])
    at = _dots(svg)
    assert len(at) == len(values)
    assert min(at) >= 0
    assert max(at) <= 760
    for one, two, first, second in zip(values, values[1:], at, at[1:]):
        assert (one - two) * (first - second) >= 0


def test_what_was_not_measured_has_no_dot() -> None:
    svg = figure([Dots("t", [("a", {"x": math.nan, "y": 1.0}), ("b", {"x": 2.0})])])
    assert len(_dots(svg)) == 2
    assert svg.count(COLORS[0]) == 2  # the legend and the dot of b


def test_curves_have_a_point_for_each_value() -> None:
    svg = figure([Curves("jawOpen", 0.5, {"true": [0.0, 1.0, 0.5], "found": [0.0, 0.9, math.nan]})])
    lines = [line.get("points", "") for line in ElementTree.fromstring(svg).iter(f"{SVG}polyline")]
    assert [len(line.split()) for line in lines] == [3, 2]
    heights = [float(point.split(",")[1]) for point in lines[0].split()]
    assert heights[1] < heights[2] < heights[0]  # 1 stands highest


@pytest.mark.parametrize("name", ["audio", "tracking", "codec"])
def test_the_reports_in_the_docs_are_drawn(name: str, tmp_path: Path) -> None:
    main((REPORTS / f"{name}.json",), output=tmp_path)
    drawn = sorted(tmp_path.glob(f"{name}_*.svg"))
    assert drawn
    for file in drawn:
        ElementTree.fromstring(file.read_text("utf-8"))
        shipped = REPORTS / file.name
        assert shipped.read_text("utf-8") == file.read_text("utf-8"), f"draw {shipped} anew"
    rows = json.loads((REPORTS / f"{name}.json").read_text("utf-8"))["rows"]
    labels = "".join(file.read_text("utf-8") for file in drawn)
    for row in rows:
        label = row.get("clip") or row.get("name") or row.get("motion") or row["method"]
        assert re.search(re.escape(str(label)), labels)


def test_curves_of_a_run_are_drawn_by_sequence() -> None:
    row = {"kind": CURVE, "name": "speech", "coefficient": "jawOpen", "step_s": 1 / 30}
    rows = [row | {"truth": [0, 1, 0], "found": [0, 0.8, 0.1]}]
    assert set(plots_of("tracking", rows)) == {"curves_speech"}
    assert plots_of("fewshot", rows) == {}
