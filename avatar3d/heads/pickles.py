"""Reading pickled model files without running them.

A pickle is a program: whoever loads it with Python's own loader runs what its author wrote. This
reader interprets the opcodes itself. It knows numbers, texts, lists, dicts, NumPy arrays, and two
kinds of object, chumpy's arrays and SciPy's sparse matrices, whose *fields* it keeps without
importing, constructing or calling anything; PyTorch's tensors it passes over. Every other name in
the file is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from avatar3d.errors import UserError
from avatar3d.files import check_readable

MAX_BYTES = 1 << 30
_MAX_NESTING, _MAX_VALUES = 50, 5_000_000

_RECONSTRUCT = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}
_SCALAR = {("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar")}
_FROM_BUFFER = {("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer")}
_NDARRAY, _DTYPE = ("numpy", "ndarray"), ("numpy", "dtype")
_ENCODE = ("_codecs", "encode")
_ORDERED_DICT = ("collections", "OrderedDict")
_OBJECT = {("__builtin__", "object"), ("builtins", "object")}
_BYTES = {("__builtin__", "bytes"), ("builtins", "bytes")}
_RECONSTRUCTOR = {("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")}
# Tensors in a file are passed over: their storage stays bytes that nobody reads.
_TENSOR_PARTS = {
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch.storage", "_load_from_bytes"),
}
_FUNCTIONS = {
    *_TENSOR_PARTS, *_RECONSTRUCT, *_SCALAR, *_FROM_BUFFER, *_OBJECT, *_BYTES, *_RECONSTRUCTOR,
    _NDARRAY, _DTYPE, _ENCODE, _ORDERED_DICT,
}  # fmt: skip
_SPARSE = ("csc_matrix", "csr_matrix", "coo_matrix", "csc_array", "csr_array", "coo_array")


@dataclass
class Inert:
    """An object of the file as its class's name and fields: data, nothing that could act."""

    module: str
    name: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Name:
    module: str
    name: str


@dataclass
class _Dtype:
    code: str
    order: str = "|"

    def resolve(self) -> np.dtype[Any]:
        code = self.code.removeprefix("<").removeprefix(">").removeprefix("|").removeprefix("=")
        kind, size = code[:1], code[1:]
        if kind not in "biufSUO" or not (size.isdigit() and 1 <= int(size) <= 1024):
            raise _Refused(f"has an array of the unknown kind {self.code!r}")
        return np.dtype((self.order if self.order in "<>" else "") + code)


@dataclass
class _Array:
    value: Any = None


class _Refused(Exception):
    """What is wrong, to be said after the file's name."""


def read_pickle(path: str | Path) -> Any:
    """The value in a pickle file of plain data; `UserError` for anything else. Runs no code."""
    check_readable(path, MAX_BYTES)
    return parse_pickle(Path(path).read_bytes(), path)


def parse_pickle(content: bytes, path: str | Path) -> Any:
    """As `read_pickle`, of bytes; `path` is for the sentences."""
    try:
        return _Unwrapping().plain(_Machine(content).run())
    except _Refused as refused:
        raise UserError(f"{path} {refused}; nothing in it was executed") from None
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        kind = type(error).__name__
        raise UserError(
            f"{path} is damaged or not a pickle of plain data ({kind}: {str(error)[:200]}); nothing "
            "in it was executed"
        ) from None


