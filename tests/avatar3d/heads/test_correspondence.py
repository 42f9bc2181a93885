"""Which point of one head is which of another; and an avatar moved along it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar3d.animation.change_head import change_head
from avatar3d.codes import ExpressionCode
from avatar3d.heads import HeadModel, load_head
from avatar3d.heads import correspondence as module
from avatar3d.heads.correspondence import correspondence, find_correspondence
from avatar3d.heads.model import PART_INDEX
from tests.support.avatars import plain_avatar
from tests.support.data import data_file

MM = 1e-3


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVATAR3D_CACHE", str(tmp_path / "cache"))
    correspondence.cache_clear()
    return tmp_path / "cache"


def person_of(head: HeadModel) -> HeadModel:
    """The head as if its mean were another person a little larger: what is true is known."""
    identity = 0.7 * torch.randn(head.identity_count, generator=torch.Generator().manual_seed(8))
    bigger = 1.05 * head.vertices(identity, ExpressionCode.neutral())
    return replace(head, neutral=bigger, joints=1.05 * head.rig(identity).joints)


def test_a_head_finds_itself_in_another_person_and_keeps_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch
):
    head = load_head("default")
    other = person_of(head)
    found = correspondence(head, other)
    carried = found.carry(head.neutral)
    parts = torch.isin(
        head.triangle_part, torch.tensor([PART_INDEX["face"], PART_INDEX["eyelids"]])
    )
    face = head.triangles[parts].unique()
    error = (carried - head.neutral)[face].norm(dim=1)
    assert error.median() < 1.5 * MM
    assert error.quantile(0.95) < 5 * MM
    assert found.scale == pytest.approx(1.05, abs=0.02)
    files = list(cache.rglob("*.safetensors"))
    assert len(files) == 1
    correspondence.cache_clear()
    again = correspondence(head, other)
    assert torch.equal(again.triangles, found.triangles)
    files[0].write_bytes(b"damaged")
    correspondence.cache_clear()
    monkeypatch.setattr(module, "find_correspondence", lambda *_: found)
    assert correspondence(head, other) is found


def test_lips_are_not_mixed_up_between_heads():
    default = load_head("default")
    ict = load_head(data_file("mesh/ict/ict_facekit_packed.npz"))
    found = find_correspondence(default, ict)
    corners = ict.triangles[ict.landmark_triangles]
    carried = found.carry(default.neutral)[corners]
    ours = torch.einsum("lk,lkc->lc", ict.landmark_barycentrics, carried)
    theirs = default.neutral[default.triangles[default.landmark_triangles]]
    theirs = torch.einsum("lk,lkc->lc", default.landmark_barycentrics, theirs)
    error = (ours - theirs).norm(dim=1)
    assert error[:468].median() < 1.5 * MM
    opened = ExpressionCode.from_named(jawOpen=1.0)
    moved = found.carry(default.vertices(None, opened) - default.neutral)[corners][:, :, 1].mean(1)
    assert moved[13] > -5 * MM  # the upper lip stays
    assert moved[14] < -10 * MM  # the lower one goes with the jaw


def test_an_avatar_changes_its_head(tmp_path: Path):
    avatar = plain_avatar()
    ict = load_head(data_file("mesh/ict/ict_facekit_packed.npz"))
    moved = change_head(avatar, ict)
    assert moved.head is ict
    assert moved.count == avatar.count
    assert change_head(avatar, avatar.head) is avatar
    assert moved.provenance["moved_from_head"] == "default"
    # The same person: the face's Gaussians lie on the old one's surface, in the same colours.
    code = ExpressionCode.neutral()
    before, after = avatar.gaussians(code), moved.gaussians(code)
    face = avatar.template.is_part("face")
    new_face = moved.template.is_part("face")
    gap = torch.cdist(after.means[new_face], before.means[face]).min(1).values
    assert gap.median() < 4 * MM
    spread = (after.colors[new_face].mean(0) - before.colors[face].mean(0)).abs().max()
    assert spread < 0.05
    for value in vars(moved.attributes).values():
        assert torch.isfinite(value).all()
    moved.save(tmp_path / "moved.avatar")
    again = type(moved).load(tmp_path / "moved.avatar", ict)
    assert again.count == moved.count
