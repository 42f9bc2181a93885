"""A contact sheet of a head model: all sides, all shapes, parts, texture coordinates, people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from avatar3d.camera import Camera
from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.geometry import vertex_normals
from avatar3d.heads import PARTS, HeadModel
from avatar3d.optional import require
from avatar3d.progress import tracked
from render.mesh import interpolate, project_points, rasterize_mesh

PEOPLE = 24
SIDES_DEGREES = (-90, -45, 0, 45, 90)
_CELL, _SHAPE, _LABEL = 260, 150, 16  # px
_COLUMNS = 12
_SUPERSAMPLING = 2
_DISTANCE_M, _HEAD_HEIGHT_M, _FACE_HEIGHT_M = 1.2, 0.50, 0.24
# Natural colours by part, then colours that tell parts apart.
_SKIN, _EYE, _TOOTH, _FLESH = (
    (0.80, 0.62, 0.54),
    (0.93, 0.93, 0.92),
    (0.92, 0.90, 0.82),
    (0.70, 0.36, 0.36),
)
_NATURAL = np.array([
    _SKIN, _SKIN, _SKIN, _SKIN, (0.55, 0.60, 0.68), _EYE, _EYE, _SKIN, _TOOTH, _TOOTH, _FLESH,
    (0.78, 0.40, 0.42), (0.45, 0.20, 0.22),
], np.float32)  # fmt: skip
_DISTINCT = np.array([
    (0.90, 0.72, 0.60), (0.45, 0.33, 0.25), (0.95, 0.55, 0.30), (0.55, 0.75, 0.45),
    (0.40, 0.55, 0.85), (0.95, 0.95, 0.95), (0.75, 0.85, 0.95), (0.85, 0.45, 0.70),
    (1.00, 0.95, 0.55), (0.85, 0.80, 0.35), (0.80, 0.25, 0.30), (0.95, 0.40, 0.45),
    (0.45, 0.10, 0.25),
], np.float32)  # fmt: skip
_IRIS_RADIUS_M = 0.0059


def head_sheet(
    head: HeadModel, names: Sequence[str] = ARKIT_NAMES, people: int = PEOPLE
) -> NDArray[np.uint8]:
    """The sheet, u8 [H, W, 3], of these coefficients and so many random people."""
    still = ExpressionCode.neutral()
    natural = _colours(head, _NATURAL, with_iris=True)
    sides = [
        (
            _side_name(degrees),
            _draw(head, None, still, natural, _camera(_CELL, degrees, whole=True)),
        )
        for degrees in SIDES_DEGREES
    ]
    parts = _colours(head, _DISTINCT, with_iris=False)
    opened = ExpressionCode.from_named(jawOpen=0.8)
    extras = [
        ("parts", _draw(head, None, still, parts, _camera(_CELL, 30, whole=True))),
        ("parts, mouth open", _draw(head, None, opened, parts, _camera(_CELL, 0, whole=False))),
        ("texture coordinates", _uv_picture(head, parts)),
    ]
    front = _camera(_SHAPE, 0, whole=False)
    shapes = [
        (name, _draw(head, None, ExpressionCode.from_named(**{name: 1.0}), natural, front))
        for name in tracked(names, "draw shapes")
    ]
    random = torch.Generator().manual_seed(1)
    samples = []
    for index in tracked(range(people), "draw people"):
        identity = torch.randn(head.identity_count, generator=random)
        turned = _camera(_SHAPE, 25.0 if index % 2 else 0.0, whole=False)
        samples.append((f"sample {index + 1}", _draw(head, identity, still, natural, turned)))
    rows = [_row(sides + extras)]
    for cells in (shapes, samples):
        rows += [_row(cells[k : k + _COLUMNS]) for k in range(0, len(cells), _COLUMNS)]
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows
    ]
    return np.concatenate(padded)


def _camera(size_px: int, yaw_degrees: float, whole: bool) -> Camera:
    height = _HEAD_HEIGHT_M if whole else _FACE_HEIGHT_M
    focal = size_px * _DISTANCE_M / height
    camera = Camera.frontal(focal, size_px, _DISTANCE_M, math.radians(yaw_degrees))
    down = -0.06 if whole else -0.03  # the eyes are the origin, a head goes on below them
    shift = torch.eye(4)
    shift[1, 3] = down
    return replace(camera, viewmat=shift @ camera.viewmat)


def _draw(
    head: HeadModel,
    identity: torch.Tensor | None,
    code: ExpressionCode,
    colours: np.ndarray,
    camera: Camera,
) -> NDArray[np.uint8]:
    """Smooth shading under a key and a fill light from the camera's side, on white."""
    size = camera.width * _SUPERSAMPLING
    fine = camera.resized(size, size)
    vertices = head.vertices(identity, code)
    normals = vertex_normals(vertices, head.triangles).numpy()
    points, triangles = vertices.numpy(), head.triangles.numpy()
    pixels, depth = project_points(points, fine.viewmat.numpy(), fine.K.numpy())
    rendering = rasterize_mesh(pixels, depth, triangles, size, size)
    normal = interpolate(rendering, triangles, normals)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True).clip(1e-6)
    seen = normal @ fine.viewmat.numpy()[:3, :3].T  # in the camera's frame: -Z faces it
    seen *= np.where(seen[..., 2:] > 0, -1.0, 1.0)
    key = (seen @ np.array([-0.45, -0.55, -0.70])).clip(0)
    fill = (seen @ np.array([0.75, -0.10, -0.65])).clip(0)
    light = (0.28 + 0.62 * key + 0.25 * fill)[..., None]
    covered = rendering.triangle >= 0
    base = interpolate(rendering, triangles, colours) if colours.shape[0] == len(points) else (
        colours[np.where(covered, rendering.triangle, 0)]
    )  # fmt: skip
    picture = np.where(covered[..., None], base * light, 1.0).clip(0, 1)
    coarse = picture.reshape(camera.width, _SUPERSAMPLING, camera.width, _SUPERSAMPLING, 3)
    return np.rint(coarse.mean((1, 3)) * 255).astype(np.uint8)


