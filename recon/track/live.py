"""Live tracking: a picture in, a code out, every frame, on one core.

`LiveSolver` turns landmarks into codes and knows nothing of pictures; `LiveTracker` puts the
detector and the choice of a face before it. The steps are written out for ports in
docs/live_tracking.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from avatar3d.animation.smoothing import CodeSmoother, Smoothing
from avatar3d.code_interpolation import slerp
from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.geometry import matrix_to_quaternion
from avatar3d.heads import HeadModel
from avatar3d.smooth import smoothstep
from recon.capture.facemesh import open_face_mesh
from recon.capture.landmarks import Face, choose_face, detect
from recon.track.bust import BustReference, bust_reference, neck_rotation
from recon.track.code_prior import CodePrior, CodePriorSettings
from recon.track.linear_face import LIVE_LANDMARKS, LinearFace, linear_face
from recon.track.live_solver import (
    LiveState,
    Nearness,
    first_state,
    project_face,
    solve_frame,
)
from recon.track.neutral import person_at_rest
from recon.track.observation import IRIS_CENTRES, NOISE_M
from recon.track.tracking import AXES

Status = Literal["searching", "calibrating", "tracked", "side", "lost"]
# searching: no face yet. calibrating: codes come, the neutral is still the mean face's. side: turned
# beyond the tracker's range, the code fades to rest. lost: no face now; held, then fading.

PUPILS_M = 0.063
ASSUMED_DISTANCE_M = 0.65  # of a user from the camera: tells the focal length where nobody says it
FOCAL_RANGE = (0.75, 4.0)  # of the picture's longer side
CALIBRATION_FRAMES = 10  # evenly spread over those seen while calibrating; it goes on until so many
CALIBRATION_TURN_RAD = 0.35  # frames turned farther from the camera teach no neutral
CALIBRATION_STIR = 0.15  # nor those whose jaw and lids are so much farther from rest than others'
LONGEST_STEP_S = 0.05
BROKEN = 0.12  # mean miss over the pupils' distance at which a frame is solved afresh


@dataclass(frozen=True)
class LiveSettings:
    calibration_s: float = 2.0  # at least, of a face at rest before the camera; 0: not at all
    resting: bool = True  # the user was asked to rest; False for clips, which begin anyhow
    focal_px: float | None = None  # of the camera, if it is known
    smoothing: Smoothing = field(default_factory=Smoothing)
    near: Nearness = field(default_factory=lambda: Nearness(code=0.5))
    steps: int = 3
    # Of a face turned by 45 degrees the far side is guessed: the near one's coefficients say more.
    prior: CodePriorSettings = field(default_factory=lambda: CodePriorSettings(symmetry=0.2))
    side_from_rad: float = 0.96  # 55 degrees: fading begins
    side_to_rad: float = 1.22  # 70 degrees: at rest
    hold_s: float = 0.2  # a lost face keeps its code for so long,
    fade_s: float = 0.5  # then goes to rest with this time constant
    blend_s: float = 0.25  # from what was shown to what is found again
    keep_s: float = 3.0  # another face is taken only after the chosen one was gone for so long


@dataclass(frozen=True)
class LiveFrame:
    """What a frame brings: a code (no batch), and what it stands on."""

    code: ExpressionCode
    status: Status
    landmark_error: float = float("nan")  # mean miss over the distance between the pupils


class LiveSolver:
    """Landmarks to codes, one frame after the other."""

    def __init__(
        self,
        head: HeadModel,
        settings: LiveSettings | None = None,
        identity: Tensor | None = None,
    ) -> None:
        """`identity`: of the driver's own avatar, which then need not be found out."""
        self.settings = settings or LiveSettings()
        self.names = head.expression_names
        self._head = head
        self._identity = None if identity is None else identity.double().numpy()
        self._mean_face = linear_face(head, LIVE_LANDMARKS)
        self._prior = live_prior(self._mean_face, self.names, self.settings.prior)
        self._smoother = CodeSmoother(self.names, self.settings.smoothing)
        self._rest = ExpressionCode.neutral(coefficient_count=len(self.names))
        self.recalibrate()

    def recalibrate(self) -> None:
        """Learn the user's neutral from the frames that come now."""
        self._face = self._mean_face
        if self._identity is not None:
            self._face = self._mean_face.of_person(self._identity)
        self._collected: list[tuple[np.ndarray, float]] = []
        self._calibrated = self.settings.calibration_s <= 0
        self._seen_s = 0.0
        self._focal_px: float | None = None
        self._state: LiveState | None = None
        self._bust: BustReference | None = None
        self._rest_place: np.ndarray | None = None
        self._shown = self._rest
        self._blend_from, self._blend_left_s = self._rest, 0.0
        self._time_s: float | None = None
        self._lost_s = float("inf")
        self._smoother.forget()

    @property
    def face(self) -> LinearFace:
        """The landmarks' model, with the user's neutral once it is known."""
        return self._face

    @property
    def state(self) -> LiveState | None:
        """Pose and unsmoothed code of the last frame with a face."""
        return self._state

    @property
    def focal_px(self) -> float | None:
        return self._focal_px

    def __call__(
        self,
        landmarks_px: Float[np.ndarray, "478 C"] | None,
        size_px: tuple[int, int],
        time_s: float,
        blendshapes: Mapping[str, float] | None = None,
    ) -> LiveFrame:
        """The next frame. `landmarks_px`: x, y in px, None without a face; `size_px`: width and
        height of the picture; `blendshapes`: coefficients to take instead of the solver's."""
        step_s = 0.0 if self._time_s is None else max(time_s - self._time_s, 1e-3)
        self._time_s = time_s
        if landmarks_px is None or not np.isfinite(landmarks_px[:, :2]).all():
            return self._without_face(step_s)
        observed_px = np.asarray(landmarks_px, np.float64)[:, :2] - np.array(size_px) / 2
        pupils_px = float(np.linalg.norm(np.subtract(*observed_px[list(IRIS_CENTRES)])))
        first = self._focal_px is None
        if self._focal_px is None:
            self._focal_px = self.settings.focal_px or _likely_focal(pupils_px, max(size_px))
        error = self._solve(observed_px[self._face.landmarks], pupils_px)
        assert self._state is not None
        status = self._calibrate(observed_px, step_s)
        code = self._world_code(blendshapes)
        turned = 1.0 - self._frontal_share()
        if turned > 0:
            code = _mixed(code, self._rest_at(code), turned)
            status = "side"
        if self._lost_s > self.settings.hold_s and not first:
            self._begin_blend()
        self._lost_s = 0.0
        return LiveFrame(self._show(code, step_s), status, error)

    # -- parts ---------------------------------------------------------------------------------

    def _solve(self, observed_px: np.ndarray, pupils_px: float) -> float:
        """Update the state; the mean miss over the pupils' distance."""
        settings, focal_px = self.settings, self._focal_px
        assert focal_px is not None
        fresh = self._state is None or self._lost_s > settings.hold_s
        if not fresh:
            assert self._state is not None
            self._state = solve_frame(
                self._face, self._prior, observed_px, focal_px, self._state,
                settings.steps, settings.near,
            )  # fmt: skip
        error = float("inf") if fresh else self._miss(observed_px, pupils_px)
        if error > BROKEN:
            start = first_state(self._face, observed_px, focal_px)
            self._state = solve_frame(
                self._face, self._prior, observed_px, focal_px, start, steps=8
            )
            error = self._miss(observed_px, pupils_px)
        return error

    def _miss(self, observed_px: np.ndarray, pupils_px: float) -> float:
        assert self._state is not None
        assert self._focal_px is not None
        off = observed_px - project_face(self._face, self._state, self._focal_px)
        # Turned away, pupils come near each other: the face's own size then says more.
        apart_px = max(pupils_px, 0.5 * PUPILS_M * self._focal_px / self._state.translation[2])
        return float(np.hypot(off[:, 0], off[:, 1]).mean()) / apart_px

    def _calibrate(self, observed_px: np.ndarray, step_s: float) -> Status:
        if self._calibrated:
            return "tracked"
        assert self._state is not None
        assert self._focal_px is not None
        self._seen_s += step_s
        if self._turn_rad() < CALIBRATION_TURN_RAD:
            stir = float(self._state.code[_STIRRING].sum())
            self._collected.append((observed_px[self._face.landmarks], stir))
        # A slow machine sees few frames in that time: a word of a second would be most of them.
        least = CALIBRATION_FRAMES if self.settings.resting else 3
        if self._seen_s < self.settings.calibration_s or len(self._collected) < least:
            return "calibrating"
        usable = [px for px, _ in self._collected]
        if self.settings.resting:
            # Who speaks or blinks meanwhile would have an open mouth or narrow eyes as neutral.
            # Against the third stillest: one frame, or two, may be measured wrongly.
            still = sorted(stir for _, stir in self._collected)[2]
            usable = [px for px, stir in self._collected if stir <= still + CALIBRATION_STIR]
        count = min(CALIBRATION_FRAMES, len(usable))
        spread = np.linspace(0, len(usable) - 1, count).round().astype(int)
        self._face = person_at_rest(
            self._mean_face,
            self._prior,
            [usable[index] for index in spread],
            self._focal_px,
            resting=self.settings.resting,
            identity=self._identity,
        )
        self._collected.clear()
        self._calibrated = True
        self._state = solve_frame(
            self._face, self._prior, observed_px[self._face.landmarks], self._focal_px,
            self._state, steps=6,
        )  # fmt: skip
        self._rest_place, self._bust = None, None  # the place and turn that count as none
        self._begin_blend()
        return "tracked"

    def _world_code(self, blendshapes: Mapping[str, float] | None) -> ExpressionCode:
        state = self._state
        assert state is not None
        coefficients = close_fully(state.code)
        if blendshapes is not None:
            coefficients = coefficients.copy()
            for name, value in blendshapes.items():
                if name in ARKIT_INDEX:
                    coefficients[ARKIT_INDEX[name]] = np.clip(value, 0.0, 1.0)
        if self._rest_place is None:
            self._rest_place = state.translation
        rotation = matrix_to_quaternion(torch.from_numpy(AXES @ state.rotation)).float()
        place = AXES @ (state.translation - self._rest_place)
        translation = torch.from_numpy(place).float()
        code = ExpressionCode(
            torch.from_numpy(coefficients).float(), rotation, translation, self._rest.neck_rotation
        )
        if self._bust is None:
            one = ExpressionCode(*(value[None] for value in code))
            self._bust = bust_reference(self._head, None, one)
        return code._replace(neck_rotation=neck_rotation(rotation, translation, self._bust))

    def _without_face(self, step_s: float) -> LiveFrame:
        known = self._lost_s != float("inf")
        if known:
            self._lost_s += step_s
        if known and self._lost_s > self.settings.hold_s:
            share = 1.0 - float(np.exp(-step_s / self.settings.fade_s))
            self._shown = _mixed(self._shown, self._rest, share)
            self._smoother.forget()
            self._blend_left_s = 0.0
        return LiveFrame(self._shown, "lost" if known else "searching")

    def _begin_blend(self) -> None:
        self._blend_from, self._blend_left_s = self._shown, self.settings.blend_s
        self._smoother.forget()

    def _show(self, code: ExpressionCode, step_s: float) -> ExpressionCode:
        smooth = self._smoother(code, step_s)
        if self._blend_left_s > 0:
            # The pause in which nothing was shown is no part of the way.
            self._blend_left_s = max(0.0, self._blend_left_s - min(step_s, LONGEST_STEP_S))
            old = self._blend_left_s / self.settings.blend_s
            smooth = _mixed(smooth, self._blend_from, smoothstep(old))
        self._shown = smooth
        return smooth

    def _turn_rad(self) -> float:
        """Between the face and the line to the camera."""
        assert self._state is not None
        return float(np.arccos(np.clip(self._state.view[2], -1.0, 1.0)))

    def _frontal_share(self) -> float:
        settings = self.settings
        beyond = (self._turn_rad() - settings.side_from_rad) / (
            settings.side_to_rad - settings.side_from_rad
        )
        return 1.0 - float(np.clip(beyond, 0.0, 1.0))

    def _rest_at(self, code: ExpressionCode) -> ExpressionCode:
        """No expression, in the pose of `code`: a face seen from the side still has a direction."""
        return code._replace(coefficients=self._rest.coefficients)


