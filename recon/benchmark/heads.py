"""`avatar3d benchmark heads`: how well a head model fits faces, and how it moves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d.codes import ARKIT_NAMES
from avatar3d.errors import UserError
from avatar3d.heads import HeadModel
from avatar3d.progress import progress
from recon.benchmark.head_shapes import (
    LEFT_LID_PAIRS,
    LIP_PAIRS,
    RIGHT_LID_PAIRS,
    FaceComparison,
    gap_mm,
)
from recon.benchmark.report import Report, Row, commit, make_report, markdown_table
from recon.capture import detect, hash_file, head_crop, read_photo
from recon.capture.inputs import PHOTO_SUFFIXES
from recon.track.support import track_support

NAME = "heads"
PUPILS = (468, 473)
CROP_PX = 512
# Kinds of a manifest's pictures that are no photos of people: measured, but not in the mean.
DRAWN = ("painting", "digital painting", "drawing", "statue")
LIMITS: dict[str, tuple[str, float, float]] = {  # figure: what it is, must, aim
    "fit_percent": ("478-point fit on photos, % of the pupils' distance", 3.0, 2.0),
    "neutral_rms_mm": ("neutral face against the other head, RMS mm", 3.5, 2.5),
    "cosine": ("displacement fields against the other head, mean cosine", 0.65, 0.80),
    "blink_gap_mm": ("lid gap at eyeBlink 1, mm", 0.5, 0.2),
    "close_gap_mm": ("inner lip gap at jawOpen 1 + mouthClose 1, mm", 1.0, 1.0),
}


@dataclass(frozen=True)
class Photo:
    path: Path
    kind: str  # "photo", or what it shows instead


class HeadsReport(Report):
    def markdown(self) -> str:
        figures = [
            {"figure": text, "measured": self.summary[name], "must": must, "aim": aim}
            for name, (text, must, aim) in LIMITS.items()
            if name in self.summary
        ]
        opened = self.summary["open_gap_mm"]
        table = markdown_table(
            figures,
            ("figure",),
            [("measured", "measured", 2), ("must", "must", 2), ("aim", "aim", 2)],
        )
        shapes = [row for row in self.rows if row["kind"] == "shape"]
        photos = [row for row in self.rows if row["kind"] != "shape"]
        text = (
            f"{self.heading()}Head `{self.settings['head']}`, against `{self.settings['against']}`.\n\n"
            f"{table}\nInner lip gap at jawOpen 1: {opened:.1f} mm (25 to 45).\n"
        )
        if shapes:
            columns = [("cosine over the face", "cosine", 2), ("at the landmarks", "landmarks", 2)]
            text += (
                f"\nThe same shape on both heads:\n\n{markdown_table(shapes, ('shape',), columns)}"
            )
        if photos:
            columns = [("fit, % of the pupils' distance", "fit_percent", 2)]
            text += f"\nPictures:\n\n{markdown_table(photos, ('picture', 'kind'), columns)}"
        return text


def run_heads(
    head: HeadModel, photos: Iterable[Photo], against: HeadModel | None = None
) -> HeadsReport:
    """Figures of `head`; those that compare need another head."""
    commit()
    rows: list[Row] = []
    photos = list(photos)
    with progress("heads benchmark", len(photos) + 1) as step:
        for photo in photos:
            error = fit_percent(head, photo.path)
            if error is not None:
                rows.append(
                    {
                        "picture": hash_file(photo.path)[:12],
                        "kind": photo.kind,
                        "fit_percent": error,
                    }
                )
            step()
        summary = shape_figures(head)
        if against is not None:
            rows += compare(head, against, summary)
        step()
    for kinds, figure in ((("photo",), "fit_percent"), (DRAWN, "fit_percent_drawn")):
        errors = [row["fit_percent"] for row in rows if row["kind"] in kinds]
        if errors:
            summary[figure] = float(np.mean(errors))
    settings: dict[str, Any] = {
        "head": head.name,
        "head_hash": head.content_hash(),
        "against": against.name if against else None,
        "photos": len(photos),
    }
    return make_report(NAME, settings, rows, summary, HeadsReport)


def fit_percent(head: HeadModel, path: Path) -> float | None:
    """Mean distance of the 478 fitted landmarks in percent of the pupils' distance; None without
    a face."""
    image = read_photo(path).flattened(grey=127)
    faces = detect(image)
    if not faces:
        return None
    crop = head_crop(faces[0].landmarks, CROP_PX)
    landmarks = crop.to_crop(faces[0].landmarks)
    tracking = track_support(landmarks[None], CROP_PX, head)
    pupils_px = np.linalg.norm(landmarks[PUPILS[0], :2] - landmarks[PUPILS[1], :2])
    return 100 * float(tracking.residual_px[0]) / float(pupils_px)


def shape_figures(head: HeadModel) -> dict[str, float]:
    blink = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
    lids = np.concatenate(
        [gap_mm(head, side, **blink) for side in (LEFT_LID_PAIRS, RIGHT_LID_PAIRS)]
    )
    closed = gap_mm(head, LIP_PAIRS, jawOpen=1.0, mouthClose=1.0)
    return {
        "vertices": float(len(head.neutral)),
        "identity_modes": float(head.identity_count),
        "blink_gap_mm": float(np.abs(lids).max()),
        "open_gap_mm": float(gap_mm(head, LIP_PAIRS, jawOpen=1.0).max()),
        "close_gap_mm": float(np.abs(closed).max()),
    }


def compare(head: HeadModel, against: HeadModel, summary: dict[str, float]) -> list[Row]:
    """A row for every shape that both heads have; the means go into `summary`."""
    comparison = FaceComparison(head, against)
    summary["neutral_rms_mm"] = comparison.surface_rms_mm
    summary["neutral_landmark_rms_mm"] = comparison.landmark_rms_mm
    rows: list[Row] = []
    for name in ARKIT_NAMES:
        cosine, landmarks = comparison.cosine(name)
        if np.isfinite(cosine):
            rows.append({"shape": name, "kind": "shape", "cosine": cosine, "landmarks": landmarks})
    summary["cosine"] = float(np.mean([row["cosine"] for row in rows]))
    summary["cosine_landmarks"] = float(np.mean([row["landmarks"] for row in rows]))
    summary["shapes_compared"] = float(len(rows))
    return rows


def find_photos(folder: Path) -> list[Photo]:
    """Pictures of a folder (or of its folder `photos`); a manifest.json beside says what is drawn."""
    inner = folder / "photos"
    pictures = inner if inner.is_dir() else folder
    if not pictures.is_dir():
        raise UserError(f"the folder {folder} does not exist; name the folder with the photos")
    kinds = _kinds(folder / "manifest.json")
    found = [
        Photo(path, kinds.get(path.name, "photo"))
        for path in sorted(pictures.iterdir())
        if path.suffix.lower() in PHOTO_SUFFIXES
    ]
    if not found:
        raise UserError(f"the folder {pictures} holds no pictures; name the folder with the photos")
    return found


def _kinds(manifest: Path) -> dict[str, str]:
    if not manifest.is_file():
        return {}
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))
        return {
            Path(entry["file"]).name: entry["category"]
            for entry in entries
            if entry.get("category") in DRAWN and "file" in entry
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{manifest} must be a JSON list of the pictures, but cannot be read ({error}); mend or "
            "remove it"
        ) from error
