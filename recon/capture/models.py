"""Model files of newer MediaPipe releases: by path, or fetched once from their publisher.

Release 0.10.21 is the last whose wheel carries its models, so it needs none of this. Later ones
read a file each for landmarks and matte. A file is taken from the argument, the environment
variable, the cache folder, or (only when `allow_download` or AVATAR3D_DOWNLOAD=1 says so) the
publisher's server.
"""

from __future__ import annotations

import logging
import os
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from avatar3d.errors import UserError
from avatar3d.files import cache_folder
from recon.capture.inputs import hash_file

logger = logging.getLogger(__name__)

_BUCKET = "https://storage.googleapis.com/mediapipe-models"


@dataclass(frozen=True)
class ModelFile:
    """One file on its publisher's server (Google, Apache-2.0), pinned by size and hash."""

    name: str
    url: str
    size_bytes: int
    sha256: str
    environment: str  # the variable that names a local copy


FACE_LANDMARKER = ModelFile(
    name="face_landmarker.task",
    url=f"{_BUCKET}/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
    size_bytes=3_758_596,
    sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    environment="AVATAR3D_FACE_LANDMARKER",
)
SELFIE_SEGMENTER = ModelFile(
    name="selfie_segmenter.tflite",
    url=f"{_BUCKET}/image_segmenter/selfie_segmenter/float16/1/selfie_segmenter.tflite",
    size_bytes=249_537,
    sha256="191ac9529ae506ee0beefa6b2c945a172dab9d07d1e802a290a4e4038226658b",
    environment="AVATAR3D_SELFIE_SEGMENTER",
)


def locate_model(
    model: ModelFile, path: str | Path | None = None, *, allow_download: bool | None = None
) -> Path:
    """The local file of a model: argument, environment, cache, then download if allowed."""
    given = path or os.environ.get(model.environment)
    if given:
        if not Path(given).is_file():
            raise UserError(
                f"the model file {given} does not exist; download {model.url} "
                f"({model.size_bytes / 1e6:.1f} MB) and give its path"
            )
        return Path(given)
    cached = cache_folder() / model.name
    if cached.is_file() and hash_file(cached) == model.sha256:
        return cached
    if allow_download is None:
        allow_download = os.environ.get("AVATAR3D_DOWNLOAD") == "1"
    if not allow_download:
        raise UserError(
            f"this release of MediaPipe carries no models, so {model.name} is needed "
            f"({model.size_bytes / 1e6:.1f} MB from {model.url}): set {model.environment} to its "
            "path, set AVATAR3D_DOWNLOAD=1 to fetch it once, or install mediapipe==0.10.21"
        )
    return download_model(model, cached)


def download_model(model: ModelFile, destination: Path) -> Path:
    """Fetch a model once; a file whose hash differs from the pinned one is refused and removed."""
    logger.warning("fetching %s (%.1f MB) from %s", model.name, model.size_bytes / 1e6, model.url)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary_name = tempfile.mkstemp(dir=destination.parent, prefix=model.name)
    except OSError as error:
        raise UserError(
            f"{destination.parent} cannot be written ({error}); set AVATAR3D_CACHE to a folder "
            "that can"
        ) from None
    temporary = Path(temporary_name)
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(model.url, timeout=60) as page:
            # One byte over the size is enough to see that the file is another.
            file.write(page.read(model.size_bytes + 1))
        found = hash_file(temporary)
        if found != model.sha256:
            raise UserError(
                f"{model.url} is not the file this version knows: SHA-256 {model.sha256[:12]}... "
                f"expected, {found[:12]}... received; it was not kept, give a known copy by "
                f"{model.environment}"
            )
        temporary.replace(destination)
    except (urllib.error.URLError, OSError) as error:
        raise UserError(
            f"{model.url} could not be fetched ({error}); download it by hand and set "
            f"{model.environment} to its path"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return destination
