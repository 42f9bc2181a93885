"""What server and page say to each other over the WebSocket: JSON objects with a `type`.

The one definition for both sides: `python -m viewer.messages` writes `web/src/messages.ts` and
`web/src/names.ts` from it, and a test fails when they are stale.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from avatar3d.animation import EXPRESSIONS
from avatar3d.audio.channels import CHANNELS
from avatar3d.audio.style import EMOTIONS
from avatar3d.codes import ARKIT_NAMES

MAX_MESSAGE_BYTES = 1 << 16


@dataclass(frozen=True)
class Hello:
    """The first message to a page: what it may show and ask for."""

    version: str
    avatar: str | None  # URL of the asset to show
    name: str | None
    file: str | None  # URL of its .avatar file where it was made here
    motion: str | None  # URL of a motion to play
    can_create: bool  # photos may be dropped
    max_upload_bytes: int
    warning: str | None


@dataclass(frozen=True)
class AvatarReady:
    """Show this avatar now."""

    url: str
    name: str
    file: str | None  # URL of the .avatar file, to keep


@dataclass(frozen=True)
class LiveCode:
    """An expression code to show now."""

    coefficients: tuple[float, ...]  # 52 of ARKit, then a head's own
    head_rotation: tuple[float, ...]  # wxyz
    head_translation: tuple[float, ...]  # metres
    neck_rotation: tuple[float, ...]  # wxyz


@dataclass(frozen=True)
class JobProgress:
    """How far the making of an avatar is."""

    job: str
    stage: str
    done: float
    total: float


@dataclass(frozen=True)
class JobFailed:
    """An avatar could not be made; the sentence is for the user."""

    job: str
    sentence: str


@dataclass(frozen=True)
class CancelJob:
    """From the page: stop making this avatar."""

    job: str


TO_PAGE = (Hello, AvatarReady, LiveCode, JobProgress, JobFailed)
TO_SERVER = (CancelJob, LiveCode)

AnyMessage = TypeVar("AnyMessage")


def encode(message: Any) -> str:
    """JSON text of a message."""
    content = {"type": type(message).__name__} | dataclasses.asdict(message)
    return json.dumps(content, allow_nan=False)


def decode(text: str, kinds: tuple[type[AnyMessage], ...]) -> AnyMessage:
    """A message of one of `kinds`; `ValueError` for any other text."""
    if len(text) > MAX_MESSAGE_BYTES:
        raise ValueError("the message is too long")
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("the message is nested too deeply") from error
    by_name = {kind.__name__: kind for kind in kinds}
    name = content.pop("type", None) if isinstance(content, dict) else None
    if not isinstance(name, str) or name not in by_name:
        raise ValueError(f"expected a message of type {', '.join(by_name)}")
    kind = by_name[name]
    hints = typing.get_type_hints(kind)
    if set(content) != set(hints):
        raise ValueError(f"{name} has the fields {', '.join(hints)}")
    for field, hint in hints.items():
        if not _is(content[field], hint):
            raise ValueError(f"{name}.{field} is not what it should be")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in content.items()})


def _is(value: Any, hint: Any) -> bool:
    if hint in (str, bool, int):
        return type(value) is hint
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    if hint == tuple[float, ...]:
        return isinstance(value, list) and all(_is(item, float) for item in value)
    return any(
        value is None if part is type(None) else _is(value, part) for part in typing.get_args(hint)
    )


# The TypeScript side.

WEB_SOURCES = Path(__file__).parent / "web" / "src"
_PLAIN = {str: "string", bool: "boolean", int: "number", float: "number"}


def typescript() -> dict[str, str]:
    """Name -> content of the generated files."""
    kinds = tuple(dict.fromkeys(TO_PAGE + TO_SERVER))
    lines = ["// Written by `python -m viewer.messages`; change viewer/messages.py instead.", ""]
    for kind in kinds:
        lines += [f"/** {(kind.__doc__ or '').strip()} */", f"export interface {kind.__name__} {{"]
        lines.append(f"  type: '{kind.__name__}';")
        for field, hint in typing.get_type_hints(kind).items():
            lines.append(f"  {field}: {_typescript_type(hint)};")
        lines += ["}", ""]
    for name, group in (("ToPage", TO_PAGE), ("ToServer", TO_SERVER)):
        lines.append(f"export type {name} = {' | '.join(kind.__name__ for kind in group)};")
    lines += ["", "/** Fields of each message to the page, to check what arrives. */"]
    lines.append("export const TO_PAGE: Record<ToPage['type'], Record<string, string>> = {")
    for kind in TO_PAGE:
        hints = typing.get_type_hints(kind)
        fields = ", ".join(f"{field}: '{_typescript_type(hint)}'" for field, hint in hints.items())
        lines.append(f"  {kind.__name__}: {{ {fields} }},")
    lines += ["};", ""]
    names = ["// Written by `python -m viewer.messages`: avatar3d/codes.py, in Apple's order.", ""]
    names += ["export const ARKIT_NAMES = [", *(f"  '{name}'," for name in ARKIT_NAMES)]
    names += ["] as const;", "", "/** avatar3d/animation/expressions.py */"]
    names += [*_table("EXPRESSIONS", EXPRESSIONS), "/** avatar3d/audio/channels.py */"]
    names += ["export const VOICE_CHANNELS = [", *(f"  '{name}'," for name in CHANNELS)]
    names += ["] as const;", "", "/** avatar3d/audio/style.py */"]
    names += _table("EMOTIONS", EMOTIONS)
    return {"messages.ts": "\n".join(lines), "names.ts": "\n".join(names)}


def _table(name: str, rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    lines = [f"export const {name}: Record<string, Record<string, number>> = {{"]
    for key, coefficients in rows.items():
        fields = ", ".join(f"{field}: {value:g}" for field, value in coefficients.items())
        lines.append(f"  '{key}': {{ {fields} }}," if fields else f"  '{key}': {{}},")
    return [*lines, "};", ""]


def _typescript_type(hint: Any) -> str:
    if hint in _PLAIN:
        return _PLAIN[hint]
    if hint == tuple[float, ...]:
        return "number[]"
    return " | ".join(
        "null" if part is type(None) else _typescript_type(part) for part in typing.get_args(hint)
    )


if __name__ == "__main__":
    for file, content in typescript().items():
        (WEB_SOURCES / file).write_text(content, encoding="utf-8")
        print(f"wrote {WEB_SOURCES / file}")
