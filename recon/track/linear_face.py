"""A face small enough for every frame: its landmarks as a polynomial of the code.

    x(c, v) = neutral + expression c + sum_k squares_k c_k^2 + turns t(v)       head frame, metres
    t(v) = (v_x, v_y, 1 - v_z, v_x v_y),    v: the direction of the camera in the head frame

with squares only of the coefficients in SQUARED: a jaw swings on an arc, lids stop where they
meet. The polynomial is fitted to the head's own motion, and corrected by what the detector was seen
to answer to known codes and turns (`learn_response.py`): on a blink it moves the brow, a rolled lip
it half ignores, a turned face it bends toward the front. Plain arrays, so that the page in the
browser computes the same from the same file (docs/live_tracking.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from safetensors.numpy import load_file

from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES
from avatar3d.heads import HeadModel
from recon.capture.mesh_points import BROWS, EYES, LIPS, OVAL
from recon.track.landmark_shape import landmark_shape
from recon.track.observation import (
    GAPS,
    IRIS_CENTRES,
    IRIS_LIDS,
    RIGID,
    WEIGHTS,
)

RESPONSE = Path(__file__).with_name("landmark_response.safetensors")
SQUARED = ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen")
SQUARED_INDEX = tuple(ARKIT_INDEX[name] for name in SQUARED)
TURNS = 4  # features of the direction of view
_SAMPLES = (0.25, 0.5, 0.75, 1.0)  # where the polynomial meets the head's motion
# Nose and cheeks, besides lips, lids, brows, outline and irises: what turns tell from smiles.
_NOSE_AND_CHEEKS = (
    2, 98, 327, 129, 358, 49, 279, 64, 294, 48, 278, 45, 275, 50, 280, 36, 266, 205, 425, 187, 411,
    116, 345, 123, 352, 207, 427, 216, 436, 18, 200, 199, 175, 43, 273, 57, 287, 106, 335, 151, 108,
    337, 151, 47, 277, 203, 423, 92, 322, 164, 167, 393,
)  # fmt: skip
LIVE_LANDMARKS = tuple(
    sorted({*LIPS, *EYES, *BROWS, *OVAL, *RIGID, *IRIS_CENTRES, *_NOSE_AND_CHEEKS})
)
ALL_LANDMARKS = tuple(range(478))


@dataclass(frozen=True)
class LinearFace:
    """The polynomial for N of the 478 landmarks, for a head or (identity folded in) one person."""

    landmarks: Int[np.ndarray, " N"]  # MediaPipe's numbers, ascending
    neutral: Float[np.ndarray, "N 3"]
    identity: Float[np.ndarray, "N 3 I"]
    expression: Float[np.ndarray, "N 3 E"]
    squares: Float[np.ndarray, "N 3 K"]
    turns: Float[np.ndarray, "N 3 4"]
    normals: Float[np.ndarray, "N 3"]
    weights: Float[np.ndarray, " N"]  # of the landmarks, sum as many as count as independent
    gaps: Int[np.ndarray, "G 2"]  # rows of upper and lower points that meet

    def points(
        self, code: Float[np.ndarray, " E"], view: Float[np.ndarray, " 3"]
    ) -> Float[np.ndarray, "N 3"]:
        """`view`: the unit direction of the camera in the head frame."""
        squared = code[list(SQUARED_INDEX)] ** 2
        moved = self.expression @ code + self.squares @ squared
        return self.neutral + moved + self.turns @ turn_features(view)

    def derivative(self, code: Float[np.ndarray, " E"]) -> Float[np.ndarray, "N 3 E"]:
        slope = self.expression.copy()
        index = list(SQUARED_INDEX)
        slope[..., index] += 2 * code[index] * self.squares
        return slope

    def with_neutral(self, neutral: Float[np.ndarray, "N 3"]) -> LinearFace:
        return replace(self, neutral=neutral)

    def of_person(self, weights: Float[np.ndarray, " I"]) -> LinearFace:
        return self.with_neutral(self.neutral + self.identity[..., : len(weights)] @ weights)

    @cached_property
    def iris_rows(self) -> tuple[tuple[int, int, int], ...]:
        """Rows of an iris' centre and of the middles of its lids, the subject's right eye first."""
        eyes = [self.rows_of((iris[0], upper, lower)) for iris, upper, lower in IRIS_LIDS]
        return tuple((eye[0], eye[1], eye[2]) for eye in eyes)

    @cached_property
    def rigid_rows(self) -> list[int]:
        """Rows of the points that hardly move with the expression."""
        return self.rows_of(RIGID)

    def rows_of(self, landmarks: tuple[int, ...]) -> list[int]:
        """Where these landmarks stand among the N."""
        at = {int(landmark): row for row, landmark in enumerate(self.landmarks)}
        return [at[landmark] for landmark in landmarks]


def turn_features(view: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 4"]:
    """t(v) of the module's text; zero for a face that looks at the camera."""
    x, y, z = view
    return np.array([x, y, 1 - z, x * y])


@lru_cache(maxsize=8)
def linear_face(
    head: HeadModel, landmarks: tuple[int, ...] = LIVE_LANDMARKS, *, corrected: bool = True
) -> LinearFace:
    """The polynomial of a head; kept for the next call. `corrected`: by the learned response."""
    rows = list(landmarks)
    shape = landmark_shape(head)
    expression, squares = _polynomial(head)
    turns = np.zeros((478, 3, TURNS))
    if corrected and (learned := learned_response().get(head.name)) is not None:
        by_code, by_square, turns = np.split(
            learned, [len(ARKIT_NAMES), len(ARKIT_NAMES) + len(SQUARED)], axis=2
        )
        expression[..., : len(ARKIT_NAMES)] += by_code
        squares = squares + by_square
    gaps = [pair for pair in GAPS if pair[0] in landmarks and pair[1] in landmarks]
    at = {landmark: row for row, landmark in enumerate(rows)}
    weights = WEIGHTS[rows]
    return LinearFace(
        landmarks=np.array(rows),
        neutral=shape.neutral[rows],
        identity=shape.identity[rows],
        expression=expression[rows],
        squares=squares[rows],
        turns=turns[rows],
        normals=shape.normals[rows],
        weights=weights * (WEIGHTS.sum() / weights.sum()),
        gaps=np.array([[at[upper], at[lower]] for upper, lower in gaps]),
    )


def _polynomial(
    head: HeadModel,
) -> tuple[Float[np.ndarray, "478 3 E"], Float[np.ndarray, "478 3 K"]]:
    """Least squares through the head's motion at _SAMPLES of each coefficient alone."""
    shape = landmark_shape(head)
    count = head.expression_count
    amounts = np.array(_SAMPLES)
    moved = np.empty((len(amounts), 478, 3, count))
    for index in range(count):
        codes = np.zeros((len(amounts), count))
        codes[:, index] = amounts
        moved[..., index] = shape.points(codes) - shape.neutral
    straight = np.einsum("a,alce->lce", amounts, moved) / (amounts**2).sum()
    both = np.linalg.pinv(np.stack([amounts, amounts**2], 1))  # [2, A]
    index = list(SQUARED_INDEX)
    bent = np.einsum("pa,alce->plce", both, moved[..., index])
    straight[..., index] = bent[0]
    return straight, bent[1]


@lru_cache(maxsize=1)
def learned_response() -> dict[str, Float[np.ndarray, "478 3 C"]]:
    """Corrections by head name, metres: columns of the 52 of ARKit, of the squares, of the turns."""
    if not RESPONSE.exists():
        return {}
    return {name: value.astype(np.float64) for name, value in load_file(RESPONSE).items()}
