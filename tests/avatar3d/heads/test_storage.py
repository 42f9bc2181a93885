"""Head files: what was written is read, and what is none is refused with a sentence."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from avatar3d.errors import UserError
from avatar3d.heads import HeadModel, load_head
from avatar3d.heads.storage import HeadFacts, read_facts, read_head, write_head

HERE = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heads") / "again.safetensors"
    write_head(load_head("default"), path)
    return path


def test_round_trip(written: Path):
    head, again = load_head("default"), read_head(written)
    assert again.name == head.name
    assert again.expression_names == head.expression_names
    for field in fields(HeadModel):
        a, b = getattr(head, field.name), getattr(again, field.name)
        if not isinstance(a, Tensor):
            assert a == b, field.name
            continue
        assert (a.dtype, a.shape) == (b.dtype, b.shape), field.name
        if field.name in ("identity_basis", "expression_basis"):
            # Half a step of 16 bits of each mode's greatest motion.
            step = a.abs().amax(dim=(1, 2), keepdim=True) / 32767
            assert ((a - b).abs() <= 0.51 * step + 1e-12).all(), field.name
        else:
            assert torch.equal(a, b), field.name


def test_writing_again_changes_nothing(written: Path, tmp_path: Path):
    """What is quantised once stays what it is."""
    once = read_head(written)
    write_head(once, tmp_path / "twice.safetensors")
    twice = read_head(tmp_path / "twice.safetensors")
    torch.testing.assert_close(twice.expression_basis, once.expression_basis, atol=1e-9, rtol=1e-5)
    assert once.content_hash() == read_head(written).content_hash()


def test_the_hash_sees_every_array():
    head = load_head("default")
    known = {head.content_hash()}
    for field in fields(HeadModel):
        value = getattr(head, field.name)
        if isinstance(value, Tensor):
            changed = value.clone()
            changed.view(-1)[-1] += 1
            known.add(replace(head, **{field.name: changed}).content_hash())
    assert len(known) == 1 + sum(isinstance(getattr(head, f.name), Tensor) for f in fields(head))


def test_files_that_are_no_heads_are_refused(tmp_path: Path, written: Path):
    with pytest.raises(UserError, match="does not exist"):
        read_head(tmp_path / "nothing.safetensors")
    other = tmp_path / "other.safetensors"
    save_file({"means": torch.zeros(3)}, str(other))
    with pytest.raises(UserError, match="is not a head file"):
        read_head(other)
    with pytest.raises(UserError, match="is not a head file"):
        read_head(tmp_path)


def test_an_exact_head_keeps_its_hash(tmp_path: Path):
    head = load_head("default")
    write_head(head, tmp_path / "a.safetensors", exact=True)
    assert read_head(tmp_path / "a.safetensors").content_hash() == head.content_hash()


def test_a_head_that_changed_on_the_disk_is_refused(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    write_head(load_head("default"), path, facts=HeadFacts("here", "free"))
    assert read_facts(path).licence == "free"
    content = bytearray(path.read_bytes())
    at = content.index(b'"uv"')
    begin = int(
        content[content.index(b"[", content.index(b"data_offsets", at)) + 1 :].split(b",")[0]
    )
    content[8 + int.from_bytes(content[:8], "little") + begin] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="has changed since it was installed"):
        read_head(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: {"neutral": h.neutral * torch.nan}, "NaN"),
        (lambda h: {"expression_basis": h.expression_basis * 1e6}, "values up to"),
        (lambda h: {"triangles": h.triangles + 1}, "'triangles' points outside"),
        (lambda h: {"triangle_part": h.triangle_part + 1}, "'triangle_part' points outside"),
        (lambda h: {"landmark_triangles": h.landmark_triangles - 10**6}, "points outside"),
        (lambda h: {"uv": h.uv[:-1]}, r"'uv' has shape \[.*expected"),
        (lambda h: {"skin_weights": h.skin_weights * 2}, "shares"),
        (lambda h: {"expression_names": h.expression_names[::-1]}, "not the 52 of ARKit"),
        (lambda h: {"expression_names": (*h.expression_names, "more")}, "expected"),
    ],
)
def test_heads_that_are_wrong_inside_are_refused(tmp_path: Path, change, said: str):
    head = load_head("default")
    path = tmp_path / "wrong.safetensors"
    write_head(replace(head, **change(head)), path, exact=True)
    with pytest.raises(UserError, match=f"is not a head file.*{said}"):
        read_head(path)


def test_writing_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_head(load_head("default"), path)
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
    assert path.read_bytes() == b"old"


@HERE
@given(data=st.binary(max_size=200))
def test_random_bytes_are_refused(tmp_path: Path, data: bytes):
    path = tmp_path / "random.safetensors"
    path.write_bytes(data)
    with pytest.raises(UserError, match="is not a head file"):
        read_head(path)


@HERE
@given(share=st.floats(0, 0.999))
def test_truncated_files_are_refused(tmp_path: Path, written: Path, share: float):
    whole = written.read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match="is not a head file"):
        read_head(path)
