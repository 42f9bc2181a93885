"""The live solver against the head it models; what a user does that a solver must survive."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.geometry import (
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_rotation_vector,
    rotation_vector_to_quaternion,
)
from avatar3d.heads import load_head
from recon.capture.landmarks import Face
from recon.track import kernels, live
from recon.track.landmark_shape import landmark_shape
from recon.track.linear_face import ALL_LANDMARKS, LIVE_LANDMARKS, linear_face
from recon.track.live import FaceFollower, LiveSettings, LiveSolver, close_fully
from recon.track.live_export import main as export_model
from recon.track.live_solver import box_minimum

HEAD = load_head("default")
SIZE_PX, FOCAL_PX, DISTANCE_M = 640, 900.0, 0.65
FPS = 30.0


def seen(codes: ExpressionCode, seed: int = 1, noise_px: float = 0.2) -> np.ndarray:
    """Landmarks [F, 478, 2] of a random person in px, as a webcam sees the model itself."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.6, HEAD.identity_count)
    face = linear_face(HEAD, ALL_LANDMARKS).of_person(weights)
    frames = []
    from avatar3d.geometry import quaternion_to_matrix

    for index in range(len(codes.coefficients)):
        turn = (
            np.diag([1.0, -1.0, -1.0])
            @ quaternion_to_matrix(codes.head_rotation[index].double()).numpy()
        )
        place = codes.head_translation[index].double().numpy() * [1, -1, -1] + [0, 0, DISTANCE_M]
        view = -place @ turn / np.linalg.norm(place)
        at = face.points(codes.coefficients[index].double().numpy(), view) @ turn.T + place
        px = FOCAL_PX * at[:, :2] / at[:, 2:] + SIZE_PX / 2
        frames.append(px + rng.normal(0, noise_px, px.shape))
    return np.stack(frames)


def follow(solver: LiveSolver, landmarks, start_s: float = 0.0) -> list[live.LiveFrame]:
    return [
        solver(px, (SIZE_PX, SIZE_PX), start_s + index / FPS) for index, px in enumerate(landmarks)
    ]


def calibrated(**changes: object) -> LiveSolver:
    """A solver that has seen its user at rest for half a second; its clock stands at 1 s."""
    solver = LiveSolver(HEAD, LiveSettings(calibration_s=0.4, focal_px=FOCAL_PX, **changes))  # type: ignore[arg-type]
    frames = follow(solver, seen(ExpressionCode.neutral(16)))
    assert frames[0].status == "calibrating"
    assert frames[-1].status == "tracked"
    return solver


def showing(frames: int, **values: float) -> ExpressionCode:
    codes = ExpressionCode.neutral(frames)
    for name, value in values.items():
        codes.coefficients[:, ARKIT_INDEX[name]] = value
    return codes


def test_the_polynomial_is_near_the_head() -> None:
    shape, face = landmark_shape(HEAD), linear_face(HEAD, ALL_LANDMARKS, corrected=False)
    front = np.array([0.0, 0.0, 1.0])
    rng = np.random.default_rng(0)
    for _ in range(20):
        code = np.where(rng.random(52) < 0.1, rng.random(52), 0.0)
        off = face.points(code, front) - shape.points(code[None])[0]
        assert np.linalg.norm(off, axis=1).max() < 4e-3  # a jaw and an eye that turn together
    code = rng.random(52)
    step = np.zeros(52)
    for index in (0, 3, 17, 30):
        step[:] = 0
        step[index] = 1e-6
        slope = (face.points(code + step, front) - face.points(code - step, front)) / 2e-6
        np.testing.assert_allclose(face.derivative(code)[..., index], slope, atol=1e-9)


def test_the_live_face_is_a_part_of_the_whole() -> None:
    part, whole = linear_face(HEAD, LIVE_LANDMARKS), linear_face(HEAD, ALL_LANDMARKS)
    rows = list(LIVE_LANDMARKS)
    np.testing.assert_array_equal(part.expression, whole.expression[rows])
    np.testing.assert_array_equal(part.landmarks[part.gaps], whole.landmarks[whole.gaps])
    assert abs(part.weights.sum() - whole.weights.sum()) < 1e-9


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_bounded_step_is_the_compiled_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(14, 12))
    hessian, gradient = factor.T @ factor + 0.1 * np.eye(12), rng.normal(size=12)
    lower, upper = -rng.random(12), rng.random(12)
    lower[:2], upper[:2] = -np.inf, np.inf
    slow = kernels.box_minimum(hessian, gradient, lower, upper, 50)
    np.testing.assert_allclose(box_minimum(hessian, gradient, lower, upper), slow, atol=0.05)


