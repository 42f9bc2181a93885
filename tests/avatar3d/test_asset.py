from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d import Avatar, Camera, ExpressionCode, UserError
from avatar3d.animation import expression_code
from avatar3d.asset import _FORMER_HEADS, FORMAT_VERSION, head_hash
from avatar3d.avatar import Attributes
from avatar3d.container import read_container, write_container
from render import rasterize
from tests.support.avatars import plain_avatar


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "me.avatar"
    plain_avatar(60).save(path)
    return path


def test_what_is_written_is_read(tmp_path: Path):
    avatar = plain_avatar(400)
    avatar.save(tmp_path / "me.avatar")
    read = Avatar.load(tmp_path / "me.avatar")
    assert read.head is avatar.head
    assert read.count == 400
    assert read.provenance == avatar.provenance
    torch.testing.assert_close(read.identity, avatar.identity)
    torch.testing.assert_close(read.light, avatar.light)
    for field in fields(Attributes):
        # float16 keeps 11 bits: a 2048th of the value.
        torch.testing.assert_close(
            getattr(read.attributes, field.name),
            getattr(avatar.attributes, field.name),
            rtol=1e-3,
            atol=1e-3 if field.name != "offsets" else 1e-6,
        )
    assert read.basis is not None
    assert avatar.basis is not None
    torch.testing.assert_close(read.basis.projection, avatar.basis.projection)
    torch.testing.assert_close(read.basis.limits, avatar.basis.limits)
    largest = avatar.basis.offsets.abs().amax()
    torch.testing.assert_close(
        read.basis.offsets, avatar.basis.offsets, rtol=0, atol=float(largest / 127)
    )


def test_a_file_renders_as_what_was_saved(tmp_path: Path):
    avatar = plain_avatar(8000, rank=4)
    avatar.save(tmp_path / "me.avatar")
    read = Avatar.load(tmp_path / "me.avatar")
    camera = Camera.frontal(focal_length_px=600, size_px=192, distance_m=0.9)
    for code in (ExpressionCode.neutral(), expression_code("laugh")):
        before, after = (
            rasterize(a.gaussians(code), camera, background=torch.ones(3)).colors
            for a in (avatar, read)
        )
        error = (before - after).square().mean()
        assert -10 * math.log10(float(error)) > 45


def test_an_avatar_without_basis_and_light(tmp_path: Path):
    plain = replace(plain_avatar(50), basis=None, light=None)
    plain.save(tmp_path / "me.avatar")
    read = Avatar.load(tmp_path / "me.avatar")
    assert read.basis is None
    assert read.light is None


def test_the_same_avatar_gives_the_same_bytes(saved: Path, tmp_path: Path):
    plain_avatar(60).save(tmp_path / "again.avatar")
    assert (tmp_path / "again.avatar").read_bytes() == saved.read_bytes()


def test_what_is_read_and_written_again_keeps_every_bit(tmp_path: Path):
    avatar = plain_avatar(20000, rank=3)
    generator = torch.Generator().manual_seed(0)
    near_grey = 0.5 + 3e-4 * torch.randn(20000, 3, generator=generator)
    turned = torch.randn(20000, 4, generator=generator)
    attributes = replace(avatar.attributes, colors=near_grey, rotations=turned)
    first, second = tmp_path / "first.avatar", tmp_path / "second.avatar"
    replace(avatar, attributes=attributes).save(first)
    Avatar.load(first).save(second)
    assert first.read_bytes() == second.read_bytes()


def test_a_full_avatar_is_small(tmp_path: Path):
    path = tmp_path / "me.avatar"
    plain_avatar(25_000, rank=8).save(path)
    assert path.stat().st_size < 2.5e6


def test_a_save_that_fails_leaves_nothing(tmp_path: Path):
    bad = plain_avatar(60)
    bad = replace(bad, attributes=replace(bad.attributes, offsets=bad.attributes.offsets + 1.0))
    with pytest.raises(UserError, match="'offsets' has values"):
        bad.save(tmp_path / "me.avatar")
    with pytest.raises(UserError, match="does not exist"):
        bad.save(tmp_path / "nowhere" / "me.avatar")
    assert list(tmp_path.iterdir()) == []


