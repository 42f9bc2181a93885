"""Where live codes go: a window, a virtual camera, a page, other programs, a file."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from avatar3d.animation import portrait_camera
from avatar3d.animation.stream import DEFAULT_PORT, UdpSender
from avatar3d.avatar import Avatar
from avatar3d.codes import ARKIT_INDEX, ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError
from avatar3d.motion import Motion
from avatar3d.optional import require
from render.frames import to_uint8
from render.rasterize import rasterize, warm_up
from render.window import Window

OSC_PORT = 39539  # where VMC programs listen
VIEWER_PORT = 8321


class Sink(Protocol):
    """Takes one code after the other."""

    def send(self, code: ExpressionCode, time_s: float) -> bool:
        """False when the user has had enough."""
        ...

    def close(self) -> None: ...


class _Drawn:
    """Draws the avatar in each code."""

    def __init__(self, avatar: Avatar, size_px: int) -> None:
        self._avatar, self._camera = avatar, portrait_camera(avatar, size_px)
        warm_up()

    def picture(self, code: ExpressionCode) -> np.ndarray:
        with torch.no_grad():
            drawn = rasterize(self._avatar.gaussians(code), self._camera, background=torch.ones(3))
        return to_uint8(drawn.colors)


class WindowSink(_Drawn):
    """A window on this machine; Esc or q closes it."""

    def __init__(self, avatar: Avatar, size_px: int) -> None:
        self._window = Window(
            "avatar3d", "use --to video, or --to viewer with `avatar3d view` running"
        )
        self._window.__enter__()
        super().__init__(avatar, size_px)

    def send(self, code: ExpressionCode, time_s: float) -> bool:
        del time_s
        return self._window(self.picture(code))

    def close(self) -> None:
        self._window.__exit__()


class VirtualCamera(_Drawn):
    """A camera that other programs see (OBS, v4l2loopback)."""

    def __init__(self, avatar: Avatar, size_px: int, frames_per_second: float = 30.0) -> None:
        pyvirtualcam = require("pyvirtualcam", extra="virtual-camera")
        super().__init__(avatar, size_px)
        try:
            self._camera_out = pyvirtualcam.Camera(size_px, size_px, frames_per_second)
        except RuntimeError as error:
            raise UserError(
                f"no virtual camera was found ({str(error).splitlines()[0]}); install OBS, or on "
                "Linux load v4l2loopback"
            ) from None

    def send(self, code: ExpressionCode, time_s: float) -> bool:
        del time_s
        self._camera_out.send(self.picture(code))
        return True

    def close(self) -> None:
        self._camera_out.close()


class Osc:
    """VMC over OSC: the 52 as blend shapes by ARKit's names, the head as the bone Head.

    A bundle's worth of messages a code: `/VMC/Ext/Blend/Val name value` for each, then
    `/VMC/Ext/Blend/Apply`, and `/VMC/Ext/Bone/Pos Head x y z qx qy qz qw` in Unity's left-handed
    axes.
    """

    def __init__(self, host: str, port: int) -> None:
        self._bundle = require("pythonosc.osc_bundle_builder", extra="drive")
        self._message = require("pythonosc.osc_message_builder", extra="drive")
        try:
            self._address = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_DGRAM)[0][4]
        except OSError as error:
            raise UserError(
                f"no machine named {host!r} is known ({error.strerror}); give --address HOST:PORT"
            ) from None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def send(self, code: ExpressionCode, time_s: float) -> bool:
        del time_s
        bundle = self._bundle.OscBundleBuilder(self._bundle.IMMEDIATELY)
        for address, arguments in vmc_messages(code):
            message = self._message.OscMessageBuilder(address=address)
            for argument in arguments:
                message.add_arg(argument)
            bundle.add_content(message.build())
        try:
            self._socket.sendto(bundle.build().dgram, self._address)
        except OSError:
            return True  # a network that is down for a moment loses codes, no more
        return True

    def close(self) -> None:
        self._socket.close()


def vmc_messages(code: ExpressionCode) -> list[tuple[str, list[str | float]]]:
    """The messages of one code. Unity's axes: x to the right of the viewer's left-handed world, so
    our x and z turn round in a rotation about y and z."""
    w, x, y, z = (float(value) for value in code.head_rotation)
    px, py, pz = (float(value) for value in code.head_translation)
    values: list[tuple[str, list[str | float]]] = [
        ("/VMC/Ext/OK", [1.0]),
        ("/VMC/Ext/Bone/Pos", ["Head", -px, py, pz, x, -y, -z, w]),
    ]
    for name in ARKIT_NAMES:
        value = float(code.coefficients[ARKIT_INDEX[name]])
        values.append(("/VMC/Ext/Blend/Val", [name, value]))
    return [*values, ("/VMC/Ext/Blend/Apply", [])]


class Viewer:
    """The page of `avatar3d view`: each code as a LiveCode message to its /drive."""

    def __init__(self, host: str, port: int) -> None:
        client = require("websockets.sync.client", extra="viewer")
        self._closed = require("websockets.exceptions", extra="viewer").ConnectionClosed
        try:
            self._context = client.connect(f"ws://{host}:{port}/drive", open_timeout=5)
            self._connection = self._context.__enter__()
        except Exception as error:  # noqa: BLE001 - refused, no such host, no WebSocket
            raise UserError(
                f"no viewer answers at {host}:{port} ({error}); start `avatar3d view` first, or "
                "give --address HOST:PORT"
            ) from None

    def send(self, code: ExpressionCode, time_s: float) -> bool:
        del time_s
        message: dict[str, Any] = {"type": "LiveCode"}
        for name, value in zip(ExpressionCode._fields, code):
            message[name] = [round(number, 5) for number in value.tolist()]
        try:
            self._connection.send(json.dumps(message))
        except self._closed:
            raise UserError("the viewer has closed; start `avatar3d view` again") from None
        return True

    def close(self) -> None:
        self._context.__exit__(None, None, None)


class Stream:
    """The code stream over UDP (docs/code_stream.md)."""

    def __init__(self, host: str, port: int) -> None:
        self._sender = UdpSender(host, port)

    def send(self, code: ExpressionCode, time_s: float) -> bool:
        del time_s
        self._sender.send(code)
        return True

    def close(self) -> None:
        self._sender.close()


class Recording:
    """A motion file, .csv or .npz, written when the session ends."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self._path, self._names = path, names
        self._codes: list[ExpressionCode] = []
        self._times_s: list[float] = []

    def send(self, code: ExpressionCode, time_s: float) -> bool:
        self._codes.append(code)
        self._times_s.append(time_s)
        return True

    def close(self) -> None:
        if len(self._codes) < 2:
            return
        made = evenly_timed(ExpressionCode.stack(self._codes), np.array(self._times_s))
        motion = Motion(made[0], made[1], self._names[len(ARKIT_NAMES) :])
        motion.save(self._path)
        print(f"wrote {self._path} ({len(motion)} frames, {motion.duration_s:.1f} s)")


def evenly_timed(codes: ExpressionCode, times_s: np.ndarray) -> tuple[ExpressionCode, float]:
    """Codes at a fixed rate, the median one of the times."""
    from avatar3d.code_interpolation import interpolate_codes

    rate = float(np.clip(1 / max(float(np.median(np.diff(times_s))), 1e-3), 1.0, 240.0))
    grid_s = times_s[0] + np.arange(round((times_s[-1] - times_s[0]) * rate) + 1) / rate
    positions = np.interp(grid_s, times_s, np.arange(len(times_s)))
    return interpolate_codes(codes, torch.from_numpy(positions)), rate


def parse_address(address: str | None, port: int) -> tuple[str, int]:
    """HOST, HOST:PORT or :PORT; this machine and `port` where nothing is said."""
    host, colon, number = (address or "").partition(":")
    if colon and not (number.isdigit() and 0 < int(number) < 65536):
        raise UserError(f"--address must be HOST:PORT, such as 127.0.0.1:{port}, got {address!r}")
    return host or "127.0.0.1", int(number) if colon else port


DEFAULT_PORTS = {"osc": OSC_PORT, "viewer": VIEWER_PORT, "stream": DEFAULT_PORT}
