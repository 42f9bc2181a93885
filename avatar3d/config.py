"""Settings are dataclasses; a preset fills one from YAML; the command line has the last word.

    configs/create/draft.yaml  ->  load_preset(CreateConfig, "create", "draft", {"steps": 40})

A command takes a preset by marking the parameter that it fills:

    def create(..., preset: str = "default",
               config: Annotated[CreateConfig, FromPreset("create")] = CreateConfig()): ...

The front door then replaces that default by the preset's values before it reads the options.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from avatar3d.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class FromPreset:
    """Marks the parameter of a command that `configs/<group>/<preset>.yaml` fills."""

    group: str


def configs_folder() -> Path:
    """The presets: inside the installed package, else beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def preset_names(group: str, folder: Path | None = None) -> list[str]:
    return sorted(path.stem for path in ((folder or configs_folder()) / group).glob("*.yaml"))


def load_preset(
    cls: type[T],
    group: str,
    name: str = "default",
    overrides: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> T:
    """`cls` with a preset's values, then `overrides`; nested dataclasses take nested mappings."""
    known = preset_names(group, folder)
    if name not in known:
        raise UserError(
            f"there is no preset {name!r} for {group}{_nearest(name, known)}; "
            f"found: {', '.join(known) or 'none'}"
        )
    path = (folder or configs_folder()) / group / f"{name}.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a YAML file: {error}") from error
    config = fill(cls, {} if values is None else values, str(path))
    return _replaced(config, overrides or {}, "the given settings")


def fill(cls: type[T], values: Any, source: str) -> T:
    """A dataclass from a mapping; unknown keys and wrong kinds are UserErrors that name them."""
    return _replaced(cls(), values, source)


def with_preset(function: Callable[..., Any], arguments: Sequence[str]) -> Callable[..., Any]:
    """`function` with defaults for its `FromPreset` parameters, by the `--preset` in `arguments`.

    A name that is no preset is left for the option parser, which knows the choices.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    marked = {
        name: marker
        for name, hint in hints.items()
        for marker in getattr(hint, "__metadata__", ())
        if isinstance(marker, FromPreset)
    }
    if not marked or "preset" not in parameters:
        return function
    preset = _option_value(arguments, "--preset") or parameters["preset"].default
    defaults = {
        name: load_preset(typing.get_args(hints[name])[0], marker.group, preset)
        for name, marker in marked.items()
        if preset in preset_names(marker.group)
    }

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **{**defaults, **kwargs})

    signature = inspect.signature(function)
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            parameter.replace(default=defaults.get(name, parameter.default))
            for name, parameter in signature.parameters.items()
        ]
    )
    return command


def _option_value(arguments: Sequence[str], option: str) -> str | None:
    value = None
    for index, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument.startswith(option + "="):
            value = argument.partition("=")[2]
        elif argument == option and index + 1 < len(arguments):
            value = arguments[index + 1]
    return value


def _replaced(config: T, values: Any, source: str) -> T:
    if not isinstance(values, Mapping):
        raise UserError(f"{source}: expected names with values, got {_kind(values)}")
    hints = typing.get_type_hints(type(config))
    fields = dataclasses.fields(config)  # type: ignore[arg-type]
    names = [field.name for field in fields if field.init]
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            raise UserError(f"{source}: unknown setting {key!r}{_nearest(str(key), names)}")
        current = getattr(config, key)
        if dataclasses.is_dataclass(current) and not dataclasses.is_dataclass(value):
            changes[key] = _replaced(current, value, f"{source}: {key}")
        else:
            changes[key] = _converted(value, hints[key], f"{source}: {key}")
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def _converted(value: Any, hint: Any, where: str) -> Any:
    """`value` as `hint` asks: lists may become tuples, and `1e-3`, to YAML a string, a float."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return fill(hint, value, where)
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _converted(value, options[0], where)
    if origin is typing.Literal:
        if value in options:
            return value
        raise UserError(f"{where}: expected one of {', '.join(map(str, options))}, got {value!r}")
    if origin in (typing.Union, types.UnionType):
        for option in options:
            try:
                return _converted(value, option, where)
            except UserError:
                continue
    elif origin in (list, tuple) and isinstance(value, (list, tuple)):
        fixed = origin is tuple and options[-1] is not Ellipsis
        if not fixed or len(value) == len(options):
            items = options if fixed else [options[0]] * len(value)
            return origin(_converted(v, item, where) for v, item in zip(value, items))
    elif hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    elif hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    elif hint is Any or hint is type(value) or (hint in (None, types.NoneType) and value is None):
        return value
    expected = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise UserError(f"{where}: expected {expected}, got {_kind(value)}")


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _kind(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"
