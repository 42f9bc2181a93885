"""The format `web` of `avatar3d export`: page and avatar in a folder for any static host."""

from __future__ import annotations

from pathlib import Path

from avatar3d.avatar import Avatar
from avatar3d.io.folders import atomic_folder
from avatar3d.io.formats import ExportFormat, ExportRequest


def _write(avatar: Avatar, path: Path, request: ExportRequest) -> None:
    from viewer.static import write_web

    with atomic_folder(path) as folder:
        write_web(avatar, folder, webcam=request.webcam, voice=request.voice)


WEB = ExportFormat("", frozenset({"webcam", "voice"}), _write)
