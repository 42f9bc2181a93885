"""One picture that shows what an avatar is worth: truth, render, views all round, expressions."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatar3d.animation import EXPRESSIONS, expression_code, portrait_camera
from avatar3d.avatar import Avatar
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.files import atomic_output
from avatar3d.optional import require
from render.frames import frames

VIEWS_DEGREES = (-60, -30, 30, 60, 180)  # yaw: the subject's right, then left, then from behind
_GAP, _LABEL = 6, 20  # px between cells, and of the line of text above each
_COLUMN, _CELL, _VIEW = 463, 300, 271  # sides in px; three cells are as high as two columns
_TEXT_PX = 14
_JPEG_QUALITY = 90

Cell = tuple[str, NDArray[np.uint8], int]  # label, picture, side in px


def preview_sheet(
    avatar: Avatar, truth: NDArray[np.float32], code: ExpressionCode, camera: Camera
) -> NDArray[np.uint8]:
    """The preview, u8 [H, W, 3]: `truth` [S, S, 3] on white is what `camera` saw with `code`."""
    neutral = expression_code("neutral")
    left: list[list[Cell]] = [
        [("input", np.rint(truth * 255).astype(np.uint8), _COLUMN)],
        [("avatar", _picture(avatar, code, camera.resized(_COLUMN, _COLUMN)), _COLUMN)],
    ]
    face_camera = portrait_camera(avatar, _CELL, zoom=1.2)
    cells: list[Cell] = [
        (name, _picture(avatar, expression_code(name), face_camera), _CELL) for name in EXPRESSIONS
    ]
    views: list[Cell] = [
        (
            _view_name(degrees),
            _picture(avatar, neutral, portrait_camera(avatar, _VIEW, math.radians(degrees))),
            _VIEW,
        )
        for degrees in VIEWS_DEGREES
    ]
    right = [cells[start : start + 3] for start in range(0, len(cells), 3)]
    top = _beside(_grid(left), _grid(right))
    return _below(top, _grid([views]))


def write_picture(picture: NDArray[np.uint8], path: Path) -> None:
    """u8 [H, W, 3] to .jpg or .png; whole or not at all."""
    image = require("PIL.Image", extra="recon").fromarray(picture)
    content = io.BytesIO()
    if path.suffix.lower() == ".png":
        image.save(content, "PNG")
    else:
        image.save(content, "JPEG", quality=_JPEG_QUALITY)
    with atomic_output(path) as temporary:
        temporary.write_bytes(content.getvalue())


def _picture(avatar: Avatar, code: ExpressionCode, camera: Camera) -> NDArray[np.uint8]:
    """Drawn at twice the size and averaged, as a photo's pixels average over their area."""
    fine = camera.resized(2 * camera.width, 2 * camera.height)
    picture = next(frames(avatar, [code], fine)).astype(np.float32)
    halves = picture.reshape(camera.height, 2, camera.width, 2, 3).mean((1, 3))
    return np.rint(halves).astype(np.uint8)


def _view_name(degrees: int) -> str:
    if abs(degrees) == 180:
        return "from behind"
    return f"{abs(degrees)}° from the {'left' if degrees > 0 else 'right'}"


def _grid(rows: list[list[Cell]]) -> NDArray[np.uint8]:
    """Labelled pictures in rows, on white."""
    return np.concatenate(
        [np.concatenate([_labelled(*cell) for cell in row], axis=1) for row in rows]
    )


def _labelled(label: str, picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    image_module = require("PIL.Image", extra="recon")
    drawing = require("PIL.ImageDraw", extra="recon")
    fonts = require("PIL.ImageFont", extra="recon")
    cell = image_module.new("RGB", (side + _GAP, side + _GAP + _LABEL), "white")
    image = image_module.fromarray(picture)
    if image.size != (side, side):
        image = image.resize((side, side), image_module.Resampling.LANCZOS)
    cell.paste(image, (_GAP // 2, _LABEL))
    drawing.Draw(cell).text((_GAP, 2), label, fill=(90, 90, 90), font=fonts.load_default(_TEXT_PX))
    return np.asarray(cell)


def _beside(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height = max(len(a), len(b))
    return np.concatenate([_padded(a, height, a.shape[1]), _padded(b, height, b.shape[1])], axis=1)


def _below(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.uint8]:
    width = max(a.shape[1], b.shape[1])
    return np.concatenate([_padded(a, len(a), width), _padded(b, len(b), width)])


def _padded(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """White to the right and below."""
    extra = ((0, height - len(picture)), (0, width - picture.shape[1]), (0, 0))
    return np.pad(picture, extra, constant_values=255)
