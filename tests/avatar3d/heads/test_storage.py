"""Head files: what was written is read, and what is none is refused with a sentence."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from avatar3d.errors import UserError
from avatar3d.heads import HeadModel, load_head
from avatar3d.heads.storage import read_head, write_head

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
    from dataclasses import replace

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
