"""Adding heads to the user's folder: from a copy, or downloaded on this machine."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from avatar3d.errors import UserError
from avatar3d.files import check_readable, temporary_folder
from avatar3d.heads.flame import read_flame
from avatar3d.heads.ict import LICENCE as ICT_LICENCE
from avatar3d.heads.ict import SOURCE, build_ict, ict_facts, read_ict_shapes
from avatar3d.heads.model import HeadModel
from avatar3d.heads.reduce import LIGHT_VERTICES, reduced
from avatar3d.heads.registry import heads_folder, installed_heads, load_head
from avatar3d.heads.storage import HeadFacts, read_facts, write_head
from avatar3d.progress import progress

TIMEOUT_S = 30.0
MAX_DOWNLOAD_BYTES = 1 << 31
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Download:
    """Something to fetch. `sha256` is empty where its makers publish none and the file may change:
    then its contents are verified instead, and the hash of what came is said and kept."""

    url: str
    size_text: str
    sha256: str
    licence: str


ICT_DOWNLOAD = Download(
    url=f"{SOURCE}/archive/refs/heads/master.zip",
    size_text="some 400 MB unpacked, about 100 MB to load",
    sha256="",
    licence=ICT_LICENCE,
)


def add_ict(
    path: Path, name: str | None = None, *, light: bool = False, loaded: str = ""
) -> tuple[str, HeadModel, HeadFacts]:
    """ICT-FaceKit from a checkout, its .zip, or a packed .npz; converted once.

    `loaded` says where a download came from; then it must hold the published neutral mesh.
    """
    name = _free_name(name or ("ict-light" if light else "ict"))
    shapes = read_ict_shapes(path)
    if loaded and not shapes.is_published():
        raise UserError(
            "the download holds another neutral mesh than the one that ICT-FaceKit has published, so "
            "it was changed on the way or by its makers, and nothing was installed; if you trust "
            "it, load it yourself and say: avatar3d heads add ict FILE"
        )
    head, facts = build_ict(shapes), ict_facts(shapes)
    if loaded:
        facts = replace(facts, notes=f"{facts.notes}; {loaded}")
    if light:
        head = replace(reduced(head), name="ict-light")
        facts = replace(
            facts, notes=f"{facts.notes}; reduced to at most {LIGHT_VERTICES:,} vertices"
        )
    return _install(head, name, facts)


def add_flame(
    path: Path, name: str | None = None, release: str | None = None
) -> tuple[str, HeadModel, HeadFacts]:
    """FLAME from the user's file, with masks and eyelids where they lie beside it."""
    name = _free_name(name or "flame")
    head, facts = read_flame(path, release)
    return _install(head, name, facts)


def add_file(path: Path, name: str | None = None) -> tuple[str, HeadModel, HeadFacts]:
    """A head file of avatar3d, or a packed ICT-FaceKit."""
    check_readable(path)
    if path.suffix == ".npz":
        return add_ict(path, name)
    if path.suffix != ".safetensors":
        raise UserError(
            f"{path} is not a head model: expected an .npz or .safetensors file, got {path.suffix!r};"
            " for FLAME's .pkl say: avatar3d heads add flame FILE"
        )
    head = load_head(path)
    return _install(head, _free_name(name or head.name), read_facts(path))


def get_ict(
    confirm: Callable[[str], bool],
    name: str | None = None,
    *,
    url: str | None = None,
    sha256: str | None = None,
    light: bool = False,
) -> tuple[str, HeadModel, HeadFacts]:
    """Download ICT-FaceKit after `confirm`ing what, from where, how large and under which licence."""
    wanted = replace(
        ICT_DOWNLOAD, url=url or ICT_DOWNLOAD.url, sha256=sha256 or ICT_DOWNLOAD.sha256
    )
    _free_name(name or ("ict-light" if light else "ict"))
    with temporary_folder() as folder:
        file = folder / "ict-facekit.zip"
        digest = download(wanted, file, confirm)
        loaded = f"loaded from {wanted.url} with the sha256 {digest}"
        return add_ict(file, name, light=light, loaded=loaded)