class _Machine:
    """The stack machine of pickle protocols 0 to 5, reduced to data."""

    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            code = self.take(1)
            if code == b".":
                if len(self.stack) != 1 or self.marks:
                    raise _Refused("is damaged: it ends with values left over")
                return self.stack.pop()
            handler = _HANDLERS.get(code)
            if handler is None:
                raise _Refused(f"uses the pickle operation {code!r}, which data never needs")
            handler(self)

    # Reading
    def take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self.content):
            raise _Refused(f"is truncated: expected {end:,} bytes, got {len(self.content):,}")
        self.position, start = end, self.position
        return self.content[start:end]

    def number(self, count: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(count), "little", signed=signed)

    def line(self) -> bytes:
        end = self.content.find(b"\n", self.position)
        if end < 0:
            raise _Refused("is truncated: a line has no end")
        start, self.position = self.position, end + 1
        return self.content[start:end]

    # The stack
    def push(self, value: Any) -> None:
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    # What makes objects
    def name(self, module: str, name: str) -> None:
        known = (module, name) in _FUNCTIONS or _is_inert(module, name)
        if not known:
            shown = f"{module}.{name}"[:100]
            raise _Refused(
                f"asks for {shown!r}, which is no part of a model's data: such a file could run any "
                "program when loaded, so it is refused; get the model from its makers"
            )
        self.push(_Name(module, name))

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise _Refused("is damaged: it calls what is no name")
        self.push(_called((function.module, function.name), arguments))

    def new(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not isinstance(kind, _Name) or not isinstance(arguments, tuple):
            raise _Refused("is damaged: it makes an object of what is no class")
        self.push(_made(kind))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Array):
            target.value = _array_of(state)
        elif isinstance(target, _Dtype):
            target.order = _text(state[1])
        elif isinstance(target, Inert):
            if isinstance(state, tuple) and len(state) == 2:  # with __slots__
                state = {**(state[0] or {}), **(state[1] or {})}
            if not isinstance(state, dict):
                raise _Refused(f"has a {target.name} whose fields are not named")
            target.fields.update({_text(key): value for key, value in state.items()})
        else:
            raise _Refused("is damaged: it fills an object that has no fields")

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(pairs) % 2:
            raise _Refused("is damaged: it puts items into what is no dict")
        target.update(zip(pairs[::2], pairs[1::2]))

    def extend(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise _Refused("is damaged: it appends to what is no list")
        self.stack[-1].extend(values)

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]


def _is_inert(module: str, name: str) -> bool:
    top = module.split(".")[0]
    return top == "chumpy" or (module.startswith("scipy.sparse") and name in _SPARSE)


def _made(kind: _Name) -> Any:
    if _is_inert(kind.module, kind.name):
        return Inert(kind.module, kind.name)
    if (kind.module, kind.name) == _NDARRAY:
        return _Array()
    raise _Refused(f"makes an object of {kind.module}.{kind.name}, which is no data")


def _called(function: tuple[str, str], arguments: tuple[Any, ...]) -> Any:
    if function in _RECONSTRUCT:
        return _Array()
    if function == _DTYPE:
        return _Dtype(_text(arguments[0]))
    if function in _SCALAR:
        return _scalar(*arguments[:2])
    if function in _FROM_BUFFER:
        buffer, dtype, shape, order = arguments
        return _Array(_filled(_bytes(buffer), dtype, tuple(shape), order == "F"))
    if function == _ENCODE and isinstance(arguments[0], str):
        return arguments[0].encode("latin1")
    if function in _RECONSTRUCTOR and isinstance(arguments[0], _Name):
        return _made(arguments[0])
    if function in _TENSOR_PARTS:
        return Inert(*function)
    if function in _BYTES and not arguments:  # how old protocols write an empty one
        return b""
    if function == _ORDERED_DICT:
        return dict(arguments[0]) if arguments else {}
    raise _Refused(f"calls {'.'.join(function)} in a way that no data needs")


def _scalar(dtype: _Dtype, data: Any) -> Any:
    kind = dtype.resolve()
    if kind.kind == "O":
        raise _Refused("has a scalar that is an object")
    return np.frombuffer(_bytes(data), kind, count=1)[0]


def _array_of(state: Any) -> Any:
    if len(state) != 5:
        raise _Refused("has an array of an unknown make")
    _, shape, dtype, fortran, data = state
    return _filled(data, dtype, tuple(shape), bool(fortran))


def _filled(data: Any, dtype: _Dtype, shape: tuple[int, ...], fortran: bool) -> Any:
    kind = dtype.resolve()
    if not all(type(size) is int and 0 <= size < 1 << 40 for size in shape):
        raise _Refused(f"has an array of the impossible shape {shape}")
    if kind.kind == "O":
        if not isinstance(data, list) or len(data) != math.prod(shape):
            raise _Refused("has an array of objects that does not fit its shape")
        return data if shape else data[0]
    content = _bytes(data)
    if math.prod(shape) * kind.itemsize != len(content):
        raise _Refused(
            f"has an array of shape {list(shape)} that does not fit its {len(content):,} bytes"
        )
    return np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin1")
    if not isinstance(value, str):
        raise _Refused("is damaged: a name is no text")
    return value


