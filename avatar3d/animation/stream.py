"""Codes from one machine to another: a packet of `codec` a datagram (UDP) or a message (WebSocket).

    sender:    with UdpSender("192.0.2.7", 5005) as sender: sender.send(code)
    receiver:  with UdpReceiver(5005) as receiver: received = receiver.receive(timeout_s=1)

Both ends know the avatar; only its codes travel. Nobody is asked who they are and nothing is
encrypted: on a network that is not your own, send through a tunnel.
"""

from __future__ import annotations

import queue
import socket
import threading
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from avatar3d.animation.codec import CodeDecoder, CodeEncoder, Received
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.optional import require

DEFAULT_PORT = 5005
MAX_PACKET_BYTES = 1200  # below what any network splits; a code needs about a hundred at most
MAX_WAITING = 256  # packets that nobody fetched; older ones are dropped


class _Closing:
    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class UdpSender(_Closing):
    """Sends each code as one datagram; those that nobody receives are lost unnoticed."""

    def __init__(
        self, host: str, port: int = DEFAULT_PORT, frames_per_second: float = 30.0
    ) -> None:
        self._encoder = CodeEncoder(frames_per_second)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        except OSError as error:
            raise UserError(
                f"no machine named {host!r} is known ({error.strerror}); give its name or address"
            ) from None
        family, _, _, _, self._address = found
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self.bytes_sent = 0

    def send(self, code: ExpressionCode) -> None:
        packet = self._encoder.encode(code)
        self.bytes_sent += len(packet)
        try:
            self._socket.sendto(packet, self._address)
        except OSError:
            return  # a network that is down for a moment loses packets, no more

    def close(self) -> None:
        self._socket.close()


class _Receiver(_Closing):
    """Packets to codes; what is lost is concealed, what is late or damaged dropped."""

    def __init__(self) -> None:
        self.decoder = CodeDecoder()
        self._ready: list[Received] = []

    def receive(self, timeout_s: float | None = None) -> Received | None:
        """The next code; None when none came in time."""
        while not self._ready:
            packet = self._next_packet(timeout_s)
            if packet is None:
                return None
            self._ready = self.decoder.decode(packet)
        return self._ready.pop(0)

    def _next_packet(self, timeout_s: float | None) -> bytes | None:
        raise NotImplementedError


class UdpReceiver(_Receiver):
    """Listens on a port of this machine; `host` "" for all its networks."""

    def __init__(self, port: int = DEFAULT_PORT, host: str = "127.0.0.1") -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise UserError(
                f"UDP port {port} cannot be listened on ({error.strerror}); choose another"
            ) from None

    @property
    def port(self) -> int:
        return self._socket.getsockname()[1]

    def _next_packet(self, timeout_s: float | None) -> bytes | None:
        self._socket.settimeout(timeout_s)
        try:
            return self._socket.recv(MAX_PACKET_BYTES)
        except (TimeoutError, BlockingIOError):
            return None

    def close(self) -> None:
        self._socket.close()


class WebSocketSender(_Closing):
    """Sends each code as one binary message to a `ws://` address."""

    def __init__(self, url: str, frames_per_second: float = 30.0) -> None:
        client = require("websockets.sync.client", extra="viewer")
        self._encoder = CodeEncoder(frames_per_second)
        self._closed = require("websockets.exceptions", extra="viewer").ConnectionClosed
        self._stack = ExitStack()
        try:
            self._connection = self._stack.enter_context(
                client.connect(url, max_size=MAX_PACKET_BYTES, open_timeout=5)
            )
        except Exception as error:  # noqa: BLE001 - refused, no such host, no WebSocket, bad URL
            raise UserError(
                f"nobody answers at {url} ({error}); start the receiver first, or check the address"
            ) from None

    def send(self, code: ExpressionCode) -> None:
        try:
            self._connection.send(self._encoder.encode(code))
        except self._closed:
            raise UserError("the receiver has closed the connection; start it again") from None

    def close(self) -> None:
        self._stack.close()


class WebSocketReceiver(_Receiver):
    """Takes codes from a sender who connects to this machine's port (0: any free one)."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        super().__init__()
        server = require("websockets.sync.server", extra="viewer")
        self._packets: queue.Queue[bytes] = queue.Queue(MAX_WAITING)
        try:
            self._server = server.serve(self._take, host, port, max_size=MAX_PACKET_BYTES)
        except OSError as error:
            raise UserError(
                f"port {port} cannot be listened on ({error.strerror}); choose another"
            ) from None
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.socket.getsockname()[1]

    def _take(self, connection: Any) -> None:
        for message in connection:
            if isinstance(message, bytes):
                if self._packets.full():
                    self._packets.get_nowait()
                self._packets.put(message)

    def _next_packet(self, timeout_s: float | None) -> bytes | None:
        try:
            return self._packets.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(timeout=2)
