"""The JavaScript tools under tests/js: validator, readers, and three.js in headless Chromium."""

from __future__ import annotations

import json
import mimetypes
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "js"
_ORIGIN = "http://tests.local"


def need_tools() -> None:
    """Skip where the tools are not installed; `make test` installs them where there is npm."""
    if shutil.which("node") is None:
        pytest.skip("node is not on this machine")
    if not (TOOLS / "node_modules").is_dir():
        pytest.skip("the JavaScript tools are not installed: npm ci --prefix tests/js")


def run_tool(*command: str | Path) -> str:
    """Run a script of tests/js, or a program of its packages; returns what it printed."""
    need_tools()
    first = str(command[0])
    program = ["node", str(TOOLS / first)] if first.endswith(".mjs") else [
        str(TOOLS / "node_modules" / ".bin" / first)
    ]  # fmt: skip
    done = subprocess.run(
        [*program, *map(str, command[1:])],
        capture_output=True, text=True, timeout=120, check=False, cwd=TOOLS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def validated(path: Path) -> dict[str, Any]:
    """The Khronos validator's report on a GLB."""
    return json.loads(run_tool("validate.mjs", path))


@contextmanager
def three_page(browser: Any, folder: Path) -> Iterator[Any]:
    """A page of Chromium with three.js (tests/js/page.js); `files/NAME` is in `folder`."""
    need_tools()

    def answer(route: Any) -> None:
        name = unquote(urlsplit(route.request.url).path).lstrip("/")
        path = folder / name.removeprefix("files/") if name.startswith("files/") else TOOLS / name
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        route.fulfill(body=path.read_bytes(), content_type=kind)

    page = browser.new_page()
    try:
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.route(f"{_ORIGIN}/**", answer)
        page.goto(f"{_ORIGIN}/page.html")
        page.wait_for_function("window.ready === true", timeout=60_000)
        yield page
        assert problems == []
    finally:
        page.close()
