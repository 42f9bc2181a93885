"""What the reports on speed have in common: how a run begins, and the page that it ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recon.benchmark.report import Column, Report, Row, commit, make_folder, markdown_table
from recon.benchmark.speed.scene import SEED
from recon.benchmark.speed.surroundings import accelerator, surroundings

Table = tuple[str, list[Row], list[Column]]  # title, rows, figures


class SpeedReport(Report):
    def tables(self) -> list[Table]:
        raise NotImplementedError

    def markdown(self) -> str:
        text = self.heading() + "\n".join(self.settings["notes"]) + "\n"
        for title, rows, columns in self.tables():
            table = markdown_table(rows, ("scene", "gaussians", "size"), columns)
            text += f"\n{title}\n\n{table}"
        return text


def begin(config: Any = None, pictures: Path | None = None) -> dict[str, Any]:
    """The report's settings so far; the folder of pictures is made before time is spent."""
    commit()  # remembered: what is measured, whatever changes until the report
    if pictures is not None:
        make_folder(pictures)
    around, gpu = surroundings(), accelerator()
    said = f"GPU: {gpu}." if gpu else "There is no GPU here that could be measured."
    return {**around, "seed": SEED, "config": config, "notes": [around["load"], said]}
