"""What the fit sees of one frame, and how the head's anchors fall on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from avatar3d.binding import Binding, Frames
from avatar3d.camera import Camera
from avatar3d.codes import ExpressionCode
from avatar3d.template import SHEET_PART, Template
from render.mesh import project_points, rasterize_mesh

_FOLDED = 1.3  # times the area that it has now
_OUTLINE = 0.01  # of the picture's side: so far from the head's outline nothing is surely hidden
_HIDDEN_M = 0.03  # behind the surface: deeper than hair lies on skin
_HIDDEN_IN_MOUTH_M = 0.005  # teeth lie close behind lips
_FAR_M = 1e3
_A_FEW = 8
T = TypeVar("T")


@dataclass(frozen=True)
class Observation:
    """One frame at the size of the fit. Colours are the person's, free of background."""

    colors: Float[np.ndarray, "S S 3"]  # sRGB 0..1
    matte: Float[np.ndarray, "S S"]  # 0..1, 1 = person
    valid: Bool[np.ndarray, "S S"]  # inside the picture
    detail: Observation | None = None  # the same frame at a larger size

    @property
    def size_px(self) -> int:
        return len(self.matte)

    def over(self, background: Sequence[float]) -> Float[np.ndarray, "S S 3"]:
        """The person over a plain colour."""
        alpha = self.matte[..., None]
        return self.colors * alpha + np.asarray(background, np.float32) * (1 - alpha)

    @cached_property
    def core(self) -> Float[np.ndarray, "S S"]:
        """The matte less a rim of half a percent of the picture, where colours are mixtures."""
        width = 2 * max(1, round(0.006 * self.size_px)) + 1
        matte = self.continued().matte  # the picture's own edge is no rim of the person
        return cv2.erode(matte, np.ones((width, width), np.uint8)) * self.valid

    def window(self, row: int, column: int, size_px: int) -> Observation:
        """A square part, by its upper left corner."""
        rows, columns = slice(row, row + size_px), slice(column, column + size_px)
        colors, matte, valid = (
            np.ascontiguousarray(plane[rows, columns])
            for plane in (self.colors, self.matte, self.valid)
        )
        return Observation(colors, matte, valid)

    def continued(self) -> Observation:
        """Outside the picture its nearest pixel goes on. Nothing is learned there, but windows that
        straddle the picture's edge would otherwise teach the avatar to be white beyond it."""
        if self.valid.all():
            return self
        row, column = _nearest_inside(self.valid.tobytes(), self.size_px)
        return replace(self, colors=self.colors[row, column], matte=self.matte[row, column])


