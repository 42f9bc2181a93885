"""Clip file -> PreparedClip: decode, find the face, lay one stable crop, cut out the person."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar3d.errors import UserError
from avatar3d.files import check_readable
from avatar3d.optional import require
from recon.benchmark import detect
from recon.benchmark.clip import PreparedClip
from recon.benchmark.protocol import Protocol, support_indices, test_indices
from recon.benchmark.regions import CHIN, FACE_LANDMARKS, FOREHEAD
from recon.capture.frames import read_photo
from recon.capture.inputs import hash_file
from recon.capture.measure import CLIP_COPIES, PHOTO_COPIES, refine_landmarks

# A clip may be a folder of its frames, as some datasets ship them.
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")
FOLDER_RATE = 25.0
# Room around the landmarks, in heights of the face: hair above, neck below, ears and hair beside.
ROOM_ABOVE, ROOM_BELOW, ROOM_BESIDE = 0.50, 0.28, 0.62
# The crop holds where the face is in all but this share of the frames, at either side.
OUTLIERS_PERCENT = 3


@dataclass(frozen=True)
class Crop:
    """A square of the video's picture, px of the video."""

    left: float
    top: float
    side: float

    def scale(self, size_px: int) -> float:
        """Crop px per video px."""
        return size_px / self.side

    def landmarks_px(self, landmarks: np.ndarray, size_px: int) -> np.ndarray:
        """[..., 3] px of the video -> px of the crop; z is scaled only."""
        shifted = landmarks - np.array([self.left, self.top, 0], np.float32)
        return (shifted * self.scale(size_px)).astype(np.float32)

    def matrix(self, size_px: int) -> np.ndarray:
        """Video px -> crop px, [2, 3], for cv2.warpAffine."""
        k = self.scale(size_px)
        return np.float32([[k, 0, -self.left * k], [0, k, -self.top * k]])  # type: ignore[return-value]


def prepare_clip(
    path: Path,
    protocol: Protocol,
    *,
    find_landmarks: detect.LandmarkFinder = detect.find_landmarks,
    find_mattes: detect.MatteFinder = detect.find_mattes,
    measure: detect.Measurer = refine_landmarks,
) -> PreparedClip:
    """Do what the protocol asks of a clip before any method sees it. The video is decoded twice:
    its frames need not fit into memory.
    """
    fps = frame_rate(path)
    in_video_px = find_landmarks(frames_of(path, protocol.max_frames))
    ok = np.isfinite(in_video_px).all((1, 2))
    if not ok.any():
        raise UserError(
            f"{path} must show a face, but none was found in its {len(ok)} frames; "
            f"choose a clip in which a face is seen at least 64 px high"
        )
    crop = stable_crop(in_video_px)
    pinned = crop.landmarks_px(in_video_px, protocol.crop_px)
    support = {shots: support_indices(pinned, ok, shots) for shots in protocol.shots}
    test = test_indices(ok, protocol.test_frames)

    needed = sorted(set(test).union(*support.values()))
    images, valid = _crops(path, needed, crop, protocol.crop_px)
    inside = valid > 0.99
    landmarks = pinned.copy()
    for index in needed:
        copies = CLIP_COPIES if index in test else PHOTO_COPIES
        landmarks[index] = measure(images[index], pinned[index], copies=copies)
    mattes = (matte * inside for matte in find_mattes(images[index] for index in needed))
    return PreparedClip(
        name=path.stem,
        fps=fps,
        landmarks=landmarks,
        pinned=pinned,
        ok=ok,
        support=support,
        test=test,
        images=images,
        mattes={i: (matte * 255).astype(np.uint8) for i, matte in zip(needed, mattes, strict=True)},
        valid=inside,
    )


def hash_clip(path: Path) -> str:
    """SHA-256 of a clip's bytes; of a folder, of its frames' names and bytes in order."""
    if not path.is_dir():
        check_readable(path)
        return hash_file(path)
    digest = hashlib.sha256()
    for file in frame_files(path):
        digest.update(f"{file.name} {hash_file(file)}\n".encode())
    return digest.hexdigest()


