"""The built page, and a folder with page and avatar for any static web host."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from avatar3d.avatar import Avatar
from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from viewer.asset import SUFFIX, write_web_asset
from viewer.drivers import (
    FACE_MESH_FILES,
    FACE_MESH_FOLDER,
    GET_FACE_MESH,
    TRACKER_FILE,
    VOICE_FILE,
    find_face_mesh,
    tracker_model,
    voice_weights,
)

PAGE_ASSET = f"avatar{SUFFIX}"  # what the page loads when its address names nothing else


def page() -> str:
    """The page, one HTML file with script and style inside; built by `npm run build`."""
    built = files("viewer") / "web" / "dist" / "index.html"
    try:
        return built.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            "the viewer's page is not built; in viewer/web run: npm ci && npm run build"
        ) from None


def write_web(
    avatar: Avatar,
    folder: Path,
    count: int | None = None,
    *,
    webcam: bool = False,
    voice: str | None = None,
) -> list[Path]:
    """Write `index.html` and `avatar.a3dweb`, ready for any web host; returns the paths written.

    count: the first so many Gaussians, for a smaller file; all if None. webcam: also the tracker
    and the detector. voice: also this voice model, by name or path.
    """
    more: dict[str, bytes] = {}
    if voice is not None:
        more[VOICE_FILE] = voice_weights(voice)
    if webcam:
        found = find_face_mesh()
        if found is None:
            raise UserError(f"--webcam needs the face detector, which is not here; {GET_FACE_MESH}")
        more[TRACKER_FILE] = tracker_model()
        for name in FACE_MESH_FILES:
            more[f"{FACE_MESH_FOLDER}/{name}"] = _read(found / name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {folder} ({error.strerror}); choose another place"
        ) from error
    html, asset = folder / "index.html", folder / PAGE_ASSET
    write_web_asset(avatar, asset, count)
    with atomic_output(html) as temporary:
        temporary.write_text(page(), encoding="utf-8")
    for name, content in more.items():
        (folder / name).parent.mkdir(exist_ok=True)
        with atomic_output(folder / name) as temporary:
            temporary.write_bytes(content)
    return [html, asset, *(folder / name for name in more)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"the face detector is not whole: {path.name} cannot be read; {GET_FACE_MESH}"
        ) from error
