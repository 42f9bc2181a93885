"""From frames to what tracking and fitting work on: crop, matte, colours, landmarks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatar3d.errors import UserError
from recon.capture.crop import HeadCrop, head_crop, stable_head_crop
from recon.capture.frames import Frame
from recon.capture.landmarks import Face, detect_one
from recon.capture.matting import foreground_colors, matte_person
from render.ahead import mapped

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # frames done, frames in all (0 when not known)

# A photo whose own transparency hides at least this share of the head crop is a cut-out, and its
# alpha is the matte. Less is a rounded corner: then it only narrows the matte found.
CUT_OUT_SHARE = 0.03


@dataclass(frozen=True)
class PreparedFrame:
    """One frame of the head: all arrays are [S, S] in the pixels of `crop`."""

    image: NDArray[np.float32]  # [S, S, 3] sRGB as photographed; the edge repeated outside
    matte: NDArray[np.float32]  # [S, S] opacity of the person, 0 outside the picture
    foreground: NDArray[np.float32]  # [S, S, 3] colours of the person without the background's
    valid: NDArray[np.bool_]  # [S, S] inside the picture
    landmarks: NDArray[np.float32]  # [478, 3] crop px, z in the same unit (- = nearer)
    crop: HeadCrop
    source: str
    time_s: float = 0.0
    index: int = 0

    def over(self, background: float | Sequence[float] = 1.0) -> NDArray[np.float32]:
        """The person over a plain colour, f32 [S, S, 3]: what renders are compared with."""
        matte = self.matte[..., None]
        return self.foreground * matte + np.asarray(background, np.float32) * (1.0 - matte)


def prepare(
    frames: Iterable[Frame],
    *,
    size: int = 512,
    shared_crop: bool = False,
    faces: Sequence[Face | None] | None = None,
    crop: HeadCrop | None = None,
    face_index: int | None = None,
    model_path: str | Path | None = None,
    progress: Progress | None = None,
) -> list[PreparedFrame]:
    """Crop, matte and landmarks of each frame.

    Photos get a crop each; `shared_crop` gives all the same (frames of one clip). For a clip pass
    what `track_faces` found: `faces` in the order of `frames` (a None skips its frame) and, where
    the crop shall hold more frames than these, `crop`. Without `faces` each frame is searched;
    then `face_index` chooses among several faces.
    """
    if faces is None or (shared_crop and crop is None):
        frames = list(frames)
    if faces is None:
        faces = [
            detect_one(frame, face_index=face_index, model_path=model_path) for frame in frames
        ]
    if shared_crop and crop is None:
        crop = stable_head_crop(np.stack([face.landmarks for face in faces if face]), size)

    def cut_out(pair: tuple[Frame, Face | None]) -> PreparedFrame | None:
        frame, face = pair
        if face is None:
            return None
        return prepare_frame(frame, face, crop or head_crop(face.landmarks, size))

    prepared: list[PreparedFrame] = []
    for done, made in enumerate(mapped(cut_out, zip(frames, faces, strict=True)), start=1):
        if made is not None:
            prepared.append(made)
        if progress:
            progress(done, len(faces))
    if not prepared:
        raise UserError("no picture with a face is left to work on; give other pictures")
    return prepared


def prepare_frame(frame: Frame, face: Face, crop: HeadCrop) -> PreparedFrame:
    """Cut one frame out as `crop` says; `face` is in source px."""
    height, width = frame.image.shape[:2]
    valid = crop.valid(width, height)
    picture = crop.warp(frame.flattened(grey=127))
    in_crop = replace(
        face,
        landmarks=crop.to_crop(face.landmarks),
        others=crop.to_crop(face.others.reshape(-1, 2, 2)).reshape(-1, 4),
    )
    alpha = None if frame.alpha is None else np.clip(crop.warp(frame.alpha), 0.0, 1.0)
    if alpha is not None and float((alpha[valid] < 0.5).mean()) >= CUT_OUT_SHARE:
        matte = alpha
    else:
        matte = matte_person(picture, crop.widened(2.0).warp(frame.flattened(grey=127)), in_crop)
        matte = matte if alpha is None else np.minimum(matte, alpha)
    matte = (matte * valid).astype(np.float32)
    image = picture.astype(np.float32) / 255.0
    return PreparedFrame(
        image=image,
        matte=matte,
        foreground=foreground_colors(image, matte),
        valid=valid,
        landmarks=in_crop.landmarks,
        crop=crop,
        source=frame.source,
        time_s=frame.time_s,
        index=frame.index,
    )
