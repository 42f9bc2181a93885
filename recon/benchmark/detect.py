"""The measuring instruments: landmarks and mattes of the truth, and landmarks of renders.

They are the benchmark's own and pinned to one model and one setting on purpose. What the product
uses to make avatars (`recon.capture`) may improve, and all methods follow its landmarks; if the
truth moved with it, figures of two versions could not be compared. The settings are those of the
study that went before this project and set its mark (docs/benchmarks/README.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from importlib import metadata

import numpy as np
from jaxtyping import Float, UInt8

from avatar3d.errors import UserError
from recon.capture.facemesh import LANDMARK_COUNT, open_face_mesh
from recon.capture.models import FACE_LANDMARKER
from recon.capture.quiet import load_mediapipe, no_native_stderr, no_warnings

Image = UInt8[np.ndarray, "H W 3"]
# frames in order -> px of each frame [F, 478, 3], nan where no face was found
LandmarkFinder = Callable[[Iterable[np.ndarray]], np.ndarray]
# crops in order -> 0..1 each
MatteFinder = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]
# one crop and its landmarks [478, 3] -> those measured again, with `copies`
Measurer = Callable[..., np.ndarray]
# one picture -> px [478, 2], or None
Detector = Callable[[np.ndarray], "np.ndarray | None"]

# The segmenter's soft edge is wide; the middle half of its range becomes the matte's edge.
MATTE_LOW, MATTE_RANGE = 0.25, 0.5
# Lower than usual: a render that is bad, but still a face, must be measured and not left out.
RENDER_CONFIDENCE = 0.2
VIDEO_CONFIDENCE = 0.3


def version() -> str:
    """What the instruments are, for the cache's key and the report."""
    try:
        # Asked of the package's metadata: importing mediapipe takes seconds.
        package = f"mediapipe {metadata.version('mediapipe')}"
    except metadata.PackageNotFoundError:
        package = f"mediapipe {load_mediapipe().__version__}"
    model = os.environ.get(FACE_LANDMARKER.environment)
    return f"{package} with {model}" if model else package


def find_landmarks(frames: Iterable[Image]) -> Float[np.ndarray, "F 478 3"]:
    """Landmarks of a video's frames, tracked from one to the next."""
    nobody = np.full((LANDMARK_COUNT, 3), np.nan, np.float32)
    with closing(open_face_mesh(tracking=True, confidence=VIDEO_CONFIDENCE)) as mesh:
        faces = [mesh(frame) for frame in frames]
    return np.array([found[0] if found else nobody for found in faces], np.float32)


def find_mattes(crops: Iterable[Image]) -> Iterator[Float[np.ndarray, "S S"]]:
    """Mattes of crops. The segmenter smooths over time, so each crop is shown twice: the second
    answer has settled, whatever came before.
    """
    mediapipe = load_mediapipe()
    if not hasattr(mediapipe, "solutions"):
        raise UserError(
            f"the benchmark's truth is cut out by mediapipe 0.10.21, so that figures compare, but "
            f"{mediapipe.__version__} is installed; run: pip install mediapipe==0.10.21"
        )
    with no_warnings(), no_native_stderr():
        segmenter = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
    with segmenter:
        for crop in crops:
            with no_warnings(), no_native_stderr():
                segmenter.process(crop)
                soft = segmenter.process(crop).segmentation_mask
            yield np.clip((soft - MATTE_LOW) / MATTE_RANGE, 0, 1)


@contextmanager
def picture_detector() -> Iterator[Detector]:
    """A detector for single pictures, the same for truth and render: it knows no earlier frame."""
    with closing(open_face_mesh(tracking=False, confidence=RENDER_CONFIDENCE)) as mesh:

        def detect(picture: np.ndarray) -> np.ndarray | None:
            # The study truncates where others round; kept, so that figures compare.
            faces = mesh((np.clip(picture, 0, 1) * 255).astype(np.uint8))
            return faces[0][:, :2] if faces else None

        yield detect