@pytest.mark.parametrize(
    "names",
    [
        ("mouthSmileLeft", "mouthSmileRight"),
        ("jawOpen",),
        ("eyeBlinkLeft", "eyeBlinkRight"),
        ("eyeBlinkLeft",),
        ("mouthPucker",),
        ("browOuterUpLeft", "browOuterUpRight"),
        ("eyeLookInLeft", "eyeLookOutRight"),
        ("eyeLookUpLeft", "eyeLookUpRight"),
    ],
)
def test_an_expression_is_called_by_its_name(names: tuple[str, ...]) -> None:
    solver = calibrated()
    codes = showing(10, **dict.fromkeys(names, 0.8))
    code = follow(solver, seen(codes), 1.0)[-1].code.coefficients
    strongest = code.argsort(descending=True)[: len(names)].tolist()
    assert {HEAD.expression_names[index] for index in strongest} == set(names)
    for name in names:
        assert abs(code[ARKIT_INDEX[name]] - 0.8) < 0.3


@pytest.mark.parametrize("names", [("jawOpen",), ("eyeBlinkLeft", "eyeBlinkRight")])
def test_who_speaks_or_blinks_while_the_face_is_learned_is_at_rest_in_the_other_frames(
    names: tuple[str, ...],
) -> None:
    """Ten of sixteen frames are not at rest: their mean would be a neutral half open, half shut."""
    solver = LiveSolver(HEAD, LiveSettings(calibration_s=0.4, focal_px=FOCAL_PX))
    codes = ExpressionCode.neutral(16)
    for name in names:
        codes.coefficients[2:12, ARKIT_INDEX[name]] = 0.7
    assert follow(solver, seen(codes))[-1].status == "tracked"
    rests = follow(solver, seen(showing(10)), 1.0)[-1].code.coefficients
    moves = follow(solver, seen(showing(10, **dict.fromkeys(names, 0.7))), 2.0)
    for name in names:
        assert rests[ARKIT_INDEX[name]] < 0.1
        assert moves[-1].code.coefficients[ARKIT_INDEX[name]] > 0.5


def test_who_speaks_before_a_slow_camera_is_at_rest_in_the_frames_after() -> None:
    """Two frames a second are five in the time to learn; three of them hold an open mouth."""
    solver = LiveSolver(HEAD, LiveSettings(focal_px=FOCAL_PX))
    codes = ExpressionCode.neutral(14)
    codes.coefficients[:3, ARKIT_INDEX["jawOpen"]] = 0.7
    landmarks = seen(codes)
    shown = [solver(px, (SIZE_PX, SIZE_PX), index / 2) for index, px in enumerate(landmarks)]
    assert shown[-1].status == "tracked"
    moves = follow(solver, seen(showing(30, jawOpen=0.7)), 8.0)
    assert moves[-1].code.coefficients[ARKIT_INDEX["jawOpen"]] > 0.5


def test_one_frame_stiller_than_the_user_ever_is_does_not_become_the_neutral() -> None:
    """Whose mouth is always a little open is at rest so; a single other frame is a wrong one."""
    solver = LiveSolver(HEAD, LiveSettings(calibration_s=0.4, focal_px=FOCAL_PX))
    codes = showing(16, jawOpen=0.6)
    codes.coefficients[7] = 0.0
    assert follow(solver, seen(codes))[-1].status == "tracked"
    rests = follow(solver, seen(showing(10, jawOpen=0.6)), 1.0)[-1].code.coefficients
    assert rests[ARKIT_INDEX["jawOpen"]] < 0.1


def test_a_turned_head_turns_as_much() -> None:
    solver = calibrated()
    for yaw in (-0.7, 0.4, 0.7):
        codes = ExpressionCode.neutral(8)
        turn = rotation_vector_to_quaternion(torch.tensor([0.1, yaw, -0.1]))
        codes = codes._replace(head_rotation=turn.expand(8, 4))
        found = follow(solver, seen(codes), 10.0 + yaw)[-1].code
        off = quaternion_multiply(quaternion_conjugate(turn), found.head_rotation)
        assert quaternion_to_rotation_vector(off).norm() < np.radians(2.0)


