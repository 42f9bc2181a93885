"""Find faces that the first look misses: close-ups and small ones."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.capture.facemesh import FaceMesh, open_face_mesh
from recon.capture.opencv import cv2
from recon.capture.quiet import load_mediapipe, no_native_stderr, no_warnings
from recon.capture.warp import warp_affine

# A face that fills more than this share of the picture is cut by the detector's anchors.
PADDING = 0.5
# Side in pixels to which a suspected face's surroundings are brought before the mesh sees them.
CROP_PX = 384


def search_faces(
    image: NDArray[np.uint8],
    *,
    around: NDArray[np.float32] | None = None,
    max_faces: int = 8,
    model_path: str | Path | None = None,
) -> list[NDArray[np.float32]]:
    """Rough landmarks f32 [478, 3] px of the faces of a picture, in no order.

    Around a known place only, if `around` (a box x0, y0, x1, y1) is given. Else the steps stop at
    the first that finds any: the whole picture, by the mesh's own detector and by the long-range
    one, which sees the smaller faces of a group; the picture with a margin (close-ups); overlapping
    tiles (small faces).
    """
    mesh = _static_mesh(max_faces, str(model_path) if model_path else None)
    if around is not None:
        return _in_crop(mesh, image, around)
    if faces := _distinct(mesh(image) + _at_long_range(mesh, image, tiles=1)):
        return faces[:max_faces]
    if faces := _with_margin(mesh, image):
        return _distinct(faces)
    for tiles in (2, 3):
        if faces := _distinct(_at_long_range(mesh, image, tiles)):
            return faces[:max_faces]
    return []


@lru_cache(maxsize=2)
def _static_mesh(max_faces: int, model_path: str | None) -> FaceMesh:
    """Starting a graph takes 30 ms, a picture 6: keep it."""
    return open_face_mesh(tracking=False, max_faces=max_faces, model_path=model_path)


def _with_margin(mesh: FaceMesh, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Search the picture with a grey margin, so that a face that fills it is seen whole."""
    height, width = image.shape[:2]
    margin = round(PADDING * max(height, width))
    padded = cv2.copyMakeBorder(
        image, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(127, 127, 127)
    )
    shift = np.array([margin, margin, 0], np.float32)
    return [points - shift for points in mesh(np.asarray(padded, np.uint8))]


def _in_crop(
    mesh: FaceMesh, image: NDArray[np.uint8], box: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Search the surroundings of a box, two and a half times its size, brought to CROP_PX."""
    x0, y0, x1, y1 = (float(value) for value in box)
    side = 2.5 * max(x1 - x0, y1 - y0)
    scale = CROP_PX / side
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]], np.float32)
    origin = np.array([left, top, 0], np.float32)
    crop = warp_affine(image, matrix, CROP_PX, CROP_PX)
    return [points / scale + origin for points in mesh(crop)]


def _at_long_range(
    mesh: FaceMesh, image: NDArray[np.uint8], tiles: int
) -> list[NDArray[np.float32]]:
    boxes = _long_range_boxes(image, tiles)
    return [points for box in boxes for points in _in_crop(mesh, image, box)]


@lru_cache(maxsize=1)
def _long_range_detector():
    with no_warnings(), no_native_stderr():
        detector = load_mediapipe().solutions.face_detection.FaceDetection(
            model_selection=1, min_detection_confidence=0.4
        )
        detector.process(np.full((64, 64, 3), 127, np.uint8))
        return detector


def _long_range_boxes(image: NDArray[np.uint8], tiles: int) -> Iterator[NDArray[np.float32]]:
    """Boxes of the detector for faces up to 5 m away, on tiles x tiles half-overlapping parts."""
    if not hasattr(load_mediapipe(), "solutions"):
        return  # newer releases: the task file's own detector is all there is
    height, width = image.shape[:2]
    tile_height, tile_width = (2 * height) // (tiles + 1), (2 * width) // (tiles + 1)
    for row in range(tiles):
        for column in range(tiles):
            top, left = row * tile_height // 2, column * tile_width // 2
            part = np.ascontiguousarray(image[top : top + tile_height, left : left + tile_width])
            with no_warnings(), no_native_stderr():
                found = _long_range_detector().process(part).detections or []
            for detection in found:
                box = detection.location_data.relative_bounding_box
                x0, y0 = left + box.xmin * tile_width, top + box.ymin * tile_height
                yield np.array(
                    [x0, y0, x0 + box.width * tile_width, y0 + box.height * tile_height],
                    np.float32,
                )


def _distinct(faces: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Drop faces that lie on one found before: half a face apart is another person."""
    kept: list[NDArray[np.float32]] = []
    for face in faces:
        size = float(np.ptp(face[:, 1]))
        centre = face[:, :2].mean(axis=0)
        if all(np.linalg.norm(centre - other[:, :2].mean(axis=0)) > size / 2 for other in kept):
            kept.append(face)
    return kept
