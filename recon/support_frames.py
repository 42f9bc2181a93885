"""Support frames of photos or of a clip: which ones, whose face, cut out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from avatar3d.errors import UserError
from recon.capture import (
    Face,
    Frame,
    PreparedFrame,
    detect_one,
    prepare,
    read_photo,
    read_video,
    read_video_info,
    sample_indices,
)
from recon.capture.landmarks import check_height, choose_face, look_for_faces, measured_again
from render.ahead import ahead

logger = logging.getLogger(__name__)

Watch = Callable[[int, int], None]  # done, total
# Decoded frames that are kept between finding the face and cutting it out; a clip with more is
# decoded twice instead.
HELD_BYTES = 200e6


def frames_of_photos(
    paths: Sequence[Path],
    size_px: int,
    max_frames: int,
    face_index: int | None = None,
    watch: Watch | None = None,
) -> list[PreparedFrame]:
    """One frame a photo, each with a crop of its own; only one photo is held decoded at a time.
    Of several photos those that cannot be used are left out, and said.
    """
    if len(paths) > max_frames:
        logger.warning("%d photos were given, %d of them are used", len(paths), max_frames)
        paths = [paths[index] for index in sample_indices(len(paths), max_frames)]
    prepared: list[PreparedFrame] = []
    refused: list[UserError] = []
    for done, path in enumerate(paths, start=1):
        try:
            frame = read_photo(path)
            face = detect_one(frame, face_index=face_index)
            prepared += prepare([frame], size=size_px, faces=[face])
        except UserError as error:
            refused.append(error)
        if watch:
            watch(done, len(paths))
    if not prepared:
        raise refused[0]
    for error in refused:
        logger.warning("left out: %s", error)
    return prepared


def frames_of_clip(
    path: Path,
    size_px: int,
    max_frames: int,
    face_index: int | None = None,
    watch: Watch | None = None,
) -> list[PreparedFrame]:
    """Frames spread over a clip, in one crop; those without the face are left out."""
    info = read_video_info(path)
    indices = sample_indices(info.frame_count, max_frames) or list(range(max_frames))
    hold = len(indices) * info.width * info.height * 3 <= HELD_BYTES
    held: list[Frame] = []

    def watched(frames: Iterable[Frame]) -> Iterable[Frame]:
        for done, frame in enumerate(frames, start=1):
            yield frame
            if hold:
                held.append(frame)
            if watch:
                watch(done, 2 * len(indices))

    faces = find_face(watched(read_video(path, indices=indices)), path.name, face_index)
    frames = held if hold else read_video(path, indices=sorted(faces))
    return prepare(
        (frame for frame in frames if frame.index in faces),
        size=size_px,
        shared_crop=True,
        faces=[faces[index] for index in sorted(faces)],
        progress=watch and (lambda done, total: watch(total + done, 2 * total)),
    )


def find_face(frames: Iterable[Frame], name: str, face_index: int | None = None) -> dict[int, Face]:
    """One person's face in frames far apart, by frame number: the one chosen first (the largest,
    or `face_index` by size), then the one nearest to its last place."""
    found: dict[int, Face] = {}
    last: Face | None = None
    count = 0
    with ahead((frame, look_for_faces(frame.image)) for frame in frames) as looked:
        for frame, faces in looked:
            count += 1
            if not faces:
                continue
            one = choose_face(faces, name, face_index) if last is None else _nearest(faces, last)
            last = found[frame.index] = measured_again(frame.image, one)
    if not found:
        raise UserError(
            f"no face was found in {count} frames of {name}; give a clip that shows one face from "
            "the front, upright and well lit"
        )
    if len(found) < count:
        logger.warning(
            "%s shows no face in %d of the %d frames looked at; the others are used",
            name, count - len(found), count,
        )  # fmt: skip
    check_height(float(np.median([face.height_px for face in found.values()])), name)
    return found


def _nearest(faces: Sequence[Face], last: Face) -> Face:
    return min(faces, key=lambda face: float(np.abs(face.box - last.box).sum()) / last.height_px)
