from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avatar3d.container import METADATA_KEY, read_container, write_container
from avatar3d.errors import UserError
from avatar3d.schema import Field, check_schema

ARRAYS = {
    "means": np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3),
    "indices": np.arange(4, dtype=np.int32),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float16),
}
METADATA = {"format": 1, "head": {"name": "default"}, "name": "é"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("container") / "sound.avatar"
    write_container(path, ARRAYS, METADATA)
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("container") / "scratch.avatar"


def packed(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(
    dtype: object = "U8", shape: object = (2,), offsets: object = (0, 2)
) -> dict[str, object]:
    meta = {METADATA_KEY: "{}"}
    return {"__metadata__": meta, "a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def test_round_trip(tmp_path: Path):
    path = tmp_path / "a.avatar"
    write_container(path, ARRAYS, METADATA)
    arrays, metadata = read_container(path)
    assert metadata == METADATA
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_same_input_same_bytes_and_torch_is_fine(tmp_path: Path):
    values = torch.arange(6.0).reshape(2, 3)
    write_container(tmp_path / "a", {"x": values.T, "y": values}, {"b": 1, "a": 2})
    write_container(tmp_path / "b", {"y": values.numpy(), "x": values.numpy().T}, {"a": 2, "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    np.testing.assert_array_equal(read_container(tmp_path / "a")[0]["x"], values.numpy().T)


def test_nan_is_not_written(tmp_path: Path):
    with pytest.raises(ValueError, match="'x' has NaN"):
        write_container(tmp_path / "a.avatar", {"x": np.array([np.nan])}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated: expected at least 8 bytes, got 0"),
        (struct.pack("<Q", 10_000_000_000) + b"{}", "claims a header of 10,000,000,000 bytes"),
        (packed(b"{}", length=100), "truncated: expected 108 bytes"),
        (packed(b"\xff\xfe"), "not UTF-8"),
        (packed(b"[" * 500_000), "nested too deeply"),
        (packed(b"[1]"), "not a JSON object"),
        (packed(b'{"a":1,"a":2}'), "a key appears twice"),
        (packed(b'{"a":NaN}'), "NaN is not JSON"),
        (packed(b'{"a":1e999}'), "1e999 is not a finite number"),
        (packed(b"{" + b'"a":' + b"9" * 9000 + b"}"), "not valid JSON"),
        (packed({}), "no avatar3d metadata"),
        (packed({"__metadata__": {METADATA_KEY: 3}}), "no avatar3d metadata"),
        (packed({"__metadata__": {METADATA_KEY: "{", "x": "y"}}), "its metadata is not valid JSON"),
        (packed({"__metadata__": {METADATA_KEY: "[]"}}), "its metadata is not a JSON object"),
        (
            packed({"__metadata__": {METADATA_KEY: "[" * 99999}}),
            "its metadata is nested too deeply",
        ),
        (packed({"__metadata__": {METADATA_KEY: "{}", "x": 1}}), "metadata are not texts"),
        (packed({"__metadata__": {METADATA_KEY: "{}"}, "a": 1}), "not described by"),
        (packed(entry("F7"), b"ab"), "of kind 'F7', expected one of"),
        (packed(entry(["F32"]), b"ab"), "of kind"),
        (packed(entry("U8", [-2]), b"ab"), "impossible shape"),
        (packed(entry("U8", [True, 2]), b"ab"), "impossible shape"),
        (packed(entry("U8", "2"), b"ab"), "impossible shape"),
        (packed(entry("U8", [1] * 9, [0, 1]), b"a"), "impossible shape"),
        (packed(entry("U8", [2**40, 2**40, 2**40]), b"ab"), "its shape needs"),
        (packed(entry("U8", [3]), b"ab"), "of 2 bytes, its shape needs 3"),
        (packed(entry("U8", [9], [0, 9]), b"ab"), "lies outside the file's 2 bytes"),
        (packed(entry("U8", [2], [2, 0]), b"ab"), "lies outside"),
        (packed(entry("U8", [1], [1, 2]), b"ab"), "begins at 1, expected 0"),
        (packed(entry("U8", [2]), b"abc"), "expected 2 bytes, got 3"),
        (packed(entry("BOOL", [2]), b"\x00\x02"), "other than 0 and 1"),
        (packed(entry("F16", [1]), b"\xff\xff"), "NaN or infinite values in array 'a'"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "bad.avatar"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as refusal:
        read_container(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 800


def test_overlapping_arrays_are_refused(tmp_path: Path):
    header = entry("U8", [2], [0, 2])
    header["b"] = {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}
    (tmp_path / "a").write_bytes(packed(header, b"abc"))
    with pytest.raises(UserError, match="array 'b' begins at 1, expected 2"):
        read_container(tmp_path / "a")


def test_a_huge_sparse_file_is_refused_unread(tmp_path: Path):
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(10_000_000_000)
    with pytest.raises(UserError, match="10,000,000,000 bytes, more than"):
        read_container(tmp_path / "huge")


def only_refuses(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        read_container(path)


fuzz = settings(max_examples=700, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz
@given(data=st.data())
def test_bit_flips_never_crash_the_loader(sound: bytes, scratch: Path, data: st.DataObject):
    content = bytearray(sound)
    bits = st.integers(0, 8 * len(content) - 1)
    for bit in data.draw(st.lists(bits, min_size=1, max_size=8)):
        content[bit // 8] ^= 1 << bit % 8
    only_refuses(scratch, bytes(content))


@fuzz
@given(content=st.binary(max_size=400), as_header=st.booleans())
def test_random_bytes_never_crash_the_loader(scratch: Path, content: bytes, as_header: bool):
    only_refuses(scratch, packed(content) if as_header else content)


@fuzz
@given(data=st.data())
def test_cuts_and_splices_never_crash_the_loader(sound: bytes, scratch: Path, data: st.DataObject):
    position = st.integers(0, len(sound))
    start, stop = data.draw(position), data.draw(position)
    only_refuses(scratch, sound[:start] + data.draw(st.binary(max_size=9)) + sound[stop:])


@pytest.mark.parametrize("length", range(0, 400, 7))
def test_every_truncation_is_refused(sound: bytes, scratch: Path, length: int):
    scratch.write_bytes(sound[: min(length, len(sound) - 1)])
    with pytest.raises(UserError):
        read_container(scratch)


SCHEMA = {
    "means": Field("float32", ("anchors", 3), -1, 1),
    "indices": Field("int32", ("anchors",), 0, 3),
    "extra": Field("uint8", (), optional=True),
}


def test_schema_binds_sizes():
    arrays = {"means": ARRAYS["means"], "indices": ARRAYS["indices"]}
    assert check_schema(arrays, SCHEMA, "f") == {"anchors": 4}
    with pytest.raises(
        UserError, match=r"f: array 'means' has shape \[4, 3\], expected \[anchors=5"
    ):
        check_schema(arrays, SCHEMA, "f", {"anchors": 5})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": None}, "f lacks the array 'means'"),
        ({"other": np.zeros(1)}, "an array 'other' that this format does not know"),
        ({"means": np.zeros((4, 3))}, "array 'means' is float64, expected float32"),
        ({"indices": np.zeros(5, np.int32)}, r"shape \[5\], expected \[anchors=4\]"),
        ({"means": np.zeros((4, 2), np.float32)}, r"shape \[4, 2\], expected \[anchors=4, 3\]"),
        ({"indices": np.full(4, 7, np.int32)}, "values from 7 to 7, expected 0 to 3"),
        ({"means": np.full((4, 3), np.nan, np.float32)}, "values from nan"),
    ],
)
def test_schema_says_what_is_wrong(change: dict[str, np.ndarray | None], message: str):
    arrays = {"means": ARRAYS["means"], "indices": ARRAYS["indices"], **change}
    with pytest.raises(UserError, match=message):
        check_schema({k: v for k, v in arrays.items() if v is not None}, SCHEMA, "f")
