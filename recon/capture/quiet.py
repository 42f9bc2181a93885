"""MediaPipe without its chatter: C++ log lines on stderr, and deprecation warnings of protobuf."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from avatar3d.optional import require


def load_mediapipe() -> ModuleType:
    """Import MediaPipe with its loggers turned down; UserError when it is not installed."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with no_warnings():
        return require("mediapipe", extra="recon")


@contextmanager
def no_warnings() -> Iterator[None]:
    """Python warnings of MediaPipe and protobuf concern nobody who uses this project."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def no_native_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere for the duration.

    absl writes its first lines there whatever the log level, from threads of its own, while a
    graph starts and at its first picture.
    """
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, ValueError, AttributeError):  # no stderr: a windowed program, a service
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