class LiveTracker:
    """Pictures to codes: the detector, the choice of a face, and a `LiveSolver`."""

    def __init__(
        self,
        head: HeadModel,
        settings: LiveSettings | None = None,
        *,
        identity: Tensor | None = None,
        face_index: int | None = None,
        model_path: str | Path | None = None,
    ) -> None:
        """`face_index`: which of several faces at the start, by size (0: the largest)."""
        self.solver = LiveSolver(head, settings, identity)
        self._follower = FaceFollower(face_index, model_path, self.solver.settings.keep_s)

    def __call__(self, image: NDArray[np.uint8], time_s: float) -> LiveFrame:
        """The next picture, u8 [H, W, 3] sRGB, and when it was taken."""
        face = self._follower(image, time_s)
        size_px = (image.shape[1], image.shape[0])
        landmarks = None if face is None else face.landmarks
        return self.solver(landmarks, size_px, time_s, self._follower.blendshapes)

    def recalibrate(self) -> None:
        """Learn the user's neutral from the frames that come now."""
        self.solver.recalibrate()

    def close(self) -> None:
        self._follower.close()

    def __enter__(self) -> LiveTracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FaceFollower:
    """One chosen face through live pictures; another is taken only when it was long gone."""

    def __init__(
        self, face_index: int | None, model_path: str | Path | None, keep_s: float
    ) -> None:
        self._face_index, self._model_path, self._keep_s = face_index, model_path, keep_s
        self._mesh = open_face_mesh(
            tracking=True, confidence=0.4, model_path=model_path, blendshapes=True
        )
        self._several = 1
        self._last: Face | None = None
        self._last_s = 0.0
        self.blendshapes: dict[str, float] | None = None

    def __call__(self, image: NDArray[np.uint8], time_s: float) -> Face | None:
        if self._last is None and self._face_index is not None:
            return self._begin(image, time_s)
        found = [Face(points) for points in self._mesh(image)]
        if not found:
            self.blendshapes = None
            return None
        if self._last is None or time_s - self._last_s > self._keep_s:
            number = int(np.argmax([face.height_px for face in found]))
        else:
            allowed = 1.0 + 2.0 * (time_s - self._last_s)  # a lost head may have moved on
            distances = [_apart(face, self._last) for face in found]
            number = int(np.argmin(distances))
            if distances[number] > allowed:
                self._mesh.forget()  # it follows someone else: let it look again
                self.blendshapes = None
                return None
        self._last, self._last_s = found[number], time_s
        scores = self._mesh.blendshapes
        self.blendshapes = scores[number] if scores else None
        return self._last

    def _begin(self, image: NDArray[np.uint8], time_s: float) -> Face | None:
        """Several faces are there to choose from: from now on as many are followed."""
        faces = detect(image, model_path=self._model_path)
        if not faces:
            return None
        self._last, self._last_s = choose_face(faces, "the picture", self._face_index), time_s
        if len(faces) > 1:
            self._mesh.close()
            self._mesh = open_face_mesh(
                tracking=True,
                max_faces=len(faces),
                confidence=0.4,
                model_path=self._model_path,
                blendshapes=True,
            )
        return self._last

    def close(self) -> None:
        self._mesh.close()


