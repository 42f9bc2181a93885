"""Truth and render of every test frame as PNG, and one contact sheet a clip.

FOLDER/CLIP/truth/00123.png, FOLDER/CLIP/regions/00123.png (red: crop, green: head, blue: face),
FOLDER/CLIP/METHOD_T8/00123.png and FOLDER/CLIP/contact.png: enough to recompute every figure.
"""

from __future__ import annotations

from collections.abc import Sequence
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
LABEL_PX = 22  # height of the line with the columns' names


class PictureFolder:
    """The pictures of one clip."""

    def __init__(self, folder: Path, clip: str):
        self._folder = folder / clip
        self._columns: list[str] = []

    def save_truth(self, truths: Sequence[Truth]) -> None:
        self._columns.append("truth")
        for truth in truths:
            write_png(self._file("truth", truth.index), truth.picture)
            regions = np.stack(truth.regions, -1).astype(np.float32)
            write_png(self._file("regions", truth.index), regions)

    def save_render(self, column: str, index: int, render: np.ndarray) -> None:
        """`column` is METHOD_T8."""
        if column not in self._columns:
            self._columns.append(column)
        write_png(self._file(column, index), render)

    def save_contact_sheet(self, test: Indices) -> None:
        """Some test frames below each other, truth and renders beside each other."""
        rows = [
            np.hstack([_read_png(self._file(column, index)) for column in self._columns])
            for index in thinned(test, SHEET_ROWS)
        ]
        sheet = np.vstack([_labels(self._columns), *rows])
        write_png(self._folder / "contact.png", sheet)

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


def _read_png(path: Path) -> np.ndarray:
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
