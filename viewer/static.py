"""The built page, and a folder with page and avatar for any static web host."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from avatar3d.avatar import Avatar
from avatar3d.errors import UserError
from avatar3d.files import atomic_output
from viewer.asset import SUFFIX, write_web_asset

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


def write_web(avatar: Avatar, folder: Path, count: int | None = None) -> list[Path]:
    """Write `index.html` and `avatar.a3dweb`, ready for any web host; returns both paths.

    count: the first so many Gaussians, for a smaller file; all if None.
    """
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
    return [html, asset]
