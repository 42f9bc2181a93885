"""The command `view`: an avatar in the browser."""

from __future__ import annotations

import json
import threading
import webbrowser
from pathlib import Path
from typing import Literal

import tyro

from avatar3d.errors import UserError


def view(
    avatar: tyro.conf.Positional[Path | None] = None,
    /,
    motion: Path | None = None,
    count: int | None = None,
    host: str = "127.0.0.1",
    port: int = 8321,
    open: bool = True,
    preset: Literal["draft", "default", "best"] = "default",
    max_upload: int = 40,
    head: str | None = None,
    voice: str = "clean",
) -> None:
    """Show an avatar in the browser, move it, and make new ones from photos dropped there.

    Args:
        avatar: The .avatar file; without one the page asks for a photo.
        motion: Motion to play (.npz of avatar3d, or Live Link Face .csv).
        count: Send only the first so many Gaussians.
        host: Address to listen on; others can reach the page only when this is changed.
        port: Port to listen on; 0 takes any that is free.
        open: Open the browser.
        preset: How photos become avatars: draft is fast, best is slow.
        max_upload: Most megabytes of photos that are taken at once.
        head: Head model (name, or path of its file) if not the one that the avatar names.
        voice: Voice model of the page's microphone: clean, research, or a file of `avatar3d voice`.
    """
    from avatar3d.asset import read_avatar
    from avatar3d.heads import load_head
    from avatar3d.motion import Motion
    from avatar3d.optional import require

    for package in ("starlette", "uvicorn", "websockets"):
        require(package, extra="viewer")
    from viewer.asset import encode_web_asset
    from viewer.drivers import find_face_mesh, voice_weights
    from viewer.server import ServerConfig, ViewerServer

    if not 0 <= port <= 65535:
        raise UserError(f"--port must be 0 to 65535, got {port}")
    if not 1 <= max_upload <= 4096:
        raise UserError(f"--max-upload must be 1 to 4096 megabytes, got {max_upload}")
    if count is not None and count < 1:
        raise UserError(f"--count must be at least 1, got {count}")
    voice_weights(voice)  # what is wrong with it is said now
    asset = None
    if avatar is not None:
        loaded = read_avatar(avatar, None if head is None else load_head(head))
        asset = encode_web_asset(loaded, count)
    elif motion is not None:
        raise UserError("a motion needs an avatar to move: avatar3d view me.avatar --motion FILE")
    config = ServerConfig(
        host=host,
        port=port,
        max_upload_bytes=max_upload * 2**20,
        preset=preset,
        head=head or "default",
        voice=voice,
        face_mesh=find_face_mesh(),
    )
    moves = None if motion is None else motion_json(Motion.load(motion))
    server = ViewerServer(config)
    if asset is not None and avatar is not None:
        server.show(asset, avatar.stem)
    if moves is not None:
        server.play(moves)
    print(f"the viewer is at {server.url} (Ctrl-C ends it)", flush=True)
    if host not in ("127.0.0.1", "::1", "localhost"):
        print(f"note: anyone who reaches {host} can see it and send photos")
    if open:
        threading.Timer(0.5, webbrowser.open, [server.url]).start()
    server.run()


def motion_json(motion) -> str:
    """A motion as the page plays it; docs/viewer.md says what is in it."""

    def rows(value) -> list[list[float]]:
        return [[round(x, 5) for x in row] for row in value.tolist()]

    content = {
        "format": "avatar3d-motion",
        "format_version": 1,
        "names": list(motion.names),
        "frames_per_second": motion.frames_per_second,
        **{name: rows(value) for name, value in motion.codes._asdict().items()},
    }
    return json.dumps(content, allow_nan=False, separators=(",", ":"))
