"""The measuring instruments: landmarks and mattes of the truth, and landmarks of renders.

They are the benchmark's own and pinned to one model and one setting on purpose. What the product
uses to make avatars (`recon.capture`) may improve; if the truth moved with it, figures of two
versions could not be compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata

import numpy as np
from jaxtyping import Float, UInt8

from avatar3d.optional import require

Image = UInt8[np.ndarray, "H W 3"]
# frames in order -> px of each frame [F, 478, 3], nan where no face was found
LandmarkFinder = Callable[[Iterable[np.ndarray]], np.ndarray]
# crops in order -> 0..1 each
MatteFinder = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]
# one picture -> px [478, 2], or None
Detector = Callable[[np.ndarray], "np.ndarray | None"]

LANDMARKS = 478
# The segmenter's soft edge is wide; the middle half of its range becomes the matte's edge.
MATTE_LOW, MATTE_RANGE = 0.25, 0.5
# Lower than usual: a render that is bad, but still a face, must be measured and not left out.
RENDER_CONFIDENCE = 0.2
VIDEO_CONFIDENCE = 0.3


def version() -> str:
    """What the instruments are, for the cache's key and the report."""
    try:
        # Asked of the package's metadata: importing mediapipe takes seconds.
        return f"mediapipe {metadata.version('mediapipe')}"
    except metadata.PackageNotFoundError:
        return f"mediapipe {require('mediapipe', extra='recon').__version__}"


def find_landmarks(frames: Iterable[Image]) -> Float[np.ndarray, "F 478 3"]:
    """Landmarks of a video's frames, tracked from one to the next."""
    with _face_mesh(static=False, confidence=VIDEO_CONFIDENCE) as mesh:
        found = [_landmarks(mesh, frame) for frame in frames]
    nobody = np.full((LANDMARKS, 3), np.nan, np.float32)
    return np.array([nobody if face is None else face for face in found], np.float32)


def find_mattes(crops: Iterable[Image]) -> Iterator[Float[np.ndarray, "S S"]]:
    """Mattes of crops. The segmenter smooths over time, so each crop is shown twice: the second
    answer has settled, whatever came before.
    """
    segmentation = require("mediapipe", extra="recon").solutions.selfie_segmentation
    with _quiet(), segmentation.SelfieSegmentation(model_selection=0) as segmenter:
        for crop in crops:
            segmenter.process(crop)
            soft = segmenter.process(crop).segmentation_mask
            yield np.clip((soft - MATTE_LOW) / MATTE_RANGE, 0, 1)


@contextmanager
def picture_detector() -> Iterator[Detector]:
    """A detector for single pictures, the same for truth and render: it knows no earlier frame."""
    with _face_mesh(static=True, confidence=RENDER_CONFIDENCE) as mesh:

        def detect(picture: np.ndarray) -> np.ndarray | None:
            # The study truncates where others round; kept, so that figures compare.
            found = _landmarks(mesh, (np.clip(picture, 0, 1) * 255).astype(np.uint8))
            return None if found is None else found[:, :2]

        yield detect


@contextmanager
def _face_mesh(static: bool, confidence: float) -> Iterator:
    solution = require("mediapipe", extra="recon").solutions.face_mesh
    with (
        _quiet(),
        solution.FaceMesh(
            static_image_mode=static,
            max_num_faces=1,
            refine_landmarks=True,
            min_detection_confidence=confidence,
            min_tracking_confidence=confidence,
        ) as mesh,
    ):
        yield mesh


def _landmarks(mesh, image: np.ndarray) -> np.ndarray | None:
    """[478, 3] in px; z is given in units of the picture's width, as x is."""
    with _quiet():
        faces = mesh.process(image).multi_face_landmarks
    if not faces:
        return None
    height, width = image.shape[:2]
    scale = np.array([width, height, width])
    points = np.array([(p.x, p.y, p.z) for p in faces[0].landmark])
    return (points * scale).astype(np.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """mediapipe calls a protobuf function that warns of its own end; nobody can act on it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*GetPrototype.*", category=UserWarning)
        yield
