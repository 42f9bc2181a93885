"""MediaPipe without its chatter: C++ log lines on stderr, and deprecation warnings of protobuf."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType

from avatar3d.optional import require


def load_mediapipe() -> ModuleType:
    """Import MediaPipe with its loggers turned down; UserError when it is not installed."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with no_warnings():
        return require("mediapipe", extra="recon")


class _Shared:
    """A context for a state of the whole process, that several threads may be in at once: the first
    to come enters it and the last to go leaves it. Each leaving by itself would take it from the
    others, or bring back for good what another had found changed."""

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._inside = 0
        self._context: AbstractContextManager[None] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                self._context = self._make()
                self._context.__enter__()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0 and self._context is not None:
                    self._context.__exit__(None, None, None)
                    self._context = None


@contextmanager
def _warnings_ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _stderr_to_nowhere() -> Iterator[None]:
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


# Python warnings of MediaPipe and protobuf concern nobody who uses this project.
no_warnings = _Shared(_warnings_ignored)
# File descriptor 2 goes to nowhere for the duration: absl writes its first lines there whatever the
# log level, from threads of its own, while a graph starts and at its first picture.
no_native_stderr = _Shared(_stderr_to_nowhere)
