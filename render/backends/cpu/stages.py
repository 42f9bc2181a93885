"""Where a picture's time goes: the stages say when they end, to whoever listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("_listener", default=None)


def stage_ended(name: str) -> None:
    listener = _listener.get()
    if listener is not None:
        listener(name)


@contextmanager
def stage_seconds() -> Iterator[dict[str, float]]:
    """Seconds by stage of what this thread draws in the block, summed over the pictures.

    A stage lasts from the end of the one before it, so that nothing is left out.
    """
    seconds: dict[str, float] = {}
    last_s = time.perf_counter()

    def ended(name: str) -> None:
        nonlocal last_s
        now_s = time.perf_counter()
        seconds[name] = seconds.get(name, 0.0) + now_s - last_s
        last_s = now_s

    token = _listener.set(ended)
    try:
        yield seconds
    finally:
        _listener.reset(token)
