"""What the user gave: photos, folders of photos, or one video; and the hashes that name it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avatar3d.errors import UserError
from avatar3d.optional import require

_SUFFIXES = "jpg jpeg jpe jfif png webp bmp tif tiff gif ppm pgm tga jp2 avif"
PHOTO_SUFFIXES = frozenset("." + suffix for suffix in _SUFFIXES.split(" "))


@dataclass(frozen=True)
class Inputs:
    """Either photos or one video, never both."""

    photos: tuple[Path, ...] = ()
    video: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return self.photos if self.video is None else (self.video,)


def collect_inputs(paths: Sequence[str | Path]) -> Inputs:
    """Sort what was given into photos or one video, by content; folders give their pictures.

    Pictures of a folder come in natural order (2.jpg before 10.jpg); a file given twice counts
    once.
    """
    if not paths:
        raise UserError(
            "no input was given; name one or more photos, a folder of photos or a video"
        )
    photos: list[Path] = []
    videos: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            photos += _pictures_in(path)
        elif not path.is_file():
            raise UserError(f"{path} does not exist; check the name of the photo, folder or video")
        elif _is_photo(path):
            photos.append(path)
        elif _is_video(path):
            videos.append(path)
        else:
            raise UserError(
                f"{path.name} is neither a picture nor a video that can be read; give JPEG or PNG "
                "photos, or one MP4"
            )
    if videos and photos:
        raise UserError(
            f"photos and a video were given together ({photos[0].name}, {videos[0].name}); give "
            "either photos or one video"
        )
    if len(videos) > 1:
        raise UserError(f"{len(videos)} videos were given, but only one can be used; choose one")
    if videos:
        return Inputs(video=videos[0])
    return Inputs(photos=tuple(dict.fromkeys(photos)))


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hash_inputs(paths: Iterable[str | Path]) -> list[tuple[str, str]]:
    """(file name without its folder, SHA-256 of its bytes) of each file, in the order given."""
    return [(Path(path).name, hash_file(path)) for path in paths]


def _pictures_in(folder: Path) -> list[Path]:
    pictures = sorted(
        (
            file
            for file in folder.iterdir()
            if file.suffix.lower() in PHOTO_SUFFIXES
            and not file.name.startswith(".")
            and file.is_file()
        ),
        key=_natural_order,
    )
    if not pictures:
        raise UserError(f"the folder {folder} holds no pictures; put JPEG or PNG photos into it")
    return pictures


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _is_photo(path: Path) -> bool:
    """By suffix, so that a damaged photo is called so; otherwise by its header."""
    if path.suffix.lower() in PHOTO_SUFFIXES:
        return True
    image_module = require("PIL.Image", extra="recon")
    try:
        with image_module.open(path):
            return True
    except image_module.DecompressionBombError:
        return True
    except Exception:  # noqa: BLE001 - whatever a decoder raises, it is no picture
        return False


def _is_video(path: Path) -> bool:
    """A file that FFmpeg opens and that has a picture track; or, damaged, a video's name."""
    if path.suffix.lower() in {".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m4v"}:
        return True
    av = require("av", extra="recon")
    try:
        with av.open(str(path)) as container:
            return bool(container.streams.video) and container.format.name not in _TEXT_FORMATS
    except (av.FFmpegError, OSError, ValueError):
        return False


# FFmpeg renders plain text as video with these demuxers; a text file is no clip.
_TEXT_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})
