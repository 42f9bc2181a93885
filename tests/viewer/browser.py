"""Chromium with software WebGL2, and what tests of the page need of it."""

from __future__ import annotations

import base64
import http.server
import io
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_SOFTWARE = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]


def find_chromium() -> str | None:
    """The system's Chromium: $AVATAR3D_CHROMIUM, or the first of the usual names."""
    given = os.environ.get("AVATAR3D_CHROMIUM")
    return given or next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def open_browser(*arguments: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=[*_SOFTWARE, "--no-sandbox", *arguments]
        )
        try:
            yield browser
        finally:
            browser.close()


def canvas_picture(page: Any) -> np.ndarray:
    """What the viewer draws now, u8 [H, W, 4], straight alpha."""
    url = page.evaluate(
        "() => { const { viewer } = avatar3d; viewer.advance(performance.now() / 1000);"
        " viewer.render(); return viewer.canvas.toDataURL('image/png'); }"
    )
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


@contextmanager
def static_host(folder: Path) -> Iterator[str]:
    """A plain web host of a folder: its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(folder))
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}/"
    finally:
        listening.shutdown()
        listening.server_close()


def shared_page_text() -> str:
    return (Path(__file__).parents[2] / "viewer" / "web" / "dist" / "index.html").read_text(
        encoding="utf-8"
    )
