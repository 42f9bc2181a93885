"""What a benchmark leaves behind: JSON for machines, a table for people, pictures for both."""

from __future__ import annotations

import functools
import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from avatar3d.errors import UserError
from avatar3d.files import atomic_output

Row = dict[str, Any]
Column = tuple[str, str, int]  # heading, figure of a row, digits

COLUMNS: list[Column] = [
    ("face PSNR", "psnr_face", 2),
    ("SSIM", "ssim_face", 3),
    ("FLIP", "flip_face", 3),
    ("head PSNR", "psnr_head", 2),
    ("SSIM", "ssim_head", 3),
    ("FLIP", "flip_head", 3),
    ("crop PSNR", "psnr_crop", 2),
    ("SSIM", "ssim_crop", 3),
    ("AKD", "akd_all", 2),
    ("lips", "akd_lips", 2),
    ("iris", "akd_iris", 2),
    ("fail", "fail", 2),
    ("sharpness", "sharpness", 2),
    ("LPIPS", "lpips", 3),
    ("FID", "fid", 1),
    ("CSIM", "csim", 3),
    ("APD", "apd", 2),
    ("AED", "aed", 3),
    ("fit s", "fit_seconds", 1),
    ("frame ms", "render_ms", 1),
]


@dataclass(frozen=True)
class Report:
    """The benchmark JSON of the project: figures with what is needed to measure them again."""

    name: str
    date: str  # UTC, ISO 8601
    commit: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    rows: list[Row]
    summary: dict[str, float]

    def write_json(self, path: Path) -> None:
        """Write the file whole or not at all. JSON knows no nan: what could not be told is null."""
        text = json.dumps(without_nan(asdict(self)), indent=1, allow_nan=False)
        with atomic_output(path) as beside:
            beside.write_text(text + "\n", encoding="utf-8")

    def markdown(self) -> str:
        """Tables for people."""
        return self.heading() + markdown_table(self.rows, ("clip", "method", "shots"))

    def plots(self) -> dict[str, str]:
        """SVGs by what they show; they are left beside the tables."""
        return {}

    def heading(self) -> str:
        when = f"{self.date}, commit {self.commit}, {self.machine['processor']}"
        return f"# {self.name}\n\n{when}\n\n"


AnyReport = TypeVar("AnyReport", bound=Report)


def make_report(
    name: str,
    settings: dict[str, Any],
    rows: list[Row],
    summary: dict[str, float],
    kind: type[AnyReport] = Report,
) -> AnyReport:
    """Add when, where and from what the figures came."""
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return kind(name, date, commit(), machine(), settings, rows, summary)


def markdown_table(
    rows: Sequence[Row], labels: Sequence[str], columns: Sequence[Column] = COLUMNS
) -> str:
    """Rows as a table; figures that no row has are left out."""
    columns = [column for column in columns if any(column[1] in row for row in rows)]
    lines = ["| " + " | ".join([*labels, *(heading for heading, _, _ in columns)]) + " |"]
    lines.append("|" + "---|" * len(labels) + "---:|" * len(columns))
    for row in rows:
        figures = [_figure(row.get(name, math.nan), digits) for _, name, digits in columns]
        lines.append("| " + " | ".join([*(str(row[label]) for label in labels), *figures]) + " |")
    return "\n".join(lines) + "\n"


def make_folder(folder: Path) -> None:
    """Create a folder for outputs, with those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {folder} must be writable, but cannot be made ({error}); choose another"
        ) from error


@functools.cache
def commit() -> str:
    """The checkout's commit, with -dirty where files differ from it; "unknown" outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def machine() -> dict[str, Any]:
    """What a figure in seconds depends on."""
    import torch

    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _figure(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def without_nan(value: Any) -> Any:
    """The value with None for every number that JSON does not know."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