def test_a_still_face_is_still_and_a_blink_is_whole() -> None:
    solver = calibrated()
    still = follow(solver, seen(showing(60, mouthSmileLeft=0.4, mouthSmileRight=0.4)), 1.0)
    values = torch.stack([frame.code.coefficients for frame in still[20:]])
    assert float((values - values.mean(0)).pow(2).mean(0).sqrt().max()) < 0.01
    both = ("eyeBlinkLeft", "eyeBlinkRight")
    codes = showing(12)
    for index, amount in ((4, 0.5), (5, 1.0), (6, 0.9), (7, 0.4)):  # 0.1 s, as people blink
        codes.coefficients[index, [ARKIT_INDEX[name] for name in both]] = amount
    blink = [frame.code.coefficients[0] for frame in follow(solver, seen(codes), 4.0)]
    assert max(blink) > 0.9
    assert int(np.argmax(blink)) in (5, 6)
    assert blink[-1] < 0.15


def test_a_face_that_is_lost_fades_and_comes_back_without_a_jump() -> None:
    solver = calibrated()
    smile = seen(showing(20, mouthSmileLeft=0.7, mouthSmileRight=0.7, jawOpen=0.5))
    before = follow(solver, smile, 1.0)[-1].code
    gone = follow(solver, [None] * 60, 1.0 + 20 / FPS)
    assert {frame.status for frame in gone} == {"lost"}
    torch.testing.assert_close(gone[1].code.coefficients, before.coefficients)  # held
    assert gone[-1].code.coefficients.max() < 0.1  # at rest
    found = follow(solver, smile, 4.0)
    shown = torch.stack([frame.code.coefficients for frame in [gone[-1], *found]])
    assert float(shown.diff(dim=0).abs().max()) < 0.25  # 0.7 comes in a quarter of a second
    assert abs(float(shown[-1, ARKIT_INDEX["jawOpen"]]) - 0.5) < 0.15


def test_a_side_view_fades_to_rest_and_is_flagged() -> None:
    solver = calibrated()
    codes = showing(20, jawOpen=0.8)
    turn = rotation_vector_to_quaternion(torch.tensor([0.0, 1.3, 0.0]))
    frames = follow(solver, seen(codes._replace(head_rotation=turn.expand(20, 4))), 1.0)
    assert frames[-1].status == "side"
    assert frames[-1].code.coefficients.max() < 0.05


def test_the_neutral_is_the_users() -> None:
    """Someone whose face at rest looks like a frown is not frowning."""
    rest = showing(16, browDownLeft=0.5, browDownRight=0.5, mouthFrownLeft=0.4, mouthFrownRight=0.4)
    solver = LiveSolver(HEAD, LiveSettings(calibration_s=0.4, focal_px=FOCAL_PX))
    frames = follow(solver, [*seen(rest), *seen(rest)])
    assert frames[2].code.coefficients.max() > 0.15
    assert frames[-1].code.coefficients.max() < 0.1
    assert frames[-1].landmark_error < 0.5 * frames[2].landmark_error


def test_the_place_at_rest_counts_as_none() -> None:
    """Someone who sits at the picture's edge moves no avatar out of its own picture."""
    rest = ExpressionCode.neutral(40)
    rest.head_translation[:] = torch.tensor([0.12, 0.1, -0.05])
    moved = ExpressionCode.neutral(15)
    moved.head_translation[:] = torch.tensor([0.15, 0.08, -0.05])
    solver = LiveSolver(HEAD, LiveSettings(calibration_s=0.4, focal_px=FOCAL_PX))
    frames = follow(solver, [*seen(rest), *seen(moved)])
    assert frames[39].code.head_translation.norm() < 4e-3
    step = frames[-1].code.head_translation - frames[39].code.head_translation
    np.testing.assert_allclose(step.numpy()[:2], [0.03, -0.02], atol=4e-3)


def test_a_face_at_the_edge_of_the_picture_is_followed() -> None:
    """Half of it lies outside, where the detector continues it: the code is the same."""
    rest, smile = ExpressionCode.neutral(16), showing(12, mouthSmileLeft=0.8, mouthSmileRight=0.8)
    rest.head_translation[:, 0] = smile.head_translation[:, 0] = 0.23
    landmarks = seen(smile)
    assert 0.3 < (landmarks[0, :, 0] > SIZE_PX).mean() < 0.7
    solver = LiveSolver(HEAD, LiveSettings(calibration_s=0.4, focal_px=FOCAL_PX))
    frames = follow(solver, [*seen(rest), *landmarks])
    assert frames[-1].status == "tracked"
    assert float(frames[-1].code.coefficients[ARKIT_INDEX["mouthSmileLeft"]]) > 0.5


