"""Truth and render of every test frame as PNG, and one contact sheet a clip.

FOLDER/CLIP/truth/00123.png, FOLDER/CLIP/regions/00123.png (red: crop, green: head, blue: face),
FOLDER/CLIP/METHOD_T8/00123.png and FOLDER/CLIP/contact.png: enough to recompute every figure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from avatar3d.optional import require
from recon.benchmark.clip import EVAL_PX
from recon.benchmark.protocol import Indices, thinned
from recon.benchmark.report import make_folder
from recon.benchmark.scores import Truth

SHEET_ROWS = 5  # test frames on a contact sheet
ROW_FILE = ".row"
LABEL_PX = 22  # height of the line with the columns' names


class PictureFolder:
    """The pictures of one clip."""

    def __init__(self, folder: Path, clip: str, only: Collection[int] | None = None):
        """`only`: keep no other frames than these."""
        self._folder = folder / clip
        self._only = only
        self._columns: list[str] = []

    def add_column(self, column: str) -> None:
        """A column of the contact sheet; its pictures may lie there from an earlier run."""
        if column not in self._columns:
            self._columns.append(column)

    def save_truth(self, truths: Sequence[Truth]) -> None:
        self.add_column("truth")
        for truth in truths:
            if not self._kept(truth.index):
                continue
            write_png(self._file("truth", truth.index), truth.picture)
            regions = np.stack(truth.regions, -1).astype(np.float32)
            write_png(self._file("regions", truth.index), regions)

    def save_render(self, column: str, index: int, render: np.ndarray) -> None:
        """`column` is METHOD_T8."""
        self.add_column(column)
        if self._kept(index):
            write_png(self._file(column, index), render)

    def has(self, column: str, indices: Indices, row: str = "") -> bool:
        """Whether an earlier run left the pictures that this one would keep, of that very row."""
        if not all(self._file(column, index).exists() for index in indices if self._kept(index)):
            return False
        mark = self._folder / column / ROW_FILE
        return not row or (mark.is_file() and mark.read_text(encoding="utf-8") == row)

    def mark(self, column: str, row: str) -> None:
        """Note which row the column's pictures belong to; `mark` with "" before they change."""
        make_folder(self._folder / column)
        with atomic_output(self._folder / column / ROW_FILE) as beside:
            beside.write_text(row, encoding="utf-8")

    def save_contact_sheet(self, test: Indices) -> None:
        """Some test frames below each other, truth and renders beside each other."""
        rows = [
            np.hstack([read_png(self._file(column, index)) for column in self._columns])
            for index in thinned(test, SHEET_ROWS)
        ]
        sheet = np.vstack([_labels(self._columns), *rows])
        write_png(self._folder / "contact.png", sheet)

    def _kept(self, index: int) -> bool:
        return self._only is None or index in self._only

    def _file(self, column: str, index: int) -> Path:
        return self._folder / column / f"{index:05d}.png"


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write [H, W, 3] in 0..1 or uint8, RGB."""
    cv2 = require("cv2", extra="recon")
    if picture.dtype != np.uint8:
        picture = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    content = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1].tobytes()
    make_folder(path.parent)
    with atomic_output(path) as beside:
        beside.write_bytes(content)


def read_png(path: Path) -> np.ndarray:
    cv2 = require("cv2", extra="recon")
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise UserError(f"{path} must be the picture just written, but cannot be read; try again")
    return picture[..., ::-1]


def _labels(columns: Sequence[str]) -> np.ndarray:
    cv2 = require("cv2", extra="recon")
    line = np.full((LABEL_PX, EVAL_PX * len(columns), 3), 255, np.uint8)
    for k, column in enumerate(columns):
        at = (EVAL_PX * k + 4, LABEL_PX - 6)
        cv2.putText(line, column, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return line
