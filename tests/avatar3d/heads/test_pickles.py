"""The pickle reader: data come through, programs do not run."""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from avatar3d.errors import UserError
from avatar3d.heads.pickles import Inert, parse_pickle, read_pickle, to_array

MARK = "/tmp/avatar3d-pickle-ran"
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text() | st.binary()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip
any_array = arrays.arrays(
    st.sampled_from([np.float32, np.float64, np.int32, np.uint8, np.bool_]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0),
)


@given(value=plain, protocol=st.integers(0, 5))
def test_plain_values_come_through(value: object, protocol: int):
    assert parse_pickle(pickle.dumps(value, protocol), "x") == value


@given(array=any_array, protocol=st.integers(0, 5), fortran=st.booleans())
def test_arrays_come_through(array: np.ndarray, protocol: int, fortran: bool):
    array = np.asfortranarray(array) if fortran and array.ndim else array
    again = parse_pickle(pickle.dumps({"a": array}, protocol), "x")["a"]
    again = to_array(again)
    assert again.dtype == array.dtype
    assert np.array_equal(again, array, equal_nan=array.dtype.kind == "f")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["csc", "csr", "coo"])
def test_sparse_matrices_come_through(protocol: int, kind: str):
    matrix = scipy.sparse.csc_matrix(np.eye(9, 7) * 3 - np.eye(9, 7, 2)).asformat(kind)
    again = parse_pickle(pickle.dumps(matrix, protocol), "x")
    assert isinstance(again, Inert)
    assert np.array_equal(to_array(again), matrix.toarray())


def test_python_2_texts_and_ordered_dicts():
    assert parse_pickle(b"(dS'a\\x9f'\nI01\ns.", "x") == {"a\x9f": True}
    value = collections.OrderedDict(b=1, a=(np.float32(2),))
    assert parse_pickle(pickle.dumps(value), "x") == {"b": 1, "a": (2.0,)}


class Attack:
    """Runs a shell command when a trusting reader loads it."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def attacks() -> dict[str, bytes]:
    command = f"touch {MARK}"
    value = {"v_template": Attack(os.system, command)}
    made = {f"os.system, protocol {p}": pickle.dumps(value, p) for p in range(6)}
    made["eval"] = pickle.dumps(Attack(eval, f"__import__('os').system({command!r})"))
    made["getattr"] = pickle.dumps(Attack(getattr, "x", "upper"))
    made["INST"] = b"(S'" + command.encode() + b"'\nios\nsystem\n."
    made["OBJ"] = b"(cos\nsystem\nS'" + command.encode() + b"'\no."
    made["persistent id"] = b"Phello\n."
    made["binary persistent id"] = b"K\x01Q."
    made["extension registry"] = b"\x82\x01."
    made["NumPy that loads"] = b"cnumpy\nload\n(S'x'\ntR."
    made["NumPy by a dotted name"] = b"\x80\x04\x8c\x05numpy\x8c\x0bf2py.os\x93."
    made["dotted ndarray"] = b"\x80\x04\x8c\x05numpy\x8c\x12ndarray.__class__x\x93."
    made["chumpy called"] = b"cchumpy.ch\nCh\n(S'x'\ntR."
    made["codec other than latin1 bytes"] = b"c_codecs\nencode\n(I1\nS'rot13'\ntR."
    made["constructor of a function"] = b"ccopy_reg\n_reconstructor\n(c_codecs\nencode\nNNtR."
    return made


@pytest.mark.parametrize("name", list(attacks()))
def test_programs_are_refused_and_do_not_run(name: str, tmp_path: Path):
    path = tmp_path / "model.pkl"
    path.write_bytes(attacks()[name])
    with pytest.raises(UserError, match=r"model\.pkl .*executed"):
        read_pickle(path)
    assert not Path(MARK).exists()


def test_the_attacks_would_work_on_a_trusting_reader():
    """Else the tests above would show nothing."""
    pickle.loads(attacks()["os.system, protocol 2"])  # noqa: S301 (that is the point)
    assert Path(MARK).exists()
    Path(MARK).unlink()


def test_bombs_end():
    """Lists of the same list twice, forty deep: 2^40 values in 200 bytes."""
    bomb = b"]q\x00" + b"".join(
        b"]q" + bytes([k + 1]) + b"(h" + bytes([k]) + b"h" + bytes([k]) + b"e" for k in range(40)
    )
    with pytest.raises(UserError, match="executed"):
        parse_pickle(bomb + b".", "x")
    with pytest.raises(UserError, match="without end"):
        parse_pickle(b"]q\x00(h\x00e.", "x")
    with pytest.raises(UserError, match="truncated"):
        parse_pickle(b"\x8e" + (2**40).to_bytes(8, "little") + b"x.", "x")
    with pytest.raises(UserError, match="executed"):
        parse_pickle(b"(" * 100_000 + b".", "x")


def test_arrays_that_lie_about_their_size_are_refused():
    content = pickle.dumps(np.arange(10.0), 2)
    huge = content.replace(b"K\x0a\x85", b"K\x7f\x85")
    assert huge != content
    with pytest.raises(UserError, match="does not fit"):
        parse_pickle(huge, "x")
    matrix = scipy.sparse.csc_matrix(np.eye(3))
    matrix.indices = np.array([0, 1, 99], np.int32)
    with pytest.raises(ValueError, match="outside"):
        to_array(parse_pickle(pickle.dumps(matrix), "x"))


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_files_end_in_a_sentence(data: st.DataObject):
    value = {
        "a": np.arange(6.0).reshape(2, 3),
        "s": scipy.sparse.eye(3, format="csc"),
        "t": [1, "x"],
    }
    content = bytearray(pickle.dumps(value, data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert "\n" not in said_of(bytes(content))


@given(content=st.binary(max_size=300))
def test_random_bytes_end_in_a_sentence(content: bytes):
    assert said_of(content)[:2] in ("", "x ")


def said_of(content: bytes) -> str:
    try:
        parse_pickle(content, "x")
    except UserError as error:
        return str(error)
    return ""
