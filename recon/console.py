"""What commands show while they work: one bar a stage, and the warnings met."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from avatar3d.progress import progress


@contextmanager
def stage_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A function `watch(stage, done, total)` that shows a bar for the stage at work."""
    with ExitStack() as stack:
        shown, steps, seen = "", _no_steps, 0

        def watch(stage: str, done: int, total: int) -> None:
            nonlocal shown, steps, seen
            if stage != shown:
                stack.close()
                shown, seen = stage, 0
                steps = stack.enter_context(progress(stage, total))
            steps(done - seen)
            seen = done

        yield watch


@contextmanager
def warnings_said() -> Iterator[None]:
    """Print the warnings of `recon` as notes, each once."""
    handler, logger = _Notes(logging.WARNING), logging.getLogger("recon")
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated


class _Notes(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self._said:
            self._said.add(message)
            print(f"note: {message}", file=sys.stderr)


def _no_steps(amount: float = 1.0) -> None:
    del amount
