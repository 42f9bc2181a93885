"""What arrays a file must hold: dtypes, shapes with shared sizes, bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar3d.errors import UserError


@dataclass(frozen=True)
class Field:
    """One array. A size that is a name ("anchors") is the same wherever that name appears."""

    dtype: str  # NumPy's name: "float32", "int32", ...
    shape: tuple[int | str, ...]
    minimum: float = -np.inf  # inclusive
    maximum: float = np.inf  # inclusive
    optional: bool = False


def check_schema(
    arrays: Mapping[str, np.ndarray],
    schema: Mapping[str, Field],
    path: str | Path,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Check that `arrays` are those of `schema`, or say which is wrong; returns sizes by name.

    `sizes` are those known beforehand.
    """
    bound = dict(sizes or {})
    for name in arrays:
        if name not in schema:
            raise UserError(f"{path} has an array {name!r} that this format does not know")
    for name, field in schema.items():
        if name not in arrays:
            if field.optional:
                continue
            raise UserError(f"{path} lacks the array {name!r}; it is damaged or of another kind")
        array = arrays[name]
        if array.dtype != np.dtype(field.dtype):
            raise UserError(f"{path}: array {name!r} is {array.dtype.name}, expected {field.dtype}")
        _check_shape(name, array.shape, field.shape, bound, path)
        if array.size and not (array.min() >= field.minimum and array.max() <= field.maximum):
            raise UserError(
                f"{path}: array {name!r} has values from {array.min():g} to {array.max():g}, "
                f"expected {field.minimum:g} to {field.maximum:g}"
            )
    return bound


def _check_shape(
    name: str,
    shape: tuple[int, ...],
    expected: tuple[int | str, ...],
    bound: dict[str, int],
    path: str | Path,
) -> None:
    fits = len(shape) == len(expected)
    for got, size in zip(shape, expected):
        fits = fits and got == (bound.setdefault(size, got) if isinstance(size, str) else size)
    if not fits:
        wanted = ", ".join(
            f"{size}={bound[size]}" if size in bound else str(size) for size in map(str, expected)
        )
        raise UserError(f"{path}: array {name!r} has shape {list(shape)}, expected [{wanted}]")