def live_prior(face: LinearFace, names: tuple[str, ...], settings: CodePriorSettings) -> CodePrior:
    """As the offline tracker's: a coefficient's size is what a frontal picture shows of it."""
    motion = face.derivative(np.zeros(face.expression.shape[2]))[:, :2]
    curvature = (face.weights[:, None, None] * motion**2).sum((0, 1)) / NOISE_M**2
    return CodePrior(names, curvature, settings)


# The detector keeps a line of white between closed lids: from the first value on a blink is
# stretched so that the second is shut.
BLINK_FROM, BLINK_SHUT = 0.5, 0.7
_BLINKS = [ARKIT_INDEX[name] for name in ("eyeBlinkLeft", "eyeBlinkRight")]
_STIRRING = [ARKIT_INDEX["jawOpen"], *_BLINKS]  # what moves in a face that is told to rest


def close_fully(code: Float[np.ndarray, " E"]) -> Float[np.ndarray, " E"]:
    """The code with blinks that are nearly shut shut."""
    code = code.copy()
    blink = code[_BLINKS]
    beyond = np.maximum(blink - BLINK_FROM, 0.0)
    stretch = (1 - BLINK_FROM) / (BLINK_SHUT - BLINK_FROM)
    code[_BLINKS] = np.minimum(np.minimum(blink, BLINK_FROM) + beyond * stretch, 1.0)
    return code


def _likely_focal(pupils_px: float, side_px: float) -> float:
    """px: as if the face were at the distance of most users."""
    focal_px = ASSUMED_DISTANCE_M * pupils_px / PUPILS_M
    return float(np.clip(focal_px, FOCAL_RANGE[0] * side_px, FOCAL_RANGE[1] * side_px))


def _apart(face: Face, other: Face) -> float:
    """Between two faces' centres, in heights of `other`, growing with a change of size."""
    apart_px = float(np.linalg.norm(face.landmarks[:, :2].mean(0) - other.landmarks[:, :2].mean(0)))
    return apart_px / other.height_px + abs(float(np.log(face.height_px / other.height_px)))


def _mixed(code: ExpressionCode, other: ExpressionCode, share: float) -> ExpressionCode:
    """`share` of the way from a code to another."""
    weight = torch.tensor([share])
    return ExpressionCode(
        torch.lerp(code.coefficients, other.coefficients, share),
        slerp(code.head_rotation, other.head_rotation, weight),
        torch.lerp(code.head_translation, other.head_translation, share),
        slerp(code.neck_rotation, other.neck_rotation, weight),
    )
