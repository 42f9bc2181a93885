"""Expression codes: ARKit's names in Apple's order, batches, names that do not exist."""

from __future__ import annotations

import pytest
import torch

from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError


def test_the_52_names_in_apples_order():
    assert len(ARKIT_NAMES) == len(set(ARKIT_NAMES)) == 52
    # Marks along Live Link Face's columns.
    marks = {"eyeBlinkLeft": 0, "eyeBlinkRight": 7, "jawOpen": 17, "mouthClose": 18,
             "browDownLeft": 41, "browInnerUp": 43, "cheekPuff": 46, "tongueOut": 51}  # fmt: skip
    assert {name: ARKIT_INDEX[name] for name in marks} == marks
    for name in ARKIT_NAMES:
        if name.endswith("Left"):
            assert name.removesuffix("Left") + "Right" in ARKIT_INDEX


def test_neutral_is_no_motion_in_any_batch():
    for batch in ((), (3,), (2, 3)):
        code = ExpressionCode.neutral(*batch, coefficient_count=60)
        assert code.coefficients.shape == (*batch, 60)
        assert not code.coefficients.any()
        assert not code.head_translation.any()
        for rotation in (code.head_rotation, code.neck_rotation):
            assert rotation.shape == (*batch, 4)
            assert (rotation == torch.tensor([1.0, 0, 0, 0])).all()
    assert code.head_rotation is not code.neck_rotation


def test_rotations_of_neutral_do_not_share_memory():
    code = ExpressionCode.neutral()
    code.head_rotation[1] = 1.0
    assert code.neck_rotation[1] == 0


def test_coefficients_by_name():
    code = ExpressionCode.from_named(jawOpen=0.5, tongueOut=1.0)
    assert code.coefficients[17] == 0.5
    assert code.coefficients[51] == 1.0
    assert code.coefficients.count_nonzero() == 2
    with pytest.raises(
        UserError, match=r"no coefficient named 'smileLeft'; expected .*mouthSmileLeft"
    ):
        ExpressionCode.from_named(smileLeft=1.0)
    with pytest.raises(UserError, match=r"named 'xyz'; expected one of ARKit's 52"):
        ExpressionCode.from_named(xyz=1.0)


def test_stack_and_at_are_inverse():
    codes = [ExpressionCode.from_named(jawOpen=value) for value in (0.1, 0.2, 0.3)]
    stacked = ExpressionCode.stack(codes)
    assert stacked.coefficients.shape == (3, 52)
    for index, code in enumerate(codes):
        for a, b in zip(stacked.at(index), code):
            assert torch.equal(a, b)
    assert stacked.at(slice(1, 3)).coefficients[:, 17].tolist() == pytest.approx([0.2, 0.3])