def download(wanted: Download, target: Path, confirm: Callable[[str], bool]) -> str:
    """Fetch to `target` once confirmed; the sha256 of what came."""
    if not wanted.url.startswith(("https://", "http://")):
        raise UserError(f"{wanted.url!r} is no address to download from; expected https://...")
    try:
        with urllib.request.urlopen(wanted.url, timeout=TIMEOUT_S) as answer:
            stated = answer.headers.get("Content-Length", "")
            size = int(stated) if stated.isdigit() else None
            if size is not None and size > MAX_DOWNLOAD_BYTES:
                raise UserError(f"{wanted.url} has {size:,} bytes, more than are loaded here")
            if not confirm(describe(wanted, size)):
                raise UserError("nothing was downloaded")
            digest = _receive(answer, target, size)
    except UserError:
        raise
    except (OSError, urllib.error.URLError, ValueError) as error:
        _refuse_download(wanted.url, error)
    if wanted.sha256 and digest != wanted.sha256.lower():
        raise UserError(
            f"{wanted.url} has the sha256 {digest}, expected {wanted.sha256}; it was changed on the "
            "way or by its makers, so nothing was installed"
        )
    return digest


def describe(wanted: Download, size: int | None) -> str:
    """What is about to be downloaded, for a person to agree to."""
    hashed = wanted.sha256 or (
        "not known: its makers publish none; the neutral mesh inside must have the known hash, and "
        "the hash of what came is shown and kept with the head"
    )
    return "\n".join(
        [
            f"address: {wanted.url}",
            f"size:    {f'{size / 1e6:.1f} MB' if size is not None else wanted.size_text}",
            f"sha256:  {hashed}",
            f"licence: {wanted.licence}",
        ]
    )


def _receive(answer, target: Path, size: int | None) -> str:
    digest, received = hashlib.sha256(), 0
    with open(target, "wb") as file, progress("download", size or 100_000_000) as step:
        while chunk := answer.read(_CHUNK):
            received += len(chunk)
            if received > MAX_DOWNLOAD_BYTES:
                raise UserError("the download does not end; nothing was installed")
            digest.update(chunk)
            file.write(chunk)
            step(len(chunk))
    if size is not None and received != size:
        raise UserError(
            f"the download broke off after {received:,} of {size:,} bytes; try again, nothing was "
            "installed"
        )
    return digest.hexdigest()


def _refuse_download(url: str, error: Exception) -> NoReturn:
    raise UserError(
        f"cannot download {url} ({error}); check the connection, or get a copy by hand and say: "
        "avatar3d heads add ict FOLDER"
    ) from None


def _free_name(name: str) -> str:
    if not name or not all(letter.isalnum() or letter in "-_" for letter in name):
        raise UserError(f"a head's name has letters, digits, - and _ only, got {name!r}")
    if name in installed_heads():
        raise UserError(
            f"there is a head named {name!r} already ({installed_heads()[name]}); choose another "
            "name, or remove that file first"
        )
    return name


def _install(head: HeadModel, name: str, facts: HeadFacts) -> tuple[str, HeadModel, HeadFacts]:
    """Write the head into the user's folder, whole, with its hash; avatars name it by file."""
    twin = _twin(head)
    if twin is not None and twin[1].release and facts.release and twin[1].release != facts.release:
        raise UserError(
            f"this file holds the same numbers as the installed head {twin[0]!r}, which was added as "
            f"{twin[1].release}, not {facts.release}: the releases are mixed up; remove one"
        )
    folder = heads_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {folder} ({error.strerror}); set AVATAR3D_HEADS to another one"
        ) from error
    if head.name != name:
        head = replace(head, name=name)
    write_head(head, folder / f"{name}.safetensors", exact=True, facts=facts)
    return name, head, facts


def _twin(head: HeadModel) -> tuple[str, HeadFacts] | None:
    """An installed head with the same identity modes."""
    from avatar3d.heads.storage import read_head

    for name, path in installed_heads().items():
        if name == "default" or path.suffix != ".safetensors":
            continue
        try:
            other = read_head(path)
        except UserError:
            continue
        same = other.identity_basis.shape == head.identity_basis.shape
        if same and bool((other.identity_basis == head.identity_basis).all()):
            return name, read_facts(path)
    return None
