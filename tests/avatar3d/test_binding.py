"""Anchors on a moving head: frames stand upright on the skin and turn with it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avatar3d.binding import Binding, Frames, SparseMap
from avatar3d.codes import ARKIT_INDEX, ExpressionCode
from avatar3d.geometry import quaternion_multiply, quaternion_to_matrix, rotate
from avatar3d.heads import load_head
from avatar3d.template import SKIN, make_template
from tests.support.rotations import quaternions, vectors

COUNT = 4000


@pytest.fixture(scope="module")
def binding() -> Binding:
    head = load_head("default")
    identity = 0.5 * torch.randn(head.identity_count, generator=torch.Generator().manual_seed(3))
    return Binding(make_template(head, COUNT), identity)


coefficients = st.dictionaries(st.sampled_from(sorted(ARKIT_INDEX)), st.floats(0, 1), max_size=5)


def close(a: Tensor, b: Tensor, atol: float) -> None:
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@settings(max_examples=25)
@given(named=coefficients)
def test_frames_are_orthonormal_and_right_handed(binding: Binding, named: dict[str, float]):
    frames = binding.frames(ExpressionCode.from_named(**named))
    product = frames.rotations.transpose(-1, -2) @ frames.rotations
    close(product, torch.eye(3).expand_as(product), 2e-5)
    close(torch.det(frames.rotations), torch.ones(COUNT), 2e-5)
    close(quaternion_to_matrix(frames.quaternions), frames.rotations, 2e-5)
    assert all(value.isfinite().all() for value in frames)


@settings(max_examples=25)
@given(named=coefficients, turn=quaternions(torch.float32), shift=vectors())
def test_frames_move_rigidly_with_the_head(
    binding: Binding, named: dict[str, float], turn: Tensor, shift: Tensor
):
    still = ExpressionCode.from_named(**named)
    before = binding.frames(still)
    after = binding.frames(
        still._replace(head_rotation=turn, head_translation=shift.to(torch.float32))
    )
    rotation = quaternion_to_matrix(turn)
    close(after.positions, rotate(rotation, before.positions) + shift.float(), 3e-6)
    # Where a triangle is a sliver of a square millimetre, float32 leaves it three digits.
    difference = (after.rotations - rotation @ before.rotations).abs()
    assert difference.max() < 2e-2
    assert difference.mean() < 1e-5
    assert (after.stretch - before.stretch).abs().mean() < 1e-4
    turned = quaternion_multiply(turn.expand(COUNT, 4), before.quaternions)
    assert ((turned * after.quaternions).sum(-1).abs() > 0.999).all()


@settings(max_examples=25)
@given(named=coefficients)
def test_positions_are_those_of_the_frames(binding: Binding, named: dict[str, float]):
    code = ExpressionCode.from_named(**named)
    close(binding.positions(code), binding.frames(code).positions, 1e-6)


def test_neutral_skin_is_not_stretched_and_faces_outward(binding: Binding):
    head = load_head("default")
    template = make_template(head, COUNT)
    mean_head = Binding(template, None)
    frames = mean_head.frames(ExpressionCode.neutral())
    close(frames.stretch, torch.ones(COUNT, 2), 1e-4)
    close(frames.positions, template.neutral_points(), 1e-6)
    face = template.is_part("face") & (frames.positions[:, 2] > 0)
    assert float((frames.rotations[face, 2, 2] > 0).float().mean()) > 0.95
    skull = template.is_part("scalp", "face") & (template.layer == SKIN)
    outward = frames.positions[skull] - torch.tensor([0.0, 0.0, -0.09])
    assert float(((frames.rotations[skull, :, 2] * outward).sum(-1) > 0).float().mean()) > 0.97


def test_the_tangent_circles_the_vertical(binding: Binding):
    """On the mean head tangents follow one field without a seam: level, and to +X in front."""
    template = make_template(load_head("default"), COUNT)
    frames = Binding(template, None).frames(ExpressionCode.neutral())
    cheeks = template.is_part("face") & (frames.positions[:, 0].abs() < 0.05)
    tangent = frames.rotations[cheeks, :, 0]
    assert tangent[:, 1].abs().mean() < 0.25
    assert float((tangent[:, 0] > 0).float().mean()) > 0.95


def test_frames_are_continuous_across_triangles(binding: Binding):
    """Neighbouring anchors on the forehead, mostly on different triangles, stand nearly alike."""
    template = make_template(load_head("default"), COUNT)
    frames = binding.frames(ExpressionCode.from_named(browInnerUp=1.0))
    points = template.neutral_points()
    forehead = template.is_part("face") & (points[:, 1] > 0.03) & (points[:, 0].abs() < 0.03)
    own, rotations = points[forehead], frames.rotations[forehead]
    distance = torch.cdist(own, own) + 10 * torch.eye(len(own))
    near = distance.argmin(1)
    cosine = (rotations[..., 2] * rotations[near][..., 2]).sum(-1)
    assert cosine.min() > 0.95


def test_a_batch_is_its_rows(binding: Binding):
    codes = [ExpressionCode.from_named(jawOpen=v, mouthSmileLeft=1 - v) for v in (0.0, 0.5, 1.0)]
    batch = binding.frames(ExpressionCode.stack(codes))
    assert isinstance(batch, Frames)
    for index, code in enumerate(codes):
        for a, b in zip(batch, binding.frames(code)):
            close(a[index], b, 1e-4)
    close(binding.positions(ExpressionCode.stack(codes)), batch.positions, 1e-6)


def test_the_cheek_grows_when_it_is_puffed(binding: Binding):
    template = make_template(load_head("default"), COUNT)
    area = binding.frames(ExpressionCode.from_named(cheekPuff=1.0)).stretch.prod(-1)
    points = template.neutral_points()
    cheek = (points - torch.tensor([0.045, -0.06, 0.02])).norm(dim=1) < 0.03
    inside = template.is_part("face") & cheek
    assert area[inside].mean() > 1.02
    calm = template.is_part("scalp")
    close(area[calm], torch.ones(int(calm.sum())), 1e-3)


@pytest.mark.parametrize("name", ["jawOpen", "mouthSmileLeft", "eyeBlinkLeft"])
def test_gradient_of_the_code_is_that_of_finite_differences(binding: Binding, name: str):
    """Along one coefficient: float32 and a step of 1e-2 leave three digits."""
    random = torch.Generator().manual_seed(1)
    direction = torch.randn(COUNT, 3, generator=random)
    normals = torch.randn(COUNT, 3, 3, generator=random)
    index = ARKIT_INDEX[name]

    def value(code: ExpressionCode) -> Tensor:
        frames = binding.frames(code)
        return (frames.positions * direction).sum() + 1e-3 * (frames.rotations * normals).sum()

    code = ExpressionCode.from_named(**{name: 0.5})
    code.coefficients.requires_grad_()
    (gradient,) = torch.autograd.grad(value(code), code.coefficients)
    step = 1e-2
    with torch.no_grad():
        high, low = (
            float(value(ExpressionCode.from_named(**{name: 0.5 + sign * step}))) for sign in (1, -1)
        )
    assert float(gradient[index]) == pytest.approx((high - low) / (2 * step), rel=0.03, abs=2e-3)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 30), st.integers(0, 2**31))
def test_a_sparse_map_is_its_dense_matrix(rows: int, columns: int, entries: int, seed: int):
    """Value and gradient, with entries that repeat and rows that have none."""
    random = torch.Generator().manual_seed(seed)
    row = torch.randint(rows, (entries,), generator=random)
    column = torch.randint(columns, (entries,), generator=random)
    weight = torch.randn(entries, generator=random, dtype=torch.float64)
    dense_matrix = torch.zeros(rows, columns, dtype=torch.float64)
    dense_matrix.index_put_((row, column), weight, accumulate=True)
    sparse = SparseMap(row, column, weight, (rows, columns))

    for batch in ((), (3,), (2, 2)):
        x = torch.randn(*batch, columns, 3, generator=random, dtype=torch.float64)
        x.requires_grad_()
        upstream = torch.randn(*batch, rows, 3, generator=random, dtype=torch.float64)
        close(sparse(x), dense_matrix @ x, 1e-12)
        (gradient,) = torch.autograd.grad((sparse(x) * upstream).sum(), x)
        close(gradient, dense_matrix.T @ upstream, 1e-12)