@lru_cache(maxsize=4)
def _nearest_inside(valid: bytes, size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column [S, S] of the nearest pixel inside the picture; a clip's frames share them."""
    inside = np.frombuffer(valid, bool).reshape(size_px, size_px)
    row, column = np.asarray(
        distance_transform_edt(~inside, return_distances=False, return_indices=True)
    )
    return row, column


@dataclass(frozen=True)
class Sighting:
    """The anchors and the head's surface as one frame's camera sees them; numpy, no gradients."""

    observation: Observation
    positions: Float[np.ndarray, "N 3"]  # anchors, world, metres
    rotations: Float[np.ndarray, "N 3 3"]  # columns tangent, bitangent, normal
    depth: Float[np.ndarray, "S S"]  # of the head's mesh, metres, inf where there is none
    viewmat: Float[np.ndarray, "4 4"]
    K: Float[np.ndarray, "3 3"]
    folded: Bool[np.ndarray, " N"]  # lid skin that open eyes hide: it would spread if they closed

    @property
    def normals(self) -> Float[np.ndarray, "N 3"]:
        return self.rotations[:, :, 2]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points -> px [P, 2], depth [P] metres."""
        return project_points(points, self.viewmat, self.K)

    def behind_the_head(self, template: Template) -> Bool[np.ndarray, " N"]:
        """Anchors so far behind the surface seen in their place that nothing of them can be seen.

        At the outline of head and lips nothing is hidden: what is just beside it may be seen.
        """
        width = 2 * max(1, round(_OUTLINE * self.observation.size_px)) + 1
        # OpenCV's border counts as nothing, so pixels outside the picture hide nothing either.
        shown = np.where(np.isfinite(self.depth), self.depth, _FAR_M).astype(np.float32)
        surface = cv2.dilate(shown, np.ones((width, width), np.uint8))
        pixels, depth = self.project(self.positions)
        inner = template.is_part("upper_teeth", "lower_teeth", "gums", "tongue", "mouth").numpy()
        behind = np.where(inner, _HIDDEN_IN_MOUTH_M, _HIDDEN_M)
        size = self.observation.size_px
        inside = ((pixels >= 0) & (pixels < size)).all(1)
        column, row = np.clip(pixels.astype(np.int64), 0, size - 1).T
        return inside & (depth > surface[row, column] + behind)

    def facing(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Cosine between normal and direction to the camera, [P]."""
        centre = -self.viewmat[:3, :3].T @ self.viewmat[:3, 3]
        to_camera = centre - points
        to_camera /= np.linalg.norm(to_camera, axis=1, keepdims=True)
        return (normals * to_camera).sum(1)


def a_few(frames: Sequence[T]) -> Sequence[T]:
    """Evenly spread ones, some eight to fifteen of many: enough where more would say the same."""
    return frames[:: max(1, len(frames) // _A_FEW)]


def sight(
    observation: Observation,
    template: Template,
    binding: Binding,
    vertices_rig,
    code: ExpressionCode,
    camera: Camera,
    closed_eyes: Tensor,
) -> Sighting:
    """Pose the anchors and the head's surface by one code and look at them with the camera.

    `closed_eyes` [N] are the anchors' areas with closed eyes (`area_with_closed_eyes`).
    """
    frames: Frames = binding.frames(code)
    folded = (closed_eyes > _FOLDED * frames.stretch.prod(-1)) & template.is_part("face", "eyelids")
    camera = camera.resized(observation.size_px, observation.size_px)
    viewmat, K = camera.viewmat.numpy(), camera.K.numpy()
    surface = (template.head.triangle_part != SHEET_PART).numpy()
    pixels, depth = project_points(vertices_rig.pose(code).numpy(), viewmat, K)
    mesh = rasterize_mesh(
        pixels,
        depth,
        template.head.triangles.numpy()[surface],
        observation.size_px,
        observation.size_px,
    )
    return Sighting(
        observation,
        frames.positions.numpy(),
        frames.rotations.numpy(),
        mesh.depth,
        viewmat,
        K,
        folded.numpy(),
    )


def area_with_closed_eyes(binding: Binding) -> Tensor:
    """Area of the skin around each anchor with both eyes closed, [N], 1 on the neutral face."""
    closed = ExpressionCode.from_named(eyeBlinkLeft=1.0, eyeBlinkRight=1.0)
    return binding.frames(closed).stretch.prod(-1)


def sample(image: np.ndarray, points_px: np.ndarray) -> np.ndarray:
    """Bilinear samples of [H, W] or [H, W, C] at px [P, 2] (first pixel's centre at 0.5)."""
    height, width = image.shape[:2]
    points_px = points_px.astype(np.float32)  # a few thousandths of a grey level; half the bytes
    x = np.clip(points_px[:, 0] - 0.5, 0, width - 1.001)
    y = np.clip(points_px[:, 1] - 0.5, 0, height - 1.001)
    left, top = x.astype(np.int64), y.astype(np.int64)
    wx, wy = x - left, y - top
    if image.ndim == 3:
        wx, wy = wx[:, None], wy[:, None]
    upper = image[top, left] * (1 - wx) + image[top, left + 1] * wx
    lower = image[top + 1, left] * (1 - wx) + image[top + 1, left + 1] * wx
    return upper * (1 - wy) + lower * wy


def signed_distance(mask: Bool[np.ndarray, "S S"]) -> Float[np.ndarray, "S S"]:
    """Pixels from each pixel's centre to the mask's outline, positive inside; where there is no
    outline, the picture's diagonal."""
    if mask.all() or not mask.any():
        far = math.hypot(*mask.shape)
        return np.full(mask.shape, far if mask.all() else -far)
    inside, outside = (np.asarray(distance_transform_edt(m)) for m in (mask, ~mask))
    # Between two pixels' centres the outline is half a pixel from either.
    return np.where(mask, inside - 0.5, 0.5 - outside)


def in_picture(
    observation: Observation, points_px: np.ndarray, border_px: float = 1.0
) -> np.ndarray:
    """Which px [P, 2] lie inside the crop and inside the picture that it was cut from."""
    size = observation.size_px
    inside = ((points_px > border_px) & (points_px < size - border_px)).all(1)
    return inside & (sample(observation.valid.astype(np.float32), points_px) > 0.9)
