"""Who may talk to the server: requests for this machine's name, from this server's own page.

Another site's script can send requests to localhost, and a name server can point a stranger's name
at it (DNS rebinding). Both carry the stranger's name in Origin or Host.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "SAMEORIGIN",
    "cache-control": "no-store",
}


class Guard:
    """Refuses foreign Hosts and Origins, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._names = {"localhost", host}
        # Served to a network on purpose: addresses are accepted, names still are not.
        self._any_address = host in ("0.0.0.0", "::")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._is_ours(headers.get("host", "")) or not self._is_own_page(headers):
            await _refuse(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in _HEADERS.items()
                        if name.encode() not in given
                    ),
                ]
            await send(message)

        await self._app(scope, receive, with_headers)

    def _is_ours(self, host: str) -> bool:
        name = _name(f"//{host}")
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name or "")
        except ValueError:
            return False
        return address.is_loopback or self._any_address

    def _is_own_page(self, headers: Headers) -> bool:
        """Browsers name the page that asks; programs name none."""
        origin = headers.get("origin")
        return origin is None or origin.partition("://")[2] == headers.get("host")


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": "not from this page"})
        return
    answer = PlainTextResponse("Only this server's own page may ask this.", status_code=403)
    await answer(scope, receive, send)
