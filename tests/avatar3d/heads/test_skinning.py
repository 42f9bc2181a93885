"""How a head moves: rigid poses, the neck, the eyes and the jaw, on every head there is."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.geometry import (
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_matrix,
    rotate,
    rotation_vector_to_quaternion,
)
from avatar3d.heads import HeadModel, load_head
from avatar3d.heads.model import PART_INDEX
from avatar3d.heads.skinning import HEAD, JAW, JOINT_NAMES, LEFT_EYE, NECK, RIGHT_EYE, ROOT
from tests.support.data import data_file
from tests.support.rotations import quaternions, rotation_vectors, vectors

MM = 1e-3
FEW = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", params=["default", "ict"])
def head(request: pytest.FixtureRequest) -> HeadModel:
    if request.param == "default":
        return load_head("default")
    return load_head(data_file("mesh/ict/ict_facekit_packed.npz"))


def close(a: Tensor, b: Tensor, atol: float = 2e-6) -> None:
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


def wholly(head: HeadModel, joint: int) -> Tensor:
    """Vertices that follow one joint alone."""
    return head.skin_weights[:, joint] > 1 - 1e-6


def centre(head: HeadModel, part: str, vertices: Tensor) -> Tensor:
    return vertices[head.triangles[head.triangle_part == PART_INDEX[part]].unique()].mean(0)


def pupil(head: HeadModel, side: str, **coefficients: float) -> Tensor:
    index = {"Right": 468, "Left": 473}[side]
    return head.landmarks(None, ExpressionCode.from_named(**coefficients))[index]


def test_a_neutral_code_is_the_neutral_head(head: HeadModel):
    close(head.vertices(None, ExpressionCode.neutral()), head.neutral)
    assert len(JOINT_NAMES) == head.joints.shape[0]


@FEW
@given(turn=quaternions(torch.float32), shift=vectors(1.0))
def test_a_rigid_code_moves_everything_rigidly(head: HeadModel, turn: Tensor, shift: Tensor):
    shift = shift.to(torch.float32)
    still = ExpressionCode.from_named(jawOpen=0.6, eyeLookUpLeft=0.5, mouthSmileLeft=0.3)
    moved = still._replace(head_rotation=turn, head_translation=shift)
    rotation = quaternion_to_matrix(turn)
    for points in (head.vertices, head.landmarks):
        close(points(None, moved), rotate(rotation, points(None, still)) + shift)


@FEW
@given(
    turn=quaternions(torch.float32),
    neck=rotation_vectors(0.8, torch.float32),
)
def test_the_neck_leaves_the_skull_in_place_and_turns_the_bust(
    head: HeadModel, turn: Tensor, neck: Tensor
):
    neck_rotation = rotation_vector_to_quaternion(neck)
    straight = ExpressionCode.neutral()._replace(head_rotation=turn)
    bent = straight._replace(neck_rotation=neck_rotation)
    before, after = head.vertices(None, straight), head.vertices(None, bent)
    skull = wholly(head, HEAD) | wholly(head, LEFT_EYE) | wholly(head, RIGHT_EYE)
    skull |= wholly(head, JAW)
    assert skull.sum() > 1000
    close(after[skull], before[skull])
    # The bust stands at head_rotation * neck_rotation^-1.
    bust = wholly(head, ROOT)
    standing = quaternion_multiply(turn, quaternion_conjugate(neck_rotation))
    rotation = quaternion_to_matrix(standing)
    rest = head.neutral[bust] - head.neutral[bust].mean(0)
    close(after[bust] - after[bust].mean(0), rotate(rotation, rest), 5e-6)


def test_a_nod_bends_the_neck_and_holds_it_together(head: HeadModel):
    """The bust turns about the neck, not about the origin: its top moves little."""
    nod = rotation_vector_to_quaternion(torch.tensor([0.4, 0.0, 0.0]))
    code = ExpressionCode.neutral()._replace(neck_rotation=nod)
    moved = head.vertices(None, code)
    neck = (head.neutral[:, 1] - head.joints[NECK, 1]).abs() < 0.01
    assert (moved - head.neutral)[neck].norm(dim=1).max() < 0.08
    edges = head.triangles[:, [0, 1]]
    before = (head.neutral[edges[:, 0]] - head.neutral[edges[:, 1]]).norm(dim=1)
    after = (moved[edges[:, 0]] - moved[edges[:, 1]]).norm(dim=1)
    assert (after < 3 * before + 1 * MM).all()


@pytest.mark.parametrize(
    ("name", "side", "axis", "sign"),
    [
        ("eyeLookOutLeft", "Left", 0, 1),
        ("eyeLookInLeft", "Left", 0, -1),
        ("eyeLookOutRight", "Right", 0, -1),
        ("eyeLookInRight", "Right", 0, 1),
        ("eyeLookUpLeft", "Left", 1, 1),
        ("eyeLookUpRight", "Right", 1, 1),
        ("eyeLookDownLeft", "Left", 1, -1),
        ("eyeLookDownRight", "Right", 1, -1),
    ],
)
def test_eyes_turn_where_they_look(head: HeadModel, name: str, side: str, axis: int, sign: int):
    moved = pupil(head, side, **{name: 1.0}) - pupil(head, side)
    assert sign * moved[axis] > 3 * MM
    assert moved[axis].abs() > 2 * moved[1 - axis].abs()
    other = {"Left": "Right", "Right": "Left"}[side]
    close(pupil(head, other, **{name: 1.0}), pupil(head, other))


def test_eyes_turn_about_their_own_centres(head: HeadModel):
    looking = head.vertices(None, ExpressionCode.from_named(eyeLookOutLeft=1.0, eyeLookUpLeft=0.5))
    eye = wholly(head, LEFT_EYE)
    distance = (head.neutral[eye] - head.joints[LEFT_EYE]).norm(dim=1)
    close((looking[eye] - head.joints[LEFT_EYE]).norm(dim=1), distance)


def test_the_jaw_opens_down_and_the_skull_stays(head: HeadModel):
    opened = head.vertices(None, ExpressionCode.from_named(jawOpen=1.0))
    lower = centre(head, "lower_teeth", opened) - centre(head, "lower_teeth", head.neutral)
    upper = centre(head, "upper_teeth", opened) - centre(head, "upper_teeth", head.neutral)
    assert lower[1] < -8 * MM
    assert upper.norm() < 1 * MM
    eye = centre(head, "left_eyeball", opened) - centre(head, "left_eyeball", head.neutral)
    assert eye.norm() < 0.1 * MM
    for name, sign in (("jawLeft", 1), ("jawRight", -1)):
        moved = head.vertices(None, ExpressionCode.from_named(**{name: 1.0}))
        aside = centre(head, "lower_teeth", moved) - centre(head, "lower_teeth", head.neutral)
        assert sign * aside[0] > 1 * MM


def test_a_head_coordinates_origin_is_between_the_eyes(head: HeadModel):
    eyes = head.joints[[LEFT_EYE, RIGHT_EYE]]
    close(eyes.mean(0), torch.zeros(3), 0.5 * MM)
    assert 0.028 < eyes[0, 0] < 0.035
    assert head.neutral[head.triangles[head.landmark_triangles[1]]].mean(0)[2] > 0.01  # the nose


def test_subsets_are_posed_as_the_whole(head: HeadModel):
    identity = torch.randn(head.identity_count, generator=torch.Generator().manual_seed(0))
    chosen = torch.tensor([5, 900, 17, len(head.neutral) - 1])
    code = ExpressionCode.from_named(jawOpen=0.5)._replace(
        neck_rotation=rotation_vector_to_quaternion(torch.tensor([0.1, 0.2, 0.0]))
    )
    whole = head.vertices(identity, code)
    close(head.rig(identity, chosen).pose(code), whole[chosen])


def test_fewer_coefficients_or_identity_weights_count_as_zero(head: HeadModel):
    code = ExpressionCode.neutral(coefficient_count=18)
    code.coefficients[ARKIT_INDEX["jawOpen"]] = 0.7
    close(head.vertices(None, code), head.vertices(None, ExpressionCode.from_named(jawOpen=0.7)))
    some = torch.tensor([1.0, -0.5])
    padded = torch.zeros(head.identity_count)
    padded[:2] = some
    close(head.vertices(some, code), head.vertices(padded, code))


def test_gradients_are_those_of_finite_differences(head: HeadModel):
    """In float64 on a few vertices: coefficients, pose, translation and neck."""
    rig = head.rig(None, torch.arange(0, len(head.neutral), len(head.neutral) // 7))
    double = type(rig)(
        **{
            name: value.double() if value.is_floating_point() else value
            for name, value in vars(rig).items()
            if value is not None
        }
    )
    code = ExpressionCode.from_named(jawOpen=0.5, eyeLookOutLeft=0.4)
    turns = torch.tensor([[0.2, -0.4, 0.1], [0.1, 0.2, -0.1]], dtype=torch.float64)
    rotation, neck = rotation_vector_to_quaternion(turns)
    inputs = (code.coefficients.double(), rotation, code.head_translation.double(), neck)

    def posed(*values: Tensor) -> Tensor:
        return double.pose(ExpressionCode(*values))

    assert torch.autograd.gradcheck(
        posed, tuple(value.clone().requires_grad_() for value in inputs)
    )
    assert math.isfinite(float(posed(*inputs).sum()))
