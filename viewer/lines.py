"""The WebSocket lines to the pages: bounded in number and in what waits for a slow one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from viewer.messages import LiveCode, encode

MAX_LINES = 32
Hear = Callable[[str], Awaitable[None]]
_WAITING = 64  # messages; a page that takes none for so long is gone
TRY_AGAIN_LATER = 1013


class Lines:
    """All open lines. Use from the server's own event loop."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[str | None]] = set()

    def __len__(self) -> int:
        return len(self._queues)

    def say(self, message: Any) -> None:
        """To every page. Codes are dropped where they would wait: the next one is newer."""
        text = encode(message)
        for queue in list(self._queues):
            if isinstance(message, LiveCode) and queue.qsize() > 2:
                continue
            try:
                queue.put_nowait(text)
            except asyncio.QueueFull:
                self._queues.discard(queue)
                _end(queue)

    async def hold(self, socket: WebSocket, first: Any, hear: Hear) -> None:
        """Serve one page until it leaves: `first` is said at once; `hear(text)` is called
        with what it says."""
        if len(self._queues) >= MAX_LINES:
            await socket.close(TRY_AGAIN_LATER, "too many pages are open")
            return
        queue: asyncio.Queue[str | None] = asyncio.Queue(_WAITING)
        self._queues.add(queue)

        try:
            await socket.accept()
            queue.put_nowait(encode(first))
            writer = asyncio.create_task(_write(socket, queue))
            try:
                while not writer.done():
                    reader = asyncio.create_task(socket.receive_text())
                    await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
                    if not reader.done():
                        reader.cancel()
                        break
                    await hear(reader.result())
            finally:
                writer.cancel()
                with contextlib.suppress(asyncio.CancelledError, RuntimeError, WebSocketDisconnect):
                    await writer
        # KeyError: a frame of bytes where text was expected; RuntimeError: it has left meanwhile.
        except (WebSocketDisconnect, KeyError, RuntimeError):
            pass
        finally:
            self._queues.discard(queue)
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await socket.close()

    def close(self) -> None:
        for queue in self._queues:
            _end(queue)


async def _write(socket: WebSocket, queue: asyncio.Queue[str | None]) -> None:
    while (text := await queue.get()) is not None:
        await socket.send_text(text)


def _end(queue: asyncio.Queue[str | None]) -> None:
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)
