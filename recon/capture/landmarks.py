"""478 face landmarks of photos and clips.

MediaPipe's face mesh with iris (Kartynnik et al. 2019; Grishchenko et al. 2020); where there is time,
each face is measured again (`recon.capture.measure`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatar3d.errors import UserError
from recon.capture.facemesh import LANDMARK_COUNT, FaceMesh, open_face_mesh
from recon.capture.frames import Frame
from recon.capture.measure import CLIP_COPIES, refine_landmarks
from recon.capture.search import search_faces

logger = logging.getLogger(__name__)

Chooser = Callable[[list["Face"], tuple[int, int]], "Face | None"]  # faces, width and height

CHIN, FOREHEAD = 152, 10  # the ends of what "face height" means throughout
MESH_POINTS = 468  # without the irises
MAX_FACES = 8


@dataclass(frozen=True)
class Face:
    """One face of a picture: `landmarks` f32 [478, 3] in pixels, z in pixels too (- = nearer).

    `others` f32 [K, 4] are the boxes (x0, y0, x1, y1) of the other faces of the same picture.
    """

    landmarks: NDArray[np.float32]
    others: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))

    @property
    def box(self) -> NDArray[np.float32]:
        """x0, y0, x1, y1 of the mesh in pixels."""
        points = self.landmarks[:MESH_POINTS, :2]
        return np.concatenate([points.min(axis=0), points.max(axis=0)])

    @property
    def height_px(self) -> float:
        """Forehead to chin, along the face."""
        return float(np.linalg.norm(self.landmarks[CHIN, :2] - self.landmarks[FOREHEAD, :2]))


@dataclass(frozen=True)
class FaceTrack:
    """The landmarks of one face through a clip; rows are NaN where it was not found."""

    landmarks: NDArray[np.float32]  # [T, 478, 3] px
    times_s: NDArray[np.float64]  # [T]
    indices: NDArray[np.int64]  # [T] frame numbers in the source
    width: int
    height: int
    source: str
    others: tuple[NDArray[np.float32], ...]  # per frame, boxes [K, 4] of other faces

    @property
    def found(self) -> NDArray[np.bool_]:
        return np.isfinite(self.landmarks[:, 0, 0])

    def face(self, row: int) -> Face | None:
        return Face(self.landmarks[row], self.others[row]) if self.found[row] else None

    def faces_at(self, indices: Iterable[int]) -> list[Face | None]:
        """The faces of frames given by their number in the source; None where not found."""
        row_of = {int(index): row for row, index in enumerate(self.indices)}
        return [self.face(row_of[index]) if index in row_of else None for index in indices]


# The smallest face, forehead to chin, from which an avatar is made. 22 photos were scaled down
# until the face had N px; the landmarks moved by (percent of face height)
#   N   128   96   64   48   32   24
#      .30  .50  .85  1.5  2.1  3.1
# 1 % is what a smile or half a blink moves: below 64 px expressions begin to drown, which is said,
# and below 40 the picture is refused.
MIN_FACE_HEIGHT_PX = 40
_SMALL_FACE_PX = 64


# A clip that begins without a face is searched thoroughly, which takes 0.2 s, only so often.
SEARCH_EVERY = 8


def detect(
    image: NDArray[np.uint8], *, model_path: str | Path | None = None, max_faces: int = MAX_FACES
) -> list[Face]:
    """All faces of a single picture u8 [H, W, 3], largest first; an empty list when none is seen.

    Where the whole picture shows no face, close-ups, small faces and tiles are searched
    (`recon.capture.search`). Each face found is measured again as `refine_landmarks` does.
    """
    rough = search_faces(image, max_faces=max_faces, model_path=model_path)
    return _by_size(refine_landmarks(image, points, model_path=model_path) for points in rough)


def look_for_faces(image: NDArray[np.uint8], *, max_faces: int = MAX_FACES) -> list[Face]:
    """As `detect`, with the landmarks of the first look: enough to tell who is who."""
    return _by_size(search_faces(image, max_faces=max_faces))


def measured_again(image: NDArray[np.uint8], face: Face) -> Face:
    """A face of `look_for_faces` with the landmarks that `detect` gives."""
    return replace(face, landmarks=refine_landmarks(image, face.landmarks))


def detect_one(
    frame: Frame,
    *,
    face_index: int | None = None,
    min_height_px: float = MIN_FACE_HEIGHT_PX,
    model_path: str | Path | None = None,
) -> Face:
    """The face of a photo: the largest (said as a warning where there are several) or the
    `face_index`-th by size; UserError when there is none, or it is too small."""
    faces = detect(frame.flattened(grey=127), model_path=model_path)
    face = choose_face(faces, frame.name, face_index)
    check_height(face.height_px, frame.name, min_height_px)
    return face


def choose_face(faces: Sequence[Face], name: str, face_index: int | None) -> Face:
    """Pick one of the faces of a picture, which stand largest first."""
    if not faces:
        raise UserError(
            f"no face was found in {name}; give a picture that shows one face from the front, "
            "upright and well lit"
        )
    if face_index is not None:
        if not 0 <= face_index < len(faces):
            raise UserError(
                f"face {face_index} was asked for, but {name} shows {len(faces)}; they are "
                "numbered by size, 0 is the largest"
            )
        return faces[face_index]
    if len(faces) > 1:
        heights = ", ".join(f"{face.height_px:.0f}" for face in faces)
        logger.warning(
            "%s shows %d faces (%s px high); the largest is taken, choose another with --face N",
            name, len(faces), heights,
        )  # fmt: skip
    return faces[0]


def check_height(height_px: float, name: str, min_height_px: float = MIN_FACE_HEIGHT_PX) -> None:
    """UserError where the face is too small to work with; a warning where it is small."""
    if height_px < min_height_px:
        raise UserError(
            f"the face in {name} is {height_px:.0f} pixels high, but at least {min_height_px:.0f} "
            "are needed; give a larger or closer picture"
        )
    if height_px < _SMALL_FACE_PX:
        logger.warning(
            "the face in %s is only %.0f pixels high: its expression is hardly seen; with %d or "
            "more the avatar is better",
            name, height_px, _SMALL_FACE_PX,
        )  # fmt: skip


def track_faces(
    frames: Iterable[Frame],
    *,
    face_index: int | None = None,
    min_height_px: float = MIN_FACE_HEIGHT_PX,
    model_path: str | Path | None = None,
    choose: Chooser | None = None,
    precise: bool = False,
) -> FaceTrack:
    """Follow one face through the frames of a clip (read lazily, one frame is held at a time).

    The face is chosen on the first frame that shows one, as for photos or by `choose`, which may
    wait for a later frame; where several are there,
    the one nearest to its last place is followed. A frame on which tracking fails is searched
    once more around that place, then left out (NaN).

    precise: measure each face again as `refine_landmarks` does, with CLIP_COPIES.
    """
    rows: list[NDArray[np.float32]] = []
    others: list[NDArray[np.float32]] = []
    times: list[float] = []
    indices: list[int] = []
    mesh: FaceMesh | None = None
    last: Face | None = None
    name, shape = "the clip", (0, 0)
    for frame in frames:
        image = frame.flattened(grey=127)
        name, shape = frame.source, image.shape[:2]
        face = None
        if last is None and (len(rows) < 5 or len(rows) % SEARCH_EVERY == 0):
            faces = detect(image, model_path=model_path)
            if faces:
                size_px = (image.shape[1], image.shape[0])
                if choose is None:
                    last = choose_face(faces, name, face_index)
                else:
                    last = choose(faces, size_px)
            if last is not None:
                mesh = open_face_mesh(
                    tracking=True,
                    max_faces=len(faces),
                    confidence=0.3,
                    model_path=model_path,
                )
        if mesh is not None and last is not None:
            face = _follow(mesh, image, last, model_path)
            last = face or last
            if face is not None and precise:
                again = refine_landmarks(
                    image, face.landmarks, copies=CLIP_COPIES, model_path=model_path
                )
                face = replace(face, landmarks=again)
        rows.append(_MISSING if face is None else face.landmarks)
        others.append(_NO_BOXES if face is None else face.others)
        times.append(frame.time_s)
        indices.append(frame.index)
    if mesh is not None:
        mesh.close()
    if last is None:
        raise UserError(
            f"no face was found in any frame of {name}; give a video that shows one head from the "
            "front"
        )
    track = FaceTrack(
        np.stack(rows), np.array(times), np.array(indices), shape[1], shape[0], name, tuple(others)
    )
    heights = [face.height_px for row in range(len(rows)) if (face := track.face(row))]
    check_height(float(np.median(heights)), name, min_height_px)
    return track


_MISSING = np.full((LANDMARK_COUNT, 3), np.nan, np.float32)
_NO_BOXES = np.zeros((0, 4), np.float32)


def _by_size(landmarks: Iterable[NDArray[np.float32]]) -> list[Face]:
    faces = sorted(map(Face, landmarks), key=lambda face: -face.height_px)
    return [_with_others(face, faces) for face in faces]


def _with_others(face: Face, faces: Sequence[Face]) -> Face:
    boxes = [other.box for other in faces if other is not face]
    return replace(face, others=np.array(boxes, np.float32)) if boxes else face


def _follow(
    mesh: FaceMesh, image: NDArray[np.uint8], last: Face, model_path: str | Path | None
) -> Face | None:
    """The face of this frame nearest to `last`, at most one face width away; None when lost."""
    found = [Face(points) for points in mesh(image)]
    near = [face for face in found if _distance(face, last) < 1.0]
    if not near:
        again = search_faces(image, around=last.box, max_faces=1, model_path=model_path)
        near = [face for face in map(Face, again) if _distance(face, last) < 2.0]
    if not near:
        return None
    chosen = min(near, key=lambda face: _distance(face, last))
    return _with_others(chosen, found)


def _distance(face: Face, other: Face) -> float:
    """Between the centres of two faces, in heights of `other`, growing with a change of size."""
    centre = face.landmarks[:MESH_POINTS, :2].mean(axis=0)
    other_centre = other.landmarks[:MESH_POINTS, :2].mean(axis=0)
    apart = float(np.linalg.norm(centre - other_centre)) / other.height_px
    return apart + abs(float(np.log(face.height_px / other.height_px)))