def _bytes(value: Any) -> bytes:
    """Python 2 wrote bytes as texts."""
    if isinstance(value, str):
        return value.encode("latin1")
    if not isinstance(value, (bytes, bytearray)):
        raise _Refused("is damaged: an array's data are no bytes")
    return bytes(value)


class _Unwrapping:
    """The value without the machine's own wrappers; byte strings of Python 2 stay bytes."""

    def __init__(self) -> None:
        # A list may hold the same list twice, and that again: a few bytes would unfold for ever.
        self.left = _MAX_VALUES

    def plain(self, value: Any, depth: int = 0) -> Any:
        self.left -= 1
        if depth > _MAX_NESTING or self.left < 0:
            raise _Refused("nests its values without end")
        if isinstance(value, _Array):
            return self.plain(value.value, depth + 1)
        if isinstance(value, dict):
            return {_key(k): self.plain(v, depth + 1) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.plain(v, depth + 1) for v in value)
        if isinstance(value, Inert):
            kept = {k: v for k, v in value.fields.items() if k in _KEPT_FIELDS}
            fields = {k: self.plain(v, depth + 1) for k, v in kept.items()}
            return Inert(value.module, value.name, fields)
        if isinstance(value, (_Name, _Dtype)):
            raise _Refused("holds a name or a kind of array where a value is expected")
        return value


# chumpy's objects carry caches that refer back to themselves.
_KEPT_FIELDS = {
    "x", "a", "idxs", "preferred_shape",  # chumpy.ch.Ch; chumpy.reordering.Select
    "data", "indices", "indptr", "row", "col", "coords", "_shape", "shape",  # scipy.sparse
}  # fmt: skip


def _key(key: Any) -> Any:
    return key.decode("latin1") if isinstance(key, bytes) else key


def to_array(value: Any) -> np.ndarray:
    """A model's array as NumPy, however it was wrapped; `ValueError` when it is none."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, Inert) and value.module.startswith("chumpy"):
        if "x" in value.fields:
            return to_array(value.fields["x"])
        if {"a", "idxs"} <= value.fields.keys():  # a selection of another array's elements
            chosen = to_array(value.fields["a"]).reshape(-1)[to_array(value.fields["idxs"])]
            shape = value.fields.get("preferred_shape")
            return chosen if shape is None else chosen.reshape(tuple(to_array(shape).tolist()))
    if isinstance(value, Inert):
        return _dense(value)
    if isinstance(value, (int, float, np.generic, list, tuple)):
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            return array
    raise ValueError(f"a {type(value).__name__} is no array of numbers")


def _dense(matrix: Inert) -> np.ndarray:
    """SciPy's compressed or coordinate matrix written out."""
    fields = matrix.fields
    shape = tuple(int(size) for size in fields.get("_shape", fields.get("shape", ())))
    if len(shape) != 2 or not 0 < math.prod(shape) <= 1 << 26:
        raise ValueError(f"a sparse matrix has the impossible shape {shape}")
    data = to_array(fields["data"])
    if matrix.name.startswith("coo"):
        rows, columns = map(to_array, fields.get("coords") or (fields["row"], fields["col"]))
    else:
        starts, minor = to_array(fields["indptr"]), to_array(fields["indices"])
        if (np.diff(starts) < 0).any() or starts[0] != 0 or starts[-1] != len(data):
            raise ValueError("a sparse matrix is damaged: its rows do not follow one another")
        major = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        rows, columns = (minor, major) if matrix.name.startswith("csc") else (major, minor)
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    if not (len(rows) == len(columns) == len(data) and inside.all()):
        raise ValueError("a sparse matrix is damaged: entries lie outside it")
    dense = np.zeros(shape, data.dtype)
    np.add.at(dense, (rows, columns), data)
    return dense


