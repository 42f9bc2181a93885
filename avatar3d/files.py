"""Writing files so that a failure leaves nothing half-written, and reading only plain ones."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from avatar3d.errors import UserError


def cache_folder() -> Path:
    """For what can be made or fetched again: $AVATAR3D_CACHE, else the user's cache folder."""
    folder = os.environ.get("AVATAR3D_CACHE")
    return Path(folder) if folder else platformdirs.user_cache_path("avatar3d")


def data_folder() -> Path:
    """Where what the user has given to keep lies: avatar3d in the user's data folder."""
    return platformdirs.user_data_path("avatar3d")


@contextlib.contextmanager
def atomic_output(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it at the end; removed on errors and Ctrl-C.

    The temporary name keeps the suffix, because writers choose their format by it.
    """
    target = Path(os.path.realpath(path))
    check_writable(target)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def check_writable(path: str | Path) -> None:
    """Refuse an output that cannot be written, before the work that would be lost."""
    target = Path(os.path.realpath(path))
    folder = target.parent
    if not folder.is_dir():
        raise UserError(f"cannot write {path}: the folder {folder} does not exist; create it first")
    if target.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; give the name of a file")
    if target.exists() and not target.is_file():
        raise UserError(f"cannot write {path}: it is not a plain file; choose another name")
    # Permission bits do not tell all (root, read-only and network file systems): try.
    probe = folder / f".{secrets.token_hex(4)}.probe"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror} in {folder}; choose another place"
        ) from error


def check_readable(path: str | Path, max_bytes: int | None = None) -> int:
    """The size in bytes of a plain file that can be read, or a UserError.

    Devices and pipes are refused: reading them may never end.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"there is no file {path}; check its name") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise UserError(f"cannot read {path}: {error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{path} is a folder; give the name of a file")
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is not a plain file; give the name of one")
    if not os.access(path, os.R_OK):
        raise UserError(f"no permission to read {path}")
    if max_bytes is not None and status.st_size > max_bytes:
        raise UserError(
            f"{path} has {status.st_size:,} bytes, more than the {max_bytes:,} that are read here"
        )
    return status.st_size


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for intermediate files, gone at the end whatever happens."""
    with tempfile.TemporaryDirectory(prefix="avatar3d-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _flush_to_disk(path: Path) -> None:
    """Else the rename may reach the disk first, and a power cut leave an empty file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
