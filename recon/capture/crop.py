"""The square around a head: one for each photo, one for a whole clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatar3d.errors import UserError
from recon.capture.landmarks import CHIN, FOREHEAD, MESH_POINTS
from recon.capture.warp import warp_affine

# Room around the mesh in face heights: hair above, shoulders below, both sides together.
ABOVE, BELOW, SIDEWAYS = 0.50, 0.28, 0.62


@dataclass(frozen=True)
class HeadCrop:
    """A square of the picture, scaled: crop px = (source px - (x0, y0)) * scale."""

    x0: float  # source px of the square's corner; may lie outside the picture
    y0: float
    scale: float  # crop px per source px
    size: int  # side in crop px

    @property
    def matrix(self) -> NDArray[np.float64]:
        """[2, 3]: crop px = matrix @ (source px, 1)."""
        k = self.scale
        return np.array([[k, 0.0, -self.x0 * k], [0.0, k, -self.y0 * k]])

    def to_crop(self, points_px: NDArray[np.floating]) -> NDArray[np.float32]:
        """Source px [..., 2 or 3] -> crop px; a third coordinate is only scaled."""
        moved = np.array(points_px, np.float32)
        moved[..., :2] -= np.array([self.x0, self.y0], np.float32)
        return moved * np.float32(self.scale)

    def to_source(self, points_px: NDArray[np.floating]) -> NDArray[np.float32]:
        """Crop px [..., 2 or 3] -> source px."""
        moved = np.array(points_px, np.float32) / np.float32(self.scale)
        moved[..., :2] += np.array([self.x0, self.y0], np.float32)
        return moved

    def warp(self, image: NDArray) -> NDArray:
        """Resample u8 or f32 [H, W(, C)] to [S, S(, C)]; the edge is repeated outside."""
        return warp_affine(image, self.matrix, self.size, self.size)

    def valid(self, width: int, height: int) -> NDArray[np.bool_]:
        """[S, S]: which crop pixels have their centre inside a picture of this size."""
        centres = (np.arange(self.size) + 0.5) / self.scale
        inside_x = (centres + self.x0 >= 0) & (centres + self.x0 <= width)
        inside_y = (centres + self.y0 >= 0) & (centres + self.y0 <= height)
        return inside_y[:, None] & inside_x[None, :]

    def widened(self, factor: float) -> HeadCrop:
        """The same number of pixels over a square `factor` times as wide, about the same centre."""
        side = self.size / self.scale
        shift = (factor - 1.0) * side / 2.0
        return HeadCrop(self.x0 - shift, self.y0 - shift, self.scale / factor, self.size)


def head_crop(landmarks: NDArray[np.floating], size: int = 512) -> HeadCrop:
    """The crop of one picture from its landmarks [478, 3] in source px."""
    return stable_head_crop(landmarks[None], size)


def stable_head_crop(landmarks: NDArray[np.floating], size: int = 512) -> HeadCrop:
    """One crop for a whole clip from landmarks [T, 478, 3] in source px (NaN rows are skipped).

    It holds the head wherever it moves, but for the outermost 3 % of the frames: a single wrong
    frame or a bow shall not shrink the rest.
    """
    points = landmarks[np.isfinite(landmarks).all(axis=(1, 2))]
    if not len(points):
        raise UserError("no frame shows a face, so the head cannot be cut out; choose other frames")
    face_height = float(
        np.median(np.linalg.norm(points[:, CHIN, :2] - points[:, FOREHEAD, :2], axis=1))
    )
    mesh = points[:, :MESH_POINTS, :2]
    left, top = np.percentile(mesh.min(axis=1), 3, axis=0)
    right, bottom = np.percentile(mesh.max(axis=1), 97, axis=0)
    top -= ABOVE * face_height
    bottom += BELOW * face_height
    side = max(bottom - top, right - left + SIDEWAYS * face_height)
    centre_x, centre_y = (left + right) / 2, (top + bottom) / 2
    return HeadCrop(
        float(centre_x - side / 2), float(centre_y - side / 2), float(size / side), size
    )
