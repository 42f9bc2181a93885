"""The face mesh network behind one small interface, from either API that MediaPipe has had."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recon.capture.models import FACE_LANDMARKER, locate_model
from recon.capture.quiet import load_mediapipe, no_native_stderr, no_warnings

LANDMARK_COUNT = 478  # 468 of the mesh, then five for each iris (right eye first)
# absl writes to stderr from the graph's threads while they start, and once more when the first
# faces are measured. Each graph is started on a blank picture and hushed until it has seen these.
NOISY_FACES = 2
_BLANK = np.full((64, 64, 3), 127, np.uint8)


class FaceMesh(Protocol):
    """Calling it with u8 [H, W, 3] sRGB gives one f32 [478, 3] array a face, in pixels.

    x, y are in pixels (0, 0 = the outer corner of the first pixel); z has the same unit, is
    negative toward the camera and counts from about the middle of the head.

    `blendshapes` are the coefficients of the last picture's faces by ARKit's names where they were
    asked for and the model tells them (only `.task` files do), else empty.
    """

    blendshapes: list[dict[str, float]]

    def __call__(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]: ...

    def forget(self) -> None:
        """Lose the faces followed so far: the next picture is searched afresh."""
        ...

    def close(self) -> None: ...


def open_face_mesh(
    *,
    tracking: bool,
    max_faces: int = 1,
    confidence: float = 0.5,
    model_path: str | Path | None = None,
    blendshapes: bool = False,
    attention: bool = True,
) -> FaceMesh:
    """Start a mesh network: `tracking` for successive frames of one clip, else single pictures.

    Without `attention` it is the plain network, which `has_plain_mesh` must have: f32 [468, 3], no
    irises.

    `model_path` (or AVATAR3D_FACE_LANDMARKER) names a `face_landmarker.task` file; without one the
    models of the 0.10.21 wheel are used, and with a newer MediaPipe the file is located as
    `recon.capture.models` describes.
    """
    if has_plain_mesh(model_path):
        return _SolutionsMesh(tracking, max_faces, confidence, attention)
    if not attention:
        raise ValueError("a .task file has no network without attention; see has_plain_mesh")
    path = locate_model(FACE_LANDMARKER, model_path)
    return _TaskMesh(path, tracking, max_faces, confidence, blendshapes)


def has_plain_mesh(model_path: str | Path | None = None) -> bool:
    """Whether the network without attention is at hand: the wheel carries both, a file only one."""
    wants_file = bool(model_path or os.environ.get(FACE_LANDMARKER.environment))
    return not wants_file and hasattr(load_mediapipe(), "solutions")


class _SolutionsMesh:
    """`mp.solutions.face_mesh`: models inside the wheel, up to release 0.10.21."""

    def __init__(self, tracking: bool, max_faces: int, confidence: float, attention: bool) -> None:
        self.blendshapes: list[dict[str, float]] = []
        with no_warnings(), no_native_stderr():
            self._graph = load_mediapipe().solutions.face_mesh.FaceMesh(
                static_image_mode=not tracking,
                max_num_faces=max_faces,
                refine_landmarks=attention,
                min_detection_confidence=confidence,
                min_tracking_confidence=confidence,
            )
            self._graph.process(_BLANK)
        self._faces_seen = 0

    def __call__(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        image = np.ascontiguousarray(image)
        with no_warnings(), ExitStack() as hushed:
            if self._faces_seen < NOISY_FACES:
                hushed.enter_context(no_native_stderr())
            faces = self._graph.process(image).multi_face_landmarks or []
        self._faces_seen += len(faces)
        return [_in_pixels(face.landmark, image) for face in faces]

    def forget(self) -> None:
        self(_BLANK)

    def close(self) -> None:
        with no_native_stderr():
            self._graph.close()


class _TaskMesh:
    """`mp.tasks.vision.FaceLandmarker`: a `.task` file, any release."""

    def __init__(
        self, path: Path, tracking: bool, max_faces: int, confidence: float, blendshapes: bool
    ) -> None:
        self.blendshapes: list[dict[str, float]] = []
        mediapipe = load_mediapipe()
        vision = mediapipe.tasks.vision
        self._image_class = mediapipe.Image
        self._image_format = mediapipe.ImageFormat.SRGB
        self._tracking = tracking
        self._calls = 0
        mode = vision.RunningMode.VIDEO if tracking else vision.RunningMode.IMAGE
        options = vision.FaceLandmarkerOptions(
            base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(path)),
            running_mode=mode,
            num_faces=max_faces,
            min_face_detection_confidence=confidence,
            min_face_presence_confidence=confidence,
            min_tracking_confidence=confidence,
            output_face_blendshapes=blendshapes,
        )
        with no_warnings(), no_native_stderr():
            self._landmarker = vision.FaceLandmarker.create_from_options(options)

    def __call__(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        picture = self._image_class(self._image_format, np.ascontiguousarray(image))
        self._calls += 1
        with no_warnings(), no_native_stderr():
            if self._tracking:
                # Timestamps must grow; the network uses nothing else of them.
                result = self._landmarker.detect_for_video(picture, self._calls * 33)
            else:
                result = self._landmarker.detect(picture)
        self.blendshapes = [
            {score.category_name: float(score.score) for score in face if score.category_name}
            for face in getattr(result, "face_blendshapes", None) or []
        ]
        return [_in_pixels(face, image) for face in result.face_landmarks]

    def forget(self) -> None:
        self(_BLANK)

    def close(self) -> None:
        self._landmarker.close()


def _in_pixels(landmarks, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Normalised points -> f32 [478, 3] in pixels; z is in units of the width, as x."""
    height, width = image.shape[:2]
    points = np.array([(point.x, point.y, point.z) for point in landmarks], np.float32)
    return points * np.array([width, height, width], np.float32)
