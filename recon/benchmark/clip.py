"""A clip made ready for the benchmark: crops, mattes, landmarks, and who may see what."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, UInt8

from avatar3d.optional import require
from recon.benchmark.protocol import Indices

EVAL_PX = 256  # pictures are compared at this size


@dataclass(frozen=True)
class PreparedFrame:
    """One frame's crop. Pixels and landmarks are those of the crop, side `len(image)` px."""

    index: int
    image: UInt8[np.ndarray, "S S 3"]  # sRGB, edges replicated where the crop leaves the picture
    matte: UInt8[np.ndarray, "S S"]  # 255 = person
    valid: Bool[np.ndarray, "S S"]  # inside the camera's picture
    landmarks: Float[np.ndarray, "478 3"]  # px; z in px too, relative to the face's middle

    def picture(self, size_px: int = EVAL_PX) -> Float[np.ndarray, "s s 3"]:
        """The crop in 0..1, with its background."""
        return _resized(self.image, size_px)

    def alpha(self, size_px: int = EVAL_PX) -> Float[np.ndarray, "s s"]:
        """The matte in 0..1."""
        return _resized(self.matte, size_px)

    def inside(self, size_px: int = EVAL_PX) -> Bool[np.ndarray, "s s"]:
        """Where the crop lies inside the camera's picture."""
        return _inside(self.valid, size_px)

    def on_white(self, size_px: int = EVAL_PX) -> Float[np.ndarray, "s s 3"]:
        """The person on white, white also outside the camera's picture: what is compared."""
        alpha = self.alpha(size_px)[..., None]
        return white_outside(self.picture(size_px) * alpha + 1 - alpha, self.inside(size_px))

    def landmarks_px(self, size_px: int = EVAL_PX) -> Float[np.ndarray, "478 3"]:
        """The landmarks in px of the crop at `size_px`."""
        return self.landmarks * (size_px / len(self.image))


@dataclass(frozen=True)
class PreparedClip:
    """A clip in one stable square crop. `images` and `mattes` hold the needed frames only."""

    name: str
    fps: float
    landmarks: Float[np.ndarray, "F 478 3"]  # px of the crop, nan where no face was found: what
    # methods follow. Those of the needed frames are measured as this project measures offline.
    ok: Bool[np.ndarray, " F"]  # where a face was found
    support: dict[int, Indices]  # T -> frames of the first half
    test: Indices  # frames of the second half
    images: dict[int, UInt8[np.ndarray, "S S 3"]]
    mattes: dict[int, UInt8[np.ndarray, "S S"]]
    valid: Bool[np.ndarray, "S S"]  # the same for every frame, as the crop stands still
    # The instrument's own, like `landmarks`, which regions are told from; None where hidden.
    pinned: Float[np.ndarray, "F 478 3"] | None = None

    def frame(self, index: int) -> PreparedFrame:
        return PreparedFrame(
            index, self.images[index], self.mattes[index], self.valid, self.landmarks[index]
        )

    def truth(self, index: int) -> PreparedFrame:
        """A frame as it is compared with: its regions move with no change of this project."""
        assert self.pinned is not None, "a method has no business with the truth"
        return replace(self.frame(index), landmarks=self.pinned[index])

    def inside(self, size_px: int = EVAL_PX) -> Bool[np.ndarray, "s s"]:
        """Where the crop lies inside the camera's picture, as `PreparedFrame.inside`."""
        return _inside(self.valid, size_px)

    def landmarks_px(self, index: int, size_px: int = EVAL_PX) -> Float[np.ndarray, "478 3"]:
        """A frame's landmarks in px of the crop at `size_px`; no pixels are needed for it."""
        return self.landmarks[index] * (size_px / len(self.valid))

    def seen_by(self, pixels: Collection[int], until: int) -> PreparedClip:
        """The clip as a method may see it: pixels of the frames `pixels` only, and landmarks of
        the frames up to `until`, so that nothing can be learned from what comes later.
        """
        landmarks, ok = self.landmarks.copy(), self.ok.copy()
        landmarks[until + 1 :], ok[until + 1 :] = np.nan, False
        return replace(
            self,
            landmarks=landmarks,
            pinned=None,
            ok=ok,
            images={index: self.images[index] for index in pixels},
            mattes={index: self.mattes[index] for index in pixels},
        )


def white_outside(
    picture: Float[np.ndarray, "s s 3"], inside: Bool[np.ndarray, "s s"]
) -> Float[np.ndarray, "s s 3"]:
    """`picture` with 1 outside the camera's picture, where nobody knows the truth."""
    return np.where(inside[..., None], picture, np.float32(1)).astype(np.float32)


def _resized(values: np.ndarray, size_px: int) -> np.ndarray:
    """uint8 [S, S, ...] -> float32 in 0..1 at `size_px`, averaged over areas."""
    floats = values.astype(np.float32) / 255
    if len(values) == size_px:
        return floats
    cv2 = require("cv2", extra="recon")
    return cv2.resize(floats, (size_px, size_px), interpolation=cv2.INTER_AREA)


def _inside(valid: np.ndarray, size_px: int) -> np.ndarray:
    if len(valid) == size_px:
        return valid
    cv2 = require("cv2", extra="recon")
    size = (size_px, size_px)
    return cv2.resize(valid.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