def test_blinks_close_fully() -> None:
    code = np.zeros(52)
    values = np.linspace(0, 1, 50)
    shut = []
    for code[0] in values:
        shut.append(close_fully(code)[0])
    assert shut[-1] == 1.0
    assert (np.diff(shut) >= 0).all()
    np.testing.assert_allclose(np.array(shut)[values <= 0.5], values[values <= 0.5])


def test_any_landmarks_give_a_code() -> None:
    """Whatever a detector says, the code stays finite and in its range."""
    rng = np.random.default_rng(0)
    solver = calibrated()
    strange = [
        rng.uniform(0, SIZE_PX, (478, 2)),
        np.full((478, 2), 5.0),
        np.full((478, 2), np.nan),
        1e6 * rng.normal(size=(478, 2)),
        seen(showing(1))[0],
    ]
    for frame in follow(solver, strange, 1.0):
        assert all(value.isfinite().all() for value in frame.code)
        assert 0 <= frame.code.coefficients.min() <= frame.code.coefficients.max() <= 1


class _Mesh:
    """A detector that finds what it is told."""

    def __init__(self) -> None:
        self.faces: list[np.ndarray] = []
        self.blendshapes: list[dict[str, float]] = []
        self.forgot = 0

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        return self.faces

    def forget(self) -> None:
        self.forgot += 1

    def close(self) -> None: ...


def _face_at(x: float, height: float) -> np.ndarray:
    points = seen(showing(1), noise_px=0)[0]
    points = (points - points.mean(0)) * height / Face(points).height_px + [x, 200.0]
    return np.column_stack([points, np.zeros(478)]).astype(np.float32)


def test_the_chosen_face_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = _Mesh()
    monkeypatch.setattr(live, "open_face_mesh", lambda **_: mesh)
    follower = FaceFollower(None, None, keep_s=3.0)
    picture = np.zeros((400, 640, 3), np.uint8)
    mesh.faces = [_face_at(150, 120)]
    assert follower(picture, 0.0) is not None
    mesh.faces = [_face_at(480, 200), _face_at(155, 118)]  # another one, larger and first
    chosen = follower(picture, 0.1)
    assert chosen is not None
    assert abs(chosen.landmarks[:, 0].mean() - 155) < 1
    mesh.faces = [_face_at(480, 200)]  # the chosen one is gone for a moment
    assert follower(picture, 0.2) is None
    assert mesh.forgot == 1
    mesh.faces = [_face_at(160, 120)]
    assert follower(picture, 0.6) is not None
    mesh.faces = [_face_at(480, 200)]  # and then for good
    assert follower(picture, 6.0) is not None


def test_blendshapes_of_the_detector_are_taken_where_it_tells_them() -> None:
    solver = calibrated()
    code = solver(
        seen(showing(1))[0], (SIZE_PX, SIZE_PX), 1.0, {"cheekPuff": 0.6, "_neutral": 1.0}
    ).code
    for index in range(8):
        code = solver(
            seen(showing(1))[0], (SIZE_PX, SIZE_PX), 1.1 + index / 30, {"cheekPuff": 0.6}
        ).code
    assert code.coefficients[ARKIT_INDEX["cheekPuff"]] > 0.5


def test_the_exported_model_and_vectors(tmp_path: Path) -> None:
    export_model(tmp_path / "model.json", vectors=tmp_path / "vectors.json")
    model = json.loads((tmp_path / "model.json").read_text())
    face = linear_face(HEAD)
    for name in ("neutral", "expression", "squares", "turns", "identity"):
        array = np.reshape(model[name]["values"], model[name]["shape"])
        np.testing.assert_allclose(array, getattr(face, name), atol=1e-6)
    assert (tmp_path / "model.json").stat().st_size < 1e6
    vectors = json.loads((tmp_path / "vectors.json").read_text())
    solver = LiveSolver(HEAD, LiveSettings(calibration_s=vectors["calibration_s"]))
    for row in vectors["frames"][:30]:
        px = np.reshape(row["landmarks_px"], (478, 2))
        shown = solver(px, tuple(vectors["size_px"]), row["time_s"])
        np.testing.assert_allclose(shown.code.coefficients.numpy(), row["coefficients"], atol=2e-4)
