"""CSIM: is it the same person? The cosine of two pictures' face embeddings.

Two embedders can be had: ArcFace (Deng et al. 2019) as the user's ONNX file, and dlib's network
(public domain), which the packages dlib-bin and face-recognition-models bring. Their cosines do not
compare with one another. Both get the face brought to its usual place by the landmarks given, so
that no second detector decides what is seen.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float

from avatar3d.errors import UserError
from avatar3d.files import check_readable
from avatar3d.optional import require

# Where ArcFace was trained to find eyes (left and right in the picture), nose and mouth's corners,
# px of 112.
_ARCFACE_PX = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
# MediaPipe's landmarks: corners of both eyes, tip of the nose, corners of the mouth.
_EYES, _NOSE, _MOUTH = ((33, 133), (362, 263)), 4, (61, 291)
# The five points of dlib's model, in its order: corners of the eye right in the picture, outer
# first, then of the left one, and the nose's base.
_DLIB_POINTS = (263, 362, 33, 133, 2)
_DLIB_PX, _DLIB_PADDING = 150, 0.25
DLIB_FILE = "dlib_face_recognition_resnet_model_v1.dat"


class Embedder(Protocol):
    """A face -> a direction."""

    name: str

    def __call__(
        self, picture: Float[np.ndarray, "H W 3"], landmarks: Float[np.ndarray, "478 2"]
    ) -> Float[np.ndarray, " E"]:
        """The unit embedding of the face at `landmarks` (px) of a picture in 0..1."""
        ...


def csim(embedding: np.ndarray, truth: np.ndarray) -> float:
    """The cosine of two embeddings, -1..1."""
    return float(_unit(embedding) @ _unit(truth))


class ArcFace:
    """A network in insightface's layout: [1, 3, 112, 112], RGB in -1..1 -> [1, E]."""

    name = "arcface"

    def __init__(self, path: Path) -> None:
        check_readable(path)
        runtime = require("onnxruntime", extra="audio")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = runtime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        except Exception as error:
            raise _no_arcface(path, "cannot be read") from error
        inputs = session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or list(shape[1:]) != [3, 112, 112]:
            raise _no_arcface(path, f"takes {[entry.shape for entry in inputs]}")
        self._session, self._input = session, inputs[0].name

    def __call__(self, picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        cv2 = require("cv2", extra="recon")
        matrix = similarity(arcface_points(landmarks), _ARCFACE_PX)
        face = cv2.warpAffine(picture.astype(np.float32), matrix, (112, 112))
        batch = (face.transpose(2, 0, 1)[None] * 2 - 1).astype(np.float32)
        return _unit(np.asarray(self._session.run(None, {self._input: batch})[0]).ravel())


class Dlib:
    """dlib's network, 128 numbers."""

    name = "dlib"

    def __init__(self, path: Path | None = None) -> None:
        """`path`: its weights; without one those of the package face-recognition-models."""
        path = path or packaged_dlib()
        if path is None or find_spec("dlib") is None:
            raise UserError(
                "CSIM with dlib needs the packages dlib-bin and face-recognition-models, but they "
                "are not installed; run: pip install 'avatar3d[identity]'"
            )
        check_readable(path)
        self._dlib = require("dlib", extra="identity")
        try:
            self._network = self._dlib.face_recognition_model_v1(str(path))
        except RuntimeError as error:
            raise UserError(
                f"{path} must hold dlib's face recognition network, but cannot be read; "
                f"give {DLIB_FILE}"
            ) from error

    def __call__(self, picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        dlib = self._dlib
        points = [dlib.point(int(round(x)), int(round(y))) for x, y in landmarks[[*_DLIB_POINTS]]]
        low, high = landmarks.min(0), landmarks.max(0)
        box = dlib.rectangle(int(low[0]), int(low[1]), int(high[0]), int(high[1]))
        shape = dlib.full_object_detection(box, points)
        pixels = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
        face = dlib.get_face_chip(pixels, shape, _DLIB_PX, _DLIB_PADDING)
        return _unit(np.array(self._network.compute_face_descriptor(face)))


def packaged_dlib() -> Path | None:
    """dlib's weights in the package face-recognition-models, which is not imported."""
    found = find_spec("face_recognition_models")
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder) / "models" / DLIB_FILE
        if path.is_file():
            return path
    return None


def arcface_points(landmarks: Float[np.ndarray, "478 2"]) -> Float[np.ndarray, "5 2"]:
    """Middles of the eyes, tip of the nose, corners of the mouth."""
    eyes = [landmarks[list(corners)].mean(0) for corners in _EYES]
    return np.stack([*eyes, landmarks[_NOSE], *landmarks[list(_MOUTH)]])


def similarity(
    source: Float[np.ndarray, "P 2"], target: Float[np.ndarray, "P 2"]
) -> Float[np.ndarray, "2 3"]:
    """Rotation, scale and shift that best bring `source` onto `target` (least squares)."""
    middle, goal = source.mean(0), target.mean(0)
    # In complex numbers a rotation with a scale is one factor.
    a = (source - middle) @ np.array([1, 1j])
    b = (target - goal) @ np.array([1, 1j])
    factor = np.vdot(a, b) / np.vdot(a, a).real
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.c_[turn, goal - turn @ middle]


def _unit(values: np.ndarray) -> np.ndarray:
    return values / max(float(np.linalg.norm(values)), 1e-12)


def _no_arcface(path: Path, got: str) -> UserError:
    return UserError(
        f"{path} must be ArcFace as ONNX with one input [1, 3, 112, 112], but {got}; "
        f"give another file"
    )