def _stack_global(machine: _Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.name(_text(module), _text(name))


def _quoted(line: bytes) -> bytes:
    """A Python 2 string literal: quotes and backslashes as repr wrote them."""
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise _Refused("is damaged: a text has no quotes")
    return line[1:-1].decode("unicode_escape", "strict").encode("latin1")


def _tuple(count: int) -> Callable[[_Machine], None]:
    def handler(machine: _Machine) -> None:
        if len(machine.stack) < count:
            raise _Refused("is damaged: a tuple lacks values")
        values = tuple(machine.stack[len(machine.stack) - count :])
        del machine.stack[len(machine.stack) - count :]
        machine.push(values)

    return handler


def _pop_dict(machine: _Machine) -> None:
    pairs = machine.since_mark()
    machine.push({})
    machine.set_items(pairs)


def _integer(line: bytes) -> int | bool:
    if line in (b"00", b"01"):
        return line == b"01"
    if len(line) > 100:
        raise _Refused("has a number of absurd length")
    return int(line.rstrip(b"L"))


def _set_item(machine: _Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items([key, value])


def _append(machine: _Machine) -> None:
    machine.extend([machine.stack.pop()])


def _protocol(machine: _Machine) -> None:
    version = machine.number(1)
    if version > 5:
        raise _Refused(f"has pickle protocol {version}, expected 0 to 5")


def _binary_float(machine: _Machine) -> None:
    machine.push(float(np.frombuffer(machine.take(8), ">f8")[0]))


def _length(count: int) -> Callable[[_Machine], bytes]:
    return lambda machine: machine.take(machine.number(count))


def _refuse_call(what: str) -> Callable[[_Machine], NoReturn]:
    def handler(machine: _Machine) -> NoReturn:
        del machine
        raise _Refused(f"{what}, which no model's data need")

    return handler


_HANDLERS: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": _protocol,
    b"\x95": lambda m: m.take(8),  # a frame's length, of use only to streams
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"0": lambda m: m.stack.pop(),
    b"1": lambda m: m.since_mark(),
    b"2": lambda m: m.push(m.stack[-1]),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": lambda m: m.push(_integer(m.line())),
    b"L": lambda m: m.push(_integer(m.line())),
    b"J": lambda m: m.push(m.number(4, signed=True)),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"\x8a": lambda m: m.push(m.number(m.number(1), signed=True)),
    b"F": lambda m: m.push(float(m.line())),
    b"G": _binary_float,
    # Texts of Python 2 may be bytes: they stay bytes until it is known what they are.
    b"S": lambda m: m.push(_quoted(m.line())),
    b"T": lambda m: m.push(_length(4)(m)),
    b"U": lambda m: m.push(_length(1)(m)),
    b"B": lambda m: m.push(_length(4)(m)),
    b"C": lambda m: m.push(_length(1)(m)),
    b"\x8e": lambda m: m.push(_length(8)(m)),
    b"\x96": lambda m: m.push(_length(8)(m)),
    b"V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    b"X": lambda m: m.push(_length(4)(m).decode("utf-8", "surrogatepass")),
    b"\x8c": lambda m: m.push(_length(1)(m).decode("utf-8", "surrogatepass")),
    b"\x8d": lambda m: m.push(_length(8)(m).decode("utf-8", "surrogatepass")),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.since_mark()),
    b"a": _append,
    b"e": lambda m: m.extend(m.since_mark()),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"}": lambda m: m.push({}),
    b"d": _pop_dict,
    b"s": _set_item,
    b"u": lambda m: m.set_items(m.since_mark()),
    b"p": lambda m: m.remember(int(m.line())),
    b"q": lambda m: m.remember(m.number(1)),
    b"r": lambda m: m.remember(m.number(4)),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"g": lambda m: m.push(m.memo[int(m.line())]),
    b"h": lambda m: m.push(m.memo[m.number(1)]),
    b"j": lambda m: m.push(m.memo[m.number(4)]),
    b"c": lambda m: m.name(m.line().decode("ascii"), m.line().decode("ascii")),
    b"\x93": _stack_global,
    b"R": lambda m: m.reduce(),
    b"\x81": lambda m: m.new(),
    b"b": lambda m: m.build(),
    b"i": _refuse_call("makes an object by name"),
    b"o": _refuse_call("makes an object by class"),
    b"P": _refuse_call("refers to something outside the file"),
    b"Q": _refuse_call("refers to something outside the file"),
}
