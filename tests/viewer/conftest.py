from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.avatars import plain_avatar
from viewer.asset import encode_web_asset
from viewer.server import ServerConfig, ViewerServer

SIZE_PX = 440  # any narrower and the page folds as on a phone


@pytest.fixture(scope="module")
def server() -> Iterator[ViewerServer]:
    """A server that shows the plain avatar."""
    server = ViewerServer(ServerConfig(port=0, preset="draft", max_upload_bytes=2**20))
    server.show(encode_web_asset(plain_avatar()), "plain")
    with server:
        yield server


@pytest.fixture
def page(chromium: Any, server: ViewerServer) -> Iterator[Any]:
    """The server's page with the avatar shown and the loop stopped, small, without surprises."""
    context = chromium.new_context(viewport={"width": SIZE_PX + 330, "height": SIZE_PX})
    context.set_default_timeout(120_000)  # a slow machine is no failure
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    open_page(page, server.url)
    yield page
    context.close()
    assert not problems, problems


def open_page(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_function("window.avatar3d && avatar3d.viewer.avatars.length > 0")
