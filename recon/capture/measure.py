"""A face measured again, with more time: the mean over several looks, and over two networks.

The networks' errors depend on where in their window a face lies and which way that looks, so they
stay from frame to frame of a clip, and smoothing over time does not take them off; slightly turned
copies and mirror images do. The network with attention (Grishchenko et al. 2020) knows lips and eyes
better, the plain one before it (Kartynnik et al. 2019) errs elsewhere about as much and otherwise.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.capture.facemesh import FaceMesh, has_plain_mesh, open_face_mesh
from recon.capture.mesh_points import EYES, LIPS
from recon.capture.mirror import MIRROR
from recon.capture.opencv import cv2
from recon.capture.warp import warp_affine
from render.ahead import mapped

# How many copies of a face are measured, and as many mirrored ones: of a photo or a support frame,
# and of each frame of a clip that is followed offline. The plain network sees half as many.
PHOTO_COPIES, CLIP_COPIES = 4, 2

# Turn in degrees and zoom of the copies, the first ones for few of them. Before them one lets the
# region of interest settle, which is not counted; each next differs little, or the tracker would
# lose the face. Measured on the benchmark's eight clips, one support frame, face PSNR and SSIM: as
# tracked 24.99 / .798; with N copies and N mirrored ones: 1 25.20 / .805, 2 25.27 / .807,
# 4 25.29 / .808, 7 25.28 / .808, 19 25.31 / .809; 7 and none mirrored 25.18 / .805.
_COPIES = ((0, 1.0), (4, 1.03), (0, 0.97), (-4, 1.0))
_SETTLING = 1
_COPY_PX = 320  # the networks see 192 px of 1.5 faces; so much for two faces loses nothing
_CLOSE_UP_PX = 368  # holds what turned and smaller copies show
_EYE_CORNERS = (33, 263)  # the outer ones
# The plain network's part of the mean. Of the same eight clips with 4 copies of support frames and 2
# of the others, face PSNR / SSIM, head PSNR / SSIM: without 25.27 / .808, 19.25 / .698; with it
# 25.32 / .810, 19.48 / .701.
_PLAIN_SHARE, _PLAIN_SHARE_OF_FEATURES = 0.35, 0.1
_FEATURES = [*LIPS, *EYES]


Points = NDArray[np.float64]  # [478 or 468, 3]


def refine_landmarks(
    image: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    *,
    copies: int = PHOTO_COPIES,
    model_path: str | Path | None = None,
) -> NDArray[np.float32]:
    """`measure_again`, or `landmarks` where the face is not found again."""
    again = measure_again(image, landmarks, copies=copies, model_path=model_path)
    return landmarks if again is None else again


def measure_again(
    image: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    *,
    copies: int = PHOTO_COPIES,
    model_path: str | Path | None = None,
) -> NDArray[np.float32] | None:
    """Measure a face again: mean f32 [478, 3] over upright, slightly turned and scaled copies, 1 to
    4, and as many mirrored ones, or None where the face is not found.

    The region that the network looks at then comes from landmarks, as in a clip, and not from the
    coarser box of the detector, so photos and clips are measured alike.
    """
    path = str(model_path) if model_path else None
    plain = has_plain_mesh(path)
    to_close_up = _upright(landmarks)
    close_up = warp_affine(image, to_close_up, _CLOSE_UP_PX, _CLOSE_UP_PX)

    def looked(mirrored: bool) -> tuple[list[Points], list[Points]]:
        fine = _measured(_mesh(path, mirrored), close_up, copies, mirrored)
        if not plain:
            return fine, []
        mesh = _mesh(path, mirrored, attention=False)
        return fine, _measured(mesh, close_up, (copies + 1) // 2, mirrored)

    sides = list(mapped(looked, (False, True)))
    if not all(fine for fine, _ in sides):
        return None
    result = np.mean([np.mean(fine, axis=0) for fine, _ in sides], axis=0)
    if all(coarse for _, coarse in sides):
        other = np.mean([np.mean(coarse, axis=0) for _, coarse in sides], axis=0)
        share = np.full((len(other), 1), _PLAIN_SHARE)
        share[_FEATURES] = _PLAIN_SHARE_OF_FEATURES
        result[: len(other)] += share * (other - result[: len(other)])
    return _moved(result, _inverse(to_close_up)).astype(np.float32)


def _upright(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """[2, 3]: picture -> close-up, the face upright in its middle. Upright, a face and its mirror
    image lie alike in the network's window."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    right, left = landmarks[list(_EYE_CORNERS), :2]
    turn = np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0]))
    scale = _COPY_PX / (2.0 * float((high - low).max()))
    linear = _turned(float(turn), scale)
    return np.column_stack([linear, _CLOSE_UP_PX / 2 - linear @ ((low + high) / 2)])


def _measured(
    mesh: FaceMesh,
    close_up: NDArray[np.uint8],
    copies: int,
    mirrored: bool,
) -> list[Points]:
    """Landmarks on the copies, in px of the close-up, as rows of the face that it shows."""
    mesh.forget()
    measured = []
    for index, (turn, zoom) in enumerate(_COPIES[:1] * _SETTLING + _COPIES[:copies]):
        linear = _turned(turn, zoom)
        if mirrored:
            linear = np.diag([-1.0, 1.0]) @ linear
        matrix = np.column_stack([linear, _COPY_PX / 2 - linear.sum(1) * _CLOSE_UP_PX / 2])
        found = mesh(warp_affine(close_up, matrix, _COPY_PX, _COPY_PX))
        if found and index >= _SETTLING:
            points = _moved(found[0].astype(np.float64), _inverse(matrix))
            measured.append(points[MIRROR[: len(points)]] if mirrored else points)
    return measured


def _turned(degrees: float, scale: float) -> NDArray[np.float64]:
    """[2, 2], counter-clockwise as one sees it."""
    return np.asarray(cv2.getRotationMatrix2D((0.0, 0.0), degrees, scale), np.float64)[:, :2]


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.invertAffineTransform(matrix), np.float64)


def _moved(points: Points, matrix: NDArray[np.float64]) -> Points:
    """[N, 3] by a similarity [2, 3]; z has the unit of x and y."""
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return np.column_stack([points[:, :2] @ matrix[:, :2].T + matrix[:, 2], points[:, 2] * scale])


@lru_cache(maxsize=4)
def _mesh(model_path: str | None, mirrored: bool, attention: bool = True) -> FaceMesh:
    """Starting a graph takes 30 ms, a picture 5: keep it. Like all graphs, for one thread at a time,
    so copies and mirrored ones have one each."""
    del mirrored
    return open_face_mesh(tracking=True, confidence=0.3, model_path=model_path, attention=attention)
