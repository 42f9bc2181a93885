"""What expressions do together: products of coefficients act on shapes, the same on every path."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, ExpressionCode
from avatar3d.heads import HeadModel, load_head
from avatar3d.heads.build import landmarks as lm
from avatar3d.heads.build.combinations import combinations
from avatar3d.heads.skinning import shape_weights
from recon.track.observation import GAPS

MM = 1e-3
LEFT_LIDS = np.array(GAPS[7:14])
CLOSE = ARKIT_INDEX["mouthClose"]
LOOKS = ("eyeLookDownLeft", "eyeLookUpLeft", "eyeWideLeft", "eyeSquintLeft")


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("default")


def landmarks(head: HeadModel, **coefficients: float) -> np.ndarray:
    vertices = head.vertices(None, ExpressionCode.from_named(**coefficients)).double().numpy()
    corners = vertices[head.triangles[head.landmark_triangles].numpy()]
    return np.einsum("lk,lkc->lc", head.landmark_barycentrics.double().numpy(), corners)


def lid_opening(head: HeadModel, **coefficients: float) -> np.ndarray:
    """Height of the upper over the lower lid's border along the left eye, metres."""
    points = landmarks(head, **coefficients)
    upper, lower = points[LEFT_LIDS[:, 0]], points[LEFT_LIDS[:, 1]]
    along = np.argsort(upper[:, 0])
    return np.interp(lower[:, 0], upper[along, 0], upper[along, 1]) - lower[:, 1]


@pytest.mark.parametrize("other", LOOKS)
@pytest.mark.parametrize("amount", [0.3, 0.6, 1.0])
def test_a_blink_shuts_the_eye_wherever_it_looks(head: HeadModel, other: str, amount: float):
    alone = lid_opening(head, eyeBlinkLeft=1.0)
    together = lid_opening(head, **{"eyeBlinkLeft": 1.0, other: amount})
    assert np.abs(alone).max() < 0.5 * MM
    assert np.abs(together - alone).max() < 0.35 * MM


def test_lids_do_not_pass_each_other_on_their_way(head: HeadModel):
    steps = (0.0, 0.35, 0.7, 1.0)
    for blink in steps:
        for down in steps:
            for squint in steps:
                code = {"eyeBlinkLeft": blink, "eyeLookDownLeft": down, "eyeSquintLeft": squint}
                assert lid_opening(head, **code).min() > -0.6 * MM, code


def test_a_pucker_with_a_funnel_or_an_open_jaw_leaves_a_mouth_and_no_slit(head: HeadModel):
    for code in ({"mouthFunnel": 1.0}, {"jawOpen": 1.0}, {"mouthFunnel": 1.0, "jawOpen": 0.4}):
        points = landmarks(head, mouthPucker=1.0, **code)[lm.LIP_INNER]  # one half
        assert points[:, 0].max() > 8.5 * MM, code


@pytest.mark.parametrize("jaw", [0.3, 0.7, 1.0])
def test_a_pucker_rounds_an_open_mouth_and_leaves_closed_lips_closed(head: HeadModel, jaw: float):
    points = landmarks(head, mouthPucker=1.0, jawOpen=jaw)
    height = points[13, 1] - points[14, 1]
    assert 3 * MM < height < 1.2 * 2 * points[lm.LIP_INNER, 0].max()
    code = ExpressionCode.from_named(mouthPucker=1.0, jawOpen=jaw, mouthClose=jaw).coefficients
    weights = shape_weights(code, *(torch.from_numpy(value) for value in combinations()))
    torch.testing.assert_close(weights[CLOSE], code[CLOSE], atol=1e-6, rtol=0)


def test_no_weight_of_a_shape_turns_negative():
    """Every coefficient at an end of 0..1 is the worst case of a product."""
    index, amounts = (torch.from_numpy(value) for value in combinations())
    taking = sorted(set(index.flatten().tolist()))
    ends = torch.randint(0, 2, (20_000, len(taking)), generator=torch.Generator().manual_seed(0))
    codes = torch.zeros(len(ends), len(ARKIT_NAMES), dtype=torch.float64)
    codes[:, taking] = ends.double()
    codes = torch.cat([codes, torch.ones(1, len(ARKIT_NAMES), dtype=torch.float64)])
    assert shape_weights(codes, index, amounts).min() >= -1e-12


def test_both_sides_combine_alike():
    index, amounts = combinations()

    def other(i: int) -> int:
        name = ARKIT_NAMES[i]
        if name.endswith("Left"):
            return ARKIT_INDEX[name[:-4] + "Right"]
        return ARKIT_INDEX[name[:-5] + "Left"] if name.endswith("Right") else i

    rows = {(*row, amount) for row, amount in zip(index.tolist(), amounts.tolist())}
    assert rows == {(other(i), other(j), other(k), amount) for i, j, k, amount in rows}


def test_one_shape_alone_is_its_shape(head: HeadModel):
    plain = replace(head, combinations=None, combination_amounts=None).rig()
    every = 0.8 * torch.eye(len(ARKIT_NAMES))
    assert torch.equal(head.rig().deform(every), plain.deform(every))


def test_gradients_of_the_products():
    index, amounts = (torch.from_numpy(value) for value in combinations())
    code = torch.rand(2, 52, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: shape_weights(c, index, amounts), (code,))


def test_coefficients_that_are_not_given_are_zero(head: HeadModel):
    short = torch.ones(30)
    filled = torch.cat([short, torch.zeros(22)])
    rig = head.rig()
    torch.testing.assert_close(rig.deform(short), rig.deform(filled), atol=1e-7, rtol=0)
