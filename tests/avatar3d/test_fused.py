"""The fused path of `Avatar.gaussians` against the torch path, which is the definition."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import fields, replace
from functools import lru_cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d.avatar import Attributes, Avatar
from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.fused import stage
from avatar3d.gaussians import Gaussians
from avatar3d.heads import load_head
from tests.support.avatars import plain_avatar
from tests.support.data import data_file
from tests.support.rotations import quaternions, vectors

pytest.importorskip("numba")

# Float32 near 2 m is spaced by 2.4e-7 m.
POSITION_M = 1e-6
# Nearly everywhere the two paths differ by roundings alone. Where normals around an anchor nearly
# cancel (folds of a strong expression, slivers) they are magnified, in either path.
USUAL, GREATEST, USUAL_SHARE = 2e-5, 1e-3, 0.99


def assert_same(fused: Gaussians, torch_path: Gaussians) -> None:
    """Within the tolerances that `avatar3d.fused.stage` states."""
    for own, truth in zip(fused, torch_path):
        assert own.shape == truth.shape
        assert own.dtype == truth.dtype
        assert own.is_contiguous()
    assert (fused.means - torch_path.means).abs().max() <= POSITION_M
    assert torch.equal(fused.opacities, torch_path.opacities)
    sign = (fused.quaternions * torch_path.quaternions).sum(-1, keepdim=True).sign()
    for difference in (
        fused.quaternions - sign * torch_path.quaternions,
        (fused.scales / torch_path.scales).log(),
        fused.colors - torch_path.colors,
    ):
        worst = difference.abs().amax(-1)
        assert worst.max() <= GREATEST
        assert (worst <= USUAL).float().mean() >= USUAL_SHARE


@lru_cache(maxsize=2)
def ict_avatar() -> Avatar:
    head = load_head(data_file("mesh/ict/ict_facekit_packed.npz"))
    weights = torch.randn(head.identity_count, generator=torch.Generator().manual_seed(3))
    return replace(plain_avatar(), head=head, identity=0.5 * weights)


@st.composite
def codes(draw) -> ExpressionCode:
    """Any expression and pose: most coefficients zero, or none, some beyond 0..1."""
    coefficient = st.just(0.0) | st.floats(0, 1, width=32) | st.floats(-0.25, 1.25, width=32)
    count = len(ARKIT_NAMES)
    return ExpressionCode(
        torch.tensor(draw(st.lists(coefficient, min_size=count, max_size=count))),
        draw(quaternions(torch.float32)),
        draw(vectors(greatest=1.0)).to(torch.float32),
        draw(quaternions(torch.float32)),
    )


def both(avatar: Avatar, code: ExpressionCode) -> tuple[Gaussians, Gaussians]:
    return avatar.gaussians(code, path="fused"), avatar.gaussians(code, path="torch")


@lru_cache(maxsize=8)
def variant(name: str, with_basis: bool, with_light: bool) -> Avatar:
    avatar = plain_avatar() if name == "default" else ict_avatar()
    return replace(
        avatar,
        basis=avatar.basis if with_basis else None,
        light=avatar.light if with_light else None,
    )


@pytest.mark.parametrize("head", ["default", "ict"])
@settings(max_examples=30)
@given(code=codes(), with_basis=st.booleans(), with_light=st.booleans())
def test_fused_and_torch_agree(head: str, code: ExpressionCode, with_basis: bool, with_light: bool):
    assert_same(*both(variant(head, with_basis, with_light), code))


@pytest.mark.parametrize("count", [0, 5, 52, 60])
def test_codes_may_be_shorter_or_longer_than_the_heads(count: int):
    coefficients = 0.5 * torch.rand(count, generator=torch.Generator().manual_seed(count))
    assert_same(*both(plain_avatar(), ExpressionCode.neutral()._replace(coefficients=coefficients)))


@pytest.mark.parametrize("batch", [(3,), (2, 2), (0,)])
def test_a_batch_is_its_codes_one_by_one(batch: tuple[int, ...]):
    avatar = plain_avatar()
    code = ExpressionCode.neutral(*batch)
    code.coefficients[..., 17] = torch.rand(batch, generator=torch.Generator().manual_seed(0))
    whole = avatar.gaussians(code, path="fused")
    assert whole.means.shape == (*batch, avatar.count, 3)
    assert whole.opacities.shape == (*batch, avatar.count)
    flat = ExpressionCode(*(value.flatten(0, -2) for value in code))
    for index in range(len(flat.coefficients)):
        one = avatar.gaussians(flat.at(index), path="fused")
        for value, single in zip(whole, one):
            assert torch.equal(value.reshape(-1, *single.shape)[index], single)


def test_strided_codes_are_read_right():
    code = ExpressionCode.from_named(jawOpen=0.6, browDownLeft=0.3)
    strided = ExpressionCode(*(value.repeat_interleave(2)[::2] for value in code))
    assert not strided.coefficients.is_contiguous()
    plain, read = (plain_avatar().gaussians(value, path="fused") for value in (code, strided))
    assert all(torch.equal(own, other) for own, other in zip(plain, read))


def test_any_number_of_threads_gives_the_same_bits():
    avatar = plain_avatar()
    code = ExpressionCode.from_named(jawOpen=0.4, mouthSmileLeft=0.8, eyeBlinkRight=1.0)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            results += [avatar.gaussians(code, path="fused") for _ in range(3)]
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def _spy_on_stage(monkeypatch: pytest.MonkeyPatch) -> list[ExpressionCode]:
    """The codes that the fused path poses from now on."""
    posed = []
    original = stage.Stage.gaussians
    monkeypatch.setattr(
        stage.Stage, "gaussians", lambda self, code: posed.append(code) or original(self, code)
    )
    return posed


def test_auto_takes_the_fused_path_where_no_gradient_is_wanted(monkeypatch: pytest.MonkeyPatch):
    posed = _spy_on_stage(monkeypatch)
    avatar, code = plain_avatar(), ExpressionCode.from_named(jawOpen=0.5)
    avatar.gaussians(code)
    assert len(posed) == 1
    wanted = code._replace(coefficients=code.coefficients.clone().requires_grad_())
    assert avatar.gaussians(wanted).means.requires_grad
    assert len(posed) == 1
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            avatar.gaussians(wanted)
    assert len(posed) == 3
    monkeypatch.setattr(stage, "numba_is_here", lambda: False)
    avatar.gaussians(code)
    assert len(posed) == 3


def test_attributes_that_want_gradients_get_them():
    avatar = plain_avatar()
    offsets = avatar.attributes.offsets.clone().requires_grad_()
    learned = replace(avatar, attributes=replace(avatar.attributes, offsets=offsets))
    learned.gaussians(ExpressionCode.neutral()).means.sum().backward()
    assert offsets.grad is not None
    assert offsets.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (ExpressionCode.from_named(jawOpen=float("nan")), "finite"),
        (ExpressionCode(*(value.double() for value in ExpressionCode.neutral())), "float32"),
        (ExpressionCode.neutral(2)._replace(neck_rotation=torch.eye(4)[0]), "leading dimensions"),
        (
            ExpressionCode(*(value.requires_grad_() for value in ExpressionCode.neutral())),
            "gradients",
        ),
    ],
)
def test_what_the_fused_path_cannot_pose_is_said(code: ExpressionCode, message: str):
    with pytest.raises(ValueError, match=message):
        plain_avatar().gaussians(code, path="fused")
    assert "numba" not in str(stage.why_not_fused(plain_avatar(), code))


def test_without_numba_the_fused_path_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stage, "numba_is_here", lambda: False)
    with pytest.raises(ValueError, match=r"pip install 'avatar3d\[recon\]'"):
        plain_avatar().gaussians(ExpressionCode.neutral(), path="fused")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("field", ExpressionCode._fields)
def test_codes_that_are_no_numbers_go_the_torch_path(field: str, value: float):
    code = ExpressionCode.from_named(jawOpen=0.5)
    getattr(code, field)[1] = value
    avatar = plain_avatar()
    for own, truth in zip(avatar.gaussians(code), avatar.gaussians(code, path="torch")):
        torch.testing.assert_close(own, truth, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("field", [f.name for f in fields(Attributes)])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_attributes_that_are_no_numbers_spread_as_far_as_in_torch(field: str, value: float):
    avatar = plain_avatar()
    damaged = getattr(avatar.attributes, field).clone()
    damaged[7] = value
    avatar = replace(avatar, attributes=replace(avatar.attributes, **{field: damaged}))
    fused, truth = both(avatar, ExpressionCode.from_named(jawOpen=0.5))
    for own, other in zip(fused, truth):
        assert torch.equal(own.isnan(), other.isnan())
        assert torch.equal(own.isinf(), other.isinf())
    keep = torch.arange(avatar.count) != 7
    assert_same(*(Gaussians(*(value[keep] for value in g)) for g in (fused, truth)))


def test_writing_into_an_attribute_is_seen():
    base = plain_avatar()
    own = Attributes(*(getattr(base.attributes, f.name).clone() for f in fields(Attributes)))
    avatar = replace(base, attributes=own)
    code = ExpressionCode.from_named(jawOpen=0.5)
    before = avatar.gaussians(code, path="fused")
    own.log_scales.add_(0.1)
    own.opacity_logits.sub_(1.0)
    assert_same(*both(avatar, code))
    assert not torch.equal(before.opacities, avatar.gaussians(code).opacities)


def test_what_is_returned_belongs_to_the_caller():
    avatar, code = plain_avatar(), ExpressionCode.from_named(jawOpen=0.5)
    first = avatar.gaussians(code, path="fused")
    kept = Gaussians(*(value.clone() for value in first))
    for value in first:
        value.zero_()
    assert all(
        torch.equal(own, other) for own, other in zip(avatar.gaussians(code, path="fused"), kept)
    )


def test_copies_and_levels_pose_themselves():
    avatar, code = plain_avatar(), ExpressionCode.from_named(mouthFunnel=0.7)
    avatar.gaussians(code, path="fused")
    copied = copy.deepcopy(avatar)
    assert not {"_laid_out", "binding"} & set(vars(copied))
    assert_same(copied.gaussians(code, path="fused"), avatar.gaussians(code, path="torch"))
    assert_same(*both(avatar.level(700), code))


def test_no_memory_is_kept_from_call_to_call():
    avatar, code = plain_avatar(), ExpressionCode.from_named(jawOpen=0.5)
    for _ in range(20):
        avatar.gaussians(code, path="fused")
    before = _resident_bytes()
    for _ in range(500):  # each fills 0.2 MB
        avatar.gaussians(code, path="fused")
    assert _resident_bytes() - before < 4e6


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096
    except FileNotFoundError:
        pytest.skip("this system does not tell the memory in use")


def test_after_the_warm_up_nothing_is_left_to_compile():
    from avatar3d.fused import kernels

    stage.warm_up()
    compiled = kernels.pose_anchors.signatures
    for name in ("light", "basis"):
        avatar = replace(plain_avatar(), **{name: None})
        avatar.gaussians(ExpressionCode.neutral(), path="fused")
    plain_avatar().gaussians(ExpressionCode.neutral(2), path="fused")
    assert kernels.pose_anchors.signatures == compiled
    assert len(compiled) == 1


def test_posing_by_torch_does_not_load_numba():
    lines = """
import sys, torch
from avatar3d import ExpressionCode
from tests.support.avatars import plain_avatar
plain_avatar(50).gaussians(ExpressionCode.neutral(), path="torch")
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", lines], check=True)


def test_an_avatar_moves_without_numba():
    lines = """
import sys
sys.modules["numba"] = None  # importing it is an ImportError
from avatar3d import ExpressionCode
from tests.support.avatars import plain_avatar
gaussians = plain_avatar(50).gaussians(ExpressionCode.neutral())
assert gaussians.means.isfinite().all()
"""
    subprocess.run([sys.executable, "-c", lines], check=True)
