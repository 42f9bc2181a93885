"""The shoulders' rule: still in the reference, leaning with the head, not turning with it."""

import torch

from avatar3d.codes import ExpressionCode
from avatar3d.geometry import (
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_rotation_vector,
    rotation_vector_to_quaternion,
)
from avatar3d.heads import load_head
from recon.track.bust import bust_reference, neck_rotation

HEAD = load_head("default")


def _code(turn: list[float], translation: list[float]) -> ExpressionCode:
    return ExpressionCode.neutral(1)._replace(
        head_rotation=rotation_vector_to_quaternion(torch.tensor([turn])),
        head_translation=torch.tensor([translation]),
    )


def _bust(reference, code: ExpressionCode) -> torch.Tensor:
    """Rotation vector of the bust in the world."""
    neck = neck_rotation(code.head_rotation, code.head_translation, reference)
    bust = quaternion_multiply(code.head_rotation, quaternion_conjugate(neck))
    return quaternion_to_rotation_vector(bust)[0]


REFERENCE = bust_reference(HEAD, None, _code([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]))


def test_a_head_at_rest_has_an_upright_bust() -> None:
    assert _bust(REFERENCE, _code([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])).abs().max() < 1e-3
    turned = _code([0.0, 0.5, 0.0], [0.0, 0.0, 0.0])
    bust = _bust(bust_reference(HEAD, None, turned), turned)
    torch.testing.assert_close(bust, torch.tensor([0.0, 0.15, 0.0]), atol=1e-3, rtol=0)


def test_a_head_that_moves_aside_leans_the_torso() -> None:
    lean = _bust(REFERENCE, _code([0.0, 0.0, 0.0], [0.1, 0.0, 0.0]))
    # Towards +X is a negative turn about +Z; 10 cm at about 60 cm above the waist.
    assert -0.25 < lean[2] < -0.1
    assert lean[:2].abs().max() < 0.02
    forward = _bust(REFERENCE, _code([0.0, 0.0, 0.0], [0.0, 0.0, 0.1]))
    assert 0.1 < forward[0] < 0.25


def test_the_shoulders_stay_when_the_head_turns() -> None:
    bust = _bust(REFERENCE, _code([0.0, 0.6, 0.0], [0.0, 0.0, 0.0]))
    assert abs(bust[1]) < 0.01
    assert bust.abs().max() < 0.1  # it turns about its own middle: the skull's base swings out


def test_the_rule_is_differentiable_at_rest() -> None:
    code = _code([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    rotation = code.head_rotation.clone().requires_grad_()
    translation = code.head_translation.clone().requires_grad_()
    neck_rotation(rotation, translation, REFERENCE).sum().backward()
    assert rotation.grad is not None
    assert rotation.grad.isfinite().all()
    assert translation.grad is not None
    assert translation.grad.isfinite().all()
