"""The few-shot report: tables, gains, curves, and what was not measured and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avatar3d.files import atomic_output
from recon.benchmark.curves import curves
from recon.benchmark.report import Column, Report, Row, make_folder, markdown_table
from recon.benchmark.scores import mean
from recon.benchmark.summary import GAINS, figures_of, first_ours, interval, key, paired, rows_of

JSON_FILE, TABLES_FILE, CURVES_FILE = "report.json", "report.md", "curves.svg"
GAIN_COLUMNS: dict[str, tuple[str, int]] = {
    "psnr_face": ("face PSNR", 2), "ssim_face": ("face SSIM", 3), "psnr_head": ("head PSNR", 2),
    "ssim_head": ("head SSIM", 3), "psnr_crop": ("crop PSNR", 2), "ssim_crop": ("crop SSIM", 3),
}  # fmt: skip
CROSS_COLUMNS: list[Column] = [
    ("CSIM", "cross_csim", 3),
    ("CSIM driven by itself", "csim_person", 3),
    ("APD, degrees", "cross_apd", 2),
    ("AED", "cross_aed", 3),
    ("AKD, px", "cross_akd", 2),
    ("fail", "cross_fail", 2),
]


@dataclass(frozen=True)
class FewshotReport(Report):
    """Rows are a method's figures on a clip with T support frames."""

    def markdown(self) -> str:
        """Means over the clips, what ours gains, cross-reenactment, then every clip."""
        means = [_mean_row(self.rows, self.summary, *group) for group in _groups(self.rows)]
        parts = [
            self.heading(),
            "Means over the clips:\n\n" + markdown_table(means, ("method", "shots")),
            self._gains(),
            self._cross(means),
            "Every clip:\n\n" + markdown_table(self.rows, ("clip", "method", "shots")),
        ]
        absent = self.settings.get("absent", {})
        if absent:
            lines = [f"- {metric}: {how}." for metric, how in absent.items()]
            parts.insert(1, "Not measured here, and how to get it:\n\n" + "\n".join(lines) + "\n")
        notes = [
            f"- {method}: {chosen['note']}."
            for method, chosen in self.settings.get("methods", {}).items()
            if chosen.get("note")
        ]
        if notes:
            parts.insert(1, "Of the methods:\n\n" + "\n".join(notes) + "\n")
        return "\n".join(part for part in parts if part)

    def write_folder(self, folder: Path) -> None:
        """report.json, report.md and curves.svg."""
        make_folder(folder)
        self.write_json(folder / JSON_FILE)
        text = self.markdown() + f"\n![Figures over T]({CURVES_FILE})\n"
        for name, content in ((TABLES_FILE, text), (CURVES_FILE, curves(self.rows))):
            with atomic_output(folder / name) as beside:
                beside.write_text(content, encoding="utf-8")

    def _gains(self) -> str:
        ours = first_ours(self.rows)
        groups = _groups(self.rows)
        lines = [
            f"| {method} | {shots} | "
            + " | ".join(
                _with_interval(paired(self.rows, figure, ours, method, shots), digits)
                for figure, (_, digits) in GAIN_COLUMNS.items()
            )
            + " |"
            for method, shots in groups
            if ours is not None and method != ours and (ours, shots) in groups
        ]
        if not lines:
            return ""
        headings = " | ".join(heading for heading, _ in GAIN_COLUMNS.values())
        rule = "|---|---|" + "---:|" * len(GAINS)
        return (
            f"What {ours} gains over each method, paired by clip, with the 95 % interval of a "
            f"bootstrap over the clips:\n\n| over | shots | {headings} |\n{rule}\n"
            + "\n".join(lines)
            + "\n"
        )

    def _cross(self, means: Sequence[Row]) -> str:
        if not any("cross_apd" in row for row in means):
            return ""
        table = markdown_table(means, ("method", "shots"), CROSS_COLUMNS)
        return f"Driven by another person's clip ({self.settings.get('cross')}):\n\n{table}"


def _groups(rows: Sequence[Row]) -> list[tuple[str, int]]:
    return list(dict.fromkeys((row["method"], row["shots"]) for row in rows))


def _mean_row(rows: Sequence[Row], summary: dict[str, float], method: str, shots: int) -> Row:
    own = rows_of(rows, method, shots)
    figures = {name: mean(row.get(name, float("nan")) for row in own) for name in figures_of(own)}
    fid = summary.get(key("fid", method, shots))
    return {"method": method, "shots": shots, **figures, **({} if fid is None else {"fid": fid})}


def _with_interval(values: Sequence[float], digits: int) -> str:
    low, high = interval(values)
    middle = mean(values)
    if middle != middle:
        return "-"
    around = "" if low != low else f" ({low:.{digits}f} to {high:.{digits}f})"
    return f"{middle:+.{digits}f}{around}"
