"""The 2D baseline: bend the nearest support frame so that its landmarks land where they should.

A piecewise-affine warp over a Delaunay mesh of the 468 landmarks. It moves the face's pixels
without blurring them and knows nothing of depth, light or what was hidden. A ring around the
face's outline follows the face as a whole (a similarity), the picture's border stays, and what
lies between is stretched: so hair and shoulders are only as good as that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from avatar3d.optional import require
from recon.benchmark.clip import PreparedClip, PreparedFrame
from recon.benchmark.copy import nearest_frame
from recon.benchmark.method import Fitted, Method
from recon.benchmark.regions import FACE_LANDMARKS
from recon.capture.mesh_points import OVAL

RING_SCALE = 1.35  # of the oval about its middle: just outside the hair line and the ears
BORDER_POINTS = 9  # a side


class Warp2DFitted(Fitted):
    def __init__(self, support: Sequence[PreparedFrame]):
        self._support = support
        self._pictures = {frame.index: frame.on_white() for frame in support}

    def render(self, test_index: int, clip: PreparedClip) -> np.ndarray:
        source = nearest_frame(self._support, clip.landmarks[test_index])
        return warp(
            self._pictures[source.index],
            source.landmarks_px()[:, :2],
            clip.landmarks_px(test_index)[:, :2],
        )


class Warp2D(Method):
    name = "warp2d"

    def __init__(self) -> None:
        require("scipy.spatial", extra="recon")  # now, or its import counts as the first frame's

    def fit(self, support: Sequence[PreparedFrame], clip: PreparedClip) -> Fitted:
        return Warp2DFitted(support)


def warp(
    picture: Float[np.ndarray, "S S 3"],
    source: Float[np.ndarray, "478 2"],
    target: Float[np.ndarray, "478 2"],
) -> Float[np.ndarray, "S S 3"]:
    """`picture` bent so that what lies at the landmarks `source` (px) comes to lie at `target`.

    Each output pixel is looked up where the triangle of the target mesh that holds it has it in
    the source. Landmarks that leave the picture are left out of the mesh.
    """
    cv2, spatial = require("cv2", extra="recon"), require("scipy.spatial", extra="recon")
    size = len(picture)
    source_px, target_px = _control_points(source.astype(float), target.astype(float), size)
    mesh = spatial.Delaunay(target_px)
    rows, columns = np.mgrid[:size, :size]
    centres = np.stack([columns, rows], -1).reshape(-1, 2) + 0.5
    triangle = mesh.find_simplex(centres)
    to_barycentric = mesh.transform[triangle]
    first_two = np.einsum("pij,pj->pi", to_barycentric[:, :2], centres - to_barycentric[:, 2])
    barycentrics = np.c_[first_two, 1 - first_two.sum(1)]
    looked_up = np.einsum("pk,pkd->pd", barycentrics, source_px[mesh.simplices[triangle]])
    # A pixel that no triangle holds, or only a sliver too thin for an affine map, stays in place.
    held = (triangle >= 0) & np.isfinite(looked_up).all(1)
    looked_up = np.where(held[:, None], looked_up, centres)
    at = (looked_up - 0.5).astype(np.float32).reshape(size, size, 2)  # cv2 counts from the centres
    return cv2.remap(
        picture, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _control_points(
    source: np.ndarray, target: np.ndarray, size_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks, ring and border: where they are in the source, and where they go."""
    source, target = source[:FACE_LANDMARKS], target[:FACE_LANDMARKS]
    centre = source[list(OVAL)].mean(0)
    ring = centre + (source[list(OVAL)] - centre) * RING_SCALE
    border = _border(size_px)
    from_px = np.concatenate([source, ring, border])
    to_px = np.concatenate([target, _moved_as_whole(ring, source, target), border])
    inside = ((to_px >= 0) & (to_px <= size_px)).all(1)
    return from_px[inside], to_px[inside]


def _border(size_px: int) -> np.ndarray:
    along = np.linspace(0, size_px, BORDER_POINTS)
    low, high = np.zeros_like(along), np.full_like(along, size_px)
    sides = [(along, low), (along, high), (low, along), (high, along)]
    return np.unique(np.concatenate([np.stack(side, 1) for side in sides]), axis=0)


def _moved_as_whole(points: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`points` [P, 2] under the similarity that best brings `source` onto `target` (least squares,
    in complex numbers: a rotation with a scale is one factor)."""
    source_middle, target_middle = source.mean(0), target.mean(0)
    from_c, to_c = _complex(source - source_middle), _complex(target - target_middle)
    factor = np.vdot(from_c, to_c) / np.vdot(from_c, from_c)
    moved = factor * _complex(points - source_middle)
    return np.stack([moved.real, moved.imag], 1) + target_middle


def _complex(points: np.ndarray) -> np.ndarray:
    return points[:, 0] + 1j * points[:, 1]