def _colours(head: HeadModel, palette: np.ndarray, with_iris: bool) -> np.ndarray:
    """A colour of every triangle, [F, 3]."""
    colours = palette[head.triangle_part.numpy()].copy()
    if with_iris:
        centres = head.neutral[head.triangles].mean(1)
        for joint, part in ((4, "left_eyeball"), (5, "right_eyeball")):
            from_axis = (centres - head.joints[joint])[:, :2].norm(dim=1)
            ahead = centres[:, 2] > head.joints[joint, 2]
            ball = (head.triangle_part == PARTS.index(part)) & ahead
            colours[(ball & (from_axis < _IRIS_RADIUS_M)).numpy()] = (0.33, 0.24, 0.17)
            colours[(ball & (from_axis < 0.4 * _IRIS_RADIUS_M)).numpy()] = (0.05, 0.05, 0.05)
    return colours


def _uv_picture(head: HeadModel, colours: np.ndarray) -> NDArray[np.uint8]:
    """The texture's layout: every triangle in its part's colour, edges drawn."""
    image_module = require("PIL.Image", extra="recon")
    drawing = require("PIL.ImageDraw", extra="recon")
    size = 4 * _CELL
    picture = image_module.new("RGB", (size, size), "white")
    pen = drawing.Draw(picture)
    corners = head.uv.numpy()[head.triangles.numpy()] * [size, -size] + [0, size]
    extent = np.ptp(corners, axis=1).max(1)
    for places, colour, wide in zip(corners, colours, extent):
        if wide < 0.2 * size:  # a triangle over a seam would cover everything
            fill = tuple(int(255 * value) for value in colour)
            pen.polygon([tuple(place) for place in places], fill=fill, outline=(90, 90, 90))
    return np.asarray(picture.resize((_CELL, _CELL), image_module.Resampling.LANCZOS))


def _side_name(degrees: int) -> str:
    if degrees == 0:
        return "front"
    return f"{abs(degrees)}° from the {'left' if degrees > 0 else 'right'}"


def _row(cells: list[tuple[str, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    image_module = require("PIL.Image", extra="recon")
    drawing = require("PIL.ImageDraw", extra="recon")
    font = require("PIL.ImageFont", extra="recon").load_default(11)
    strips = []
    for label, picture in cells:
        height, width = picture.shape[:2]
        cell = image_module.new("RGB", (width, height + _LABEL), "white")
        cell.paste(image_module.fromarray(picture), (0, _LABEL))
        drawing.Draw(cell).text((3, 1), label, fill=(90, 90, 90), font=font)
        strips.append(np.asarray(cell))
    return np.concatenate(strips, axis=1)