def stable_crop(landmarks: np.ndarray) -> Crop:
    """One square for the whole clip, from landmarks [F, 478, 3] in px, nan where not found."""
    face = landmarks[np.isfinite(landmarks).all((1, 2)), :FACE_LANDMARKS, :2]
    face_height = np.median(np.linalg.norm(face[:, CHIN] - face[:, FOREHEAD], axis=1))
    low = np.percentile(face.min(1), OUTLIERS_PERCENT, axis=0)
    high = np.percentile(face.max(1), 100 - OUTLIERS_PERCENT, axis=0)
    top = low[1] - ROOM_ABOVE * face_height
    bottom = high[1] + ROOM_BELOW * face_height
    side = max(bottom - top, high[0] - low[0] + ROOM_BESIDE * face_height)
    middle = np.array([(low[0] + high[0]) / 2, (top + bottom) / 2])
    return Crop(float(middle[0] - side / 2), float(middle[1] - side / 2), float(side))


def frames_of(path: Path, max_frames: int) -> Iterator[np.ndarray]:
    """The first `max_frames` pictures of a video, uint8 RGB, upright, pixels as stored.

    Not `recon.capture.read_video`: it makes pixels square, as is right for an avatar, and the
    study whose figures are the mark did not (one of its clips is 480 x 512 with wide pixels).
    """
    if path.is_dir():
        yield from _pictures_of(path, max_frames)
        return
    av = require("av", extra="recon")
    with _opened(path) as container:
        try:
            for index, frame in enumerate(container.decode(video=0)):
                if index >= max_frames:
                    return
                quarter_turns = round((frame.rotation or 0) / 90) % 4  # counter-clockwise
                yield np.ascontiguousarray(
                    np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns)
                )
        except av.error.FFmpegError as error:
            raise UserError(
                f"{path} breaks off or is damaged ({error}); use a whole clip"
            ) from error


def frame_files(folder: Path) -> list[Path]:
    """A clip's pictures in a folder of them, in order; none where it holds something else."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in FRAME_SUFFIXES]
    return sorted(files, key=lambda path: (len(path.name), path.name))  # 9.png before 10.png


def _pictures_of(folder: Path, max_frames: int) -> Iterator[np.ndarray]:
    """The first pictures of a folder; they must be of one size."""
    size = None
    for path in frame_files(folder)[:max_frames]:
        picture = read_photo(path).flattened()
        if size not in (None, picture.shape):
            raise UserError(
                f"{path} must be as large as the frames before it, {size[1]} x {size[0]}, but has "
                f"{picture.shape[1]} x {picture.shape[0]}; put each clip into a folder of its own"
            )
        size = picture.shape
        yield picture


def frame_rate(path: Path) -> float:
    """Frames per second, as the file states it; a folder of frames states none."""
    if path.is_dir():
        return FOLDER_RATE
    with _opened(path) as container:
        return float(container.streams.video[0].average_rate or 25)


def _opened(path: Path):
    av = require("av", extra="recon")
    try:
        container = av.open(str(path))
    except (OSError, av.error.FFmpegError) as error:
        raise UserError(
            f"{path} must be a video that can be read, but it is not ({error}); give another clip"
        ) from error
    if not container.streams.video:
        container.close()
        raise UserError(f"{path} must have pictures, but holds none; give a video")
    return container


def _crops(
    path: Path, needed: Iterable[int], crop: Crop, size_px: int
) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """The needed frames' crops, and how much of each crop pixel lies in the picture (0..1)."""
    cv2 = require("cv2", extra="recon")
    wanted = set(needed)
    matrix, size = crop.matrix(size_px), (size_px, size_px)
    flags = cv2.INTER_AREA if crop.scale(size_px) < 1 else cv2.INTER_CUBIC
    images: dict[int, np.ndarray] = {}
    valid = np.zeros(size, np.float32)
    for index, frame in enumerate(frames_of(path, max(wanted) + 1)):
        if index not in wanted:
            continue
        images[index] = cv2.warpAffine(
            frame, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        if len(images) == 1:
            ones = np.ones(frame.shape[:2], np.float32)
            valid = cv2.warpAffine(ones, matrix, size, flags=cv2.INTER_LINEAR, borderValue=0)
    return images, valid