def _set(key: str, value: Any):
    def change(arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
        metadata[key] = value

    return change


def _in(group: str, key: str, value: Any):
    def change(arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
        metadata[group][key] = value

    return change


def _array(name: str, change_value):
    def change(arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
        arrays[name] = change_value(arrays[name])

    return change


def _without(name: str):
    def change(arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
        del arrays[name]

    return change


def _swap_limits(arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
    arrays["basis_limits"] = arrays["basis_limits"][::-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("format_version", FORMAT_VERSION + 1), "format 2, but this avatar3d reads up to 1"),
        (_set("format_version", 0), "does not say its format version"),
        (_set("format_version", True), "does not say its format version"),
        (_set("format_version", "1"), "does not say its format version"),
        (_in("head", "name", "flame"), "avatar3d heads add flame FILE"),
        (_in("head", "name", "../../etc/passwd"), "does not say which head"),
        (_in("head", "hash", "0" * 64), "another version of the head model 'default'"),
        (_set("head", None), "does not say which head"),
        (_in("template", "version", 99), "template 99, but this avatar3d knows template 1"),
        (_in("template", "count", 61), "says it has 61 Gaussians but holds 60"),
        (_in("template", "count", None), "does not say the count"),
        (_set("provenance", []), "does not say where it came from"),
        (_without("offsets"), "lacks the array 'offsets'"),
        (_without("basis_mean"), "lacks basis_mean of its expression basis"),
        (_array("offsets", lambda a: a[:, :2]), r"shape \[60, 2\], expected \[anchors=60, 3\]"),
        (_array("offsets", lambda a: a.astype(np.float32)), "is float32, expected float16"),
        (_array("offsets", lambda a: a + np.float16(1)), "expected -0.5 to 0.5"),
        (_array("log_scales", lambda a: a + np.float16(20)), "expected -14 to 0"),
        (_array("rotations", lambda a: a * 0), "not unit quaternions"),
        (_array("identity", lambda a: np.zeros(999, np.float32)), "999 identity modes"),
        (_array("light", lambda a: a[:4]), r"expected \[9, 3\]"),
        (_swap_limits, "least exceeds the greatest"),
    ],
)
def test_what_is_wrong_is_said(saved: Path, change, message: str):
    arrays, metadata = read_container(saved)
    change(arrays, metadata)
    write_container(saved, arrays, metadata)
    with pytest.raises(UserError, match=message) as caught:
        Avatar.load(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_array_is_refused(saved: Path):
    arrays, metadata = read_container(saved)
    write_container(saved, {**arrays, "extra": np.zeros(3, np.float32)}, metadata)
    with pytest.raises(UserError, match="'extra' that this format does not know"):
        Avatar.load(saved)


def test_not_a_number_is_refused(saved: Path):
    content = bytearray(saved.read_bytes())
    header_end = 8 + int.from_bytes(content[:8], "little")
    begin = header_end + json.loads(content[8:header_end])["sh0"]["data_offsets"][0]
    content[begin : begin + 2] = np.float16(np.nan).tobytes()
    saved.write_bytes(content)
    with pytest.raises(UserError, match="NaN or infinite values in array 'sh0'"):
        Avatar.load(saved)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated"),
        (b"hello", "truncated"),
        ((10 * 2**30).to_bytes(8, "little") + b"{}", "claims a header of 10,737,418,240 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "claims a header"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "x.avatar"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        Avatar.load(path)


@settings(max_examples=2000)
@given(data=st.data())
def test_damage_never_crashes_the_loader(tmp_path_factory: pytest.TempPathFactory, data):
    """Bit flips, truncation, foreign bytes: a sound avatar, or a sentence."""
    path = tmp_path_factory.getbasetemp() / "damaged.avatar"
    content = bytearray(_sound_bytes(tmp_path_factory))
    header_end = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        # Half of the damage goes where the structure is described.
        end = data.draw(st.sampled_from([8, header_end, len(content)]))
        position = data.draw(st.integers(0, max(0, min(end, len(content)) - 1)))
        kind = data.draw(st.sampled_from(["flip", "cut", "bytes"]))
        if kind == "flip" and content:
            content[position] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del content[position:]
        else:
            content[position : position + 4] = data.draw(st.binary(min_size=0, max_size=8))
    path.write_bytes(bytes(content))
    with suppress(UserError):
        assert Avatar.load(path, plain_avatar(60).head).count == 60


def _sound_bytes(factory: pytest.TempPathFactory) -> bytes:
    path = factory.getbasetemp() / "sound.avatar"
    if not path.exists():
        plain_avatar(60).save(path)
    return path.read_bytes()


def test_an_avatar_of_a_former_head_of_the_same_mesh_opens(saved: Path):
    """The default head changes how it moves and is laid out now and then; avatars stay."""
    (former, *_) = _FORMER_HEADS[head_hash(plain_avatar().head)]
    arrays, metadata = read_container(saved)
    metadata["head"]["hash"] = former
    write_container(saved, arrays, metadata)
    assert Avatar.load(saved).count == 60
