"""The server behind `avatar3d view`: the page, its avatar, live codes, and photos to avatars.

Everything served is a constant, in memory, or one of a fixed list of names: no request reaches a
path. See `viewer.guard` for who may ask, `viewer.messages` for what is said over the line.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from avatar3d import __version__
from avatar3d.codes import ARKIT_NAMES, ExpressionCode
from avatar3d.errors import UserError
from avatar3d.files import temporary_folder
from viewer.asset import SUFFIX
from viewer.drivers import (
    FACE_MESH_FILES,
    FACE_MESH_FOLDER,
    TRACKER_FILE,
    VOICE_FILE,
    tracker_model,
    voice_weights,
)
from viewer.guard import Guard
from viewer.jobs import Jobs, Made
from viewer.lines import Lines
from viewer.messages import (
    MAX_MESSAGE_BYTES,
    AvatarReady,
    CancelJob,
    Hello,
    JobFailed,
    JobProgress,
    LiveCode,
    decode,
    encode,
)
from viewer.static import page

KEPT_AVATARS = 8  # the last ones made; older ones are forgotten
MAX_PHOTOS = 16
# The page needs no second question before it fetches the avatar.
_SERVED_PAGE = '<script type="application/json" id="hello">{}</script>'


@dataclass(frozen=True)
class ServerConfig:
    host: str = "127.0.0.1"
    port: int = 8321
    max_upload_bytes: int = 40 * 2**20
    max_jobs: int = 1
    preset: str = "default"
    head: str = "default"
    voice: str = "clean"  # what the page's microphone and sound files speak through
    face_mesh: Path | None = None  # folder of the detector's files
    can_create: bool = True


class ViewerServer:
    """`with ViewerServer(config) as server:` listens; `server.url` is the page's address."""

    def __init__(self, config: ServerConfig | None = None) -> None:
        self.config = config or ServerConfig()
        self._html = page()
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._motion: bytes | None = None
        self._shown: AvatarReady | None = None
        self._warning: str | None = None
        self._lines = Lines()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: Jobs | None = None
        self._listener = _listen(self.config)
        self._thread: threading.Thread | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                self.app(),
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_ping_interval=20,
                limit_concurrency=128,
                timeout_keep_alive=10,
                timeout_graceful_shutdown=3,
                lifespan="on",
            )
        )

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        host = self.config.host
        name = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::", "::1") else host
        return f"http://{name}:{self.port}/"

    # From other threads.

    def show(self, asset: bytes, name: str) -> None:
        """Show an avatar on every page, and on those that come."""
        self._call(self._show, asset, None, name)

    def play(self, motion_json: str) -> None:
        """Give pages that come a motion to play."""
        self._motion = motion_json.encode()

    def warn(self, sentence: str) -> None:
        """Say this to pages that come."""
        self._warning = sentence

    def push(self, code: ExpressionCode) -> None:
        """Show one code now, on every page."""
        self._call(self._lines.say, live_code(code))

    def run(self) -> None:
        """Serve until interrupted."""
        self._server.run(sockets=[self._listener])

    def __enter__(self) -> ViewerServer:
        self._thread = threading.Thread(target=self.run, name="viewer", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(10)

    # In the server's loop.

    def app(self) -> Starlette:
        routes = [
            Route("/", self._page),
            Route("/avatars", self._create, methods=["POST"]),
            Route("/avatars/{name}", self._avatar),
            Route("/motion.json", self._get_motion),
            Route(f"/{FACE_MESH_FOLDER}/{{name}}", self._face_mesh),
            Route(f"/{TRACKER_FILE}", self._tracker),
            Route(f"/{VOICE_FILE}", self._voice),
            WebSocketRoute("/live", self._live),
            WebSocketRoute("/drive", self._drive),
        ]
        guard = Middleware(Guard, host=self.config.host)
        app = Starlette(routes=routes, middleware=[guard], lifespan=self._life)
        app.router.redirect_slashes = False
        return app

    @contextlib.asynccontextmanager
    async def _life(self, app: Starlette) -> AsyncIterator[None]:
        del app
        config = self.config
        self._loop = asyncio.get_running_loop()
        with temporary_folder() as folder:
            self._jobs = Jobs(folder, config.preset, config.head, config.max_jobs)
            try:
                yield
            finally:
                self._lines.close()
                await self._jobs.close()
                self._loop = None

    async def _page(self, request: Request) -> Response:
        del request
        hello = encode(self._hello()).replace("<", "\\u003c")  # no tag ends it
        said = f"{_SERVED_PAGE.format(hello)}\n<title>"
        return HTMLResponse(self._html.replace("<title>", said, 1))

    async def _avatar(self, request: Request) -> Response:
        content = self._files.get(request.path_params["name"])
        if content is None:
            return PlainTextResponse("There is no such avatar here.", status_code=404)
        return Response(content, media_type="application/octet-stream")

    async def _get_motion(self, request: Request) -> Response:
        del request
        if self._motion is None:
            return PlainTextResponse("There is no motion here.", status_code=404)
        return Response(self._motion, media_type="application/json")

    async def _face_mesh(self, request: Request) -> Response:
        name, folder = request.path_params["name"], self.config.face_mesh
        if folder is None or name not in FACE_MESH_FILES or not (folder / name).is_file():
            return PlainTextResponse("The detector's files are not here.", status_code=404)
        return FileResponse(folder / name, headers={"cache-control": "max-age=3600"})

    async def _tracker(self, request: Request) -> Response:
        del request
        return await _made_on_demand(tracker_model, self.config.head)

    async def _voice(self, request: Request) -> Response:
        del request
        return await _made_on_demand(voice_weights, self.config.voice)

    async def _create(self, request: Request) -> Response:
        if not self.config.can_create or self._jobs is None:
            return PlainTextResponse("This server makes no avatars.", status_code=403)
        limit = self.config.max_upload_bytes
        try:
            sizes = [int(size) for size in request.headers.get("x-photo-sizes", "").split(",")]
        except ValueError:
            return _refused("The sizes of the photos are not told.")
        if not 1 <= len(sizes) <= MAX_PHOTOS or min(sizes) < 1:
            return _refused(f"Expected 1 to {MAX_PHOTOS} photos, got {len(sizes)}.")
        if sum(sizes) > limit:
            return PlainTextResponse(
                f"The photos have {sum(sizes) / 2**20:.0f} MB, at most {limit / 2**20:.0f} are "
                "taken; choose fewer or smaller ones.",
                status_code=413,
            )
        folder = self._jobs.claim()
        if folder is None:
            return PlainTextResponse(
                "Another avatar is being made; try again when it is done.", status_code=429
            )
        try:
            await _receive_photos(request, folder, sizes)
        except (ValueError, ClientDisconnect) as error:
            self._jobs.abandon(folder)
            return _refused(str(error) or "The photos did not arrive.")
        except BaseException:
            self._jobs.abandon(folder)
            raise
        job = self._jobs.start(folder, self._progress, self._made, self._failed)
        return PlainTextResponse(job, status_code=202)

    def _progress(self, job: str, stage: str, share: float) -> None:
        self._lines.say(JobProgress(job, stage, share, 1.0))

    def _made(self, job: str, made: Made) -> None:
        del job
        self._show(made.asset, made.avatar, "avatar")

    def _failed(self, job: str, sentence: str) -> None:
        self._lines.say(JobFailed(job, sentence))

    def _show(self, asset: bytes, avatar: bytes | None, name: str) -> None:
        key = secrets.token_hex(8)
        self._files[f"{key}{SUFFIX}"] = asset
        if avatar is not None:
            self._files[f"{key}.avatar"] = avatar
        while len(self._files) > 2 * KEPT_AVATARS:
            self._files.popitem(last=False)
        file = None if avatar is None else f"avatars/{key}.avatar"
        self._shown = AvatarReady(f"avatars/{key}{SUFFIX}", name, file)
        self._lines.say(self._shown)

    def _hello(self) -> Hello:
        config, shown = self.config, self._shown
        return Hello(
            version=__version__,
            avatar=shown.url if shown else None,
            name=shown.name if shown else None,
            file=shown.file if shown else None,
            motion="motion.json" if self._motion is not None else None,
            can_create=config.can_create,
            max_upload_bytes=config.max_upload_bytes,
            warning=self._warning,
        )

    async def _live(self, socket: WebSocket) -> None:
        """A page."""

        async def hear(text: str) -> None:
            with contextlib.suppress(ValueError):  # what is no message is no reason to hang up
                message = decode(text, (CancelJob,))
                if self._jobs is not None:
                    self._jobs.cancel(message.job)

        await self._lines.hold(socket, self._hello(), hear)

    async def _drive(self, socket: WebSocket) -> None:
        """A program on this machine that sends codes; a browser's page may not."""
        if socket.headers.get("origin") is not None:
            await socket.close(1008, "pages may not drive")
            return

        async def hear(text: str) -> None:
            with contextlib.suppress(ValueError):
                code = decode(text, (LiveCode,))
                if len(code.coefficients) >= len(ARKIT_NAMES):
                    self._lines.say(code)

        await Lines().hold(socket, self._hello(), hear)

    def _call(self, function, *arguments) -> None:
        """Run in the server's loop; at once where it is not running yet."""
        loop = self._loop
        if loop is None:
            function(*arguments)
        else:
            loop.call_soon_threadsafe(function, *arguments)


async def _made_on_demand(make: Callable[[str], bytes], of: str) -> Response:
    try:
        content = await asyncio.to_thread(make, of)
    except UserError as error:
        return PlainTextResponse(str(error), status_code=404)
    return Response(content, media_type="application/octet-stream")


def live_code(code: ExpressionCode) -> LiveCode:
    """One code as a message."""
    return LiveCode(*(tuple(round(x, 5) for x in value.tolist()) for value in code))


async def _receive_photos(request: Request, folder: Path, sizes: list[int]) -> None:
    """The body, cut by `sizes` into files; a `ValueError` where it is longer or shorter."""
    pending = bytearray()
    index = 0
    async for chunk in request.stream():
        pending += chunk
        while index < len(sizes) and len(pending) >= sizes[index]:
            content = bytes(pending[: sizes[index]])
            del pending[: sizes[index]]
            path = folder / f"photo{index:02d}{_suffix(content)}"
            await asyncio.to_thread(path.write_bytes, content)
            index += 1
        if index == len(sizes) and pending:
            raise ValueError("More arrived than was announced.")
    if index < len(sizes):
        raise ValueError("The photos did not arrive whole.")


def _suffix(content: bytes) -> str:
    """The name's ending by what the bytes are; readers choose by it."""
    if content.startswith(b"\x89PNG"):
        return ".png"
    if content[8:12] == b"WEBP":
        return ".webp"
    return ".jpg"


def _refused(sentence: str) -> Response:
    return PlainTextResponse(sentence, status_code=400)


def _listen(config: ServerConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(
            f"cannot listen on {config.host} port {config.port} ({error}); choose another with --port, "
            "or --port 0 for any that is free"
        ) from error
    return listener
