"""Progress with the time left, for anything that takes longer than two seconds.

On a terminal a bar appears and vanishes; elsewhere (logs, CI) a line every ten seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

SHOW_ABOVE_S = 2.0
LINE_EVERY_S = 10.0

T = TypeVar("T")


@contextmanager
def progress(label: str, total: float) -> Iterator[Callable[..., None]]:
    """`with progress("fit", 80) as step: ... step()`: call `step(amount=1)` as the work is done."""
    meter = _Meter(label, total)
    try:
        yield meter.step
    finally:
        meter.close()


def tracked(items: Iterable[T], label: str, total: float | None = None) -> Iterator[T]:
    """Iterate `items` with progress; `total` is needed when they have no length."""
    if total is None:
        if not isinstance(items, Sized):
            raise TypeError("items have no length: give total")
        total = len(items)
    with progress(label, total) as step:
        for item in items:
            yield item
            step()


class _Meter:
    _bar_on_screen = False  # rich draws one live display at a time: inner ones stay silent

    def __init__(self, label: str, total: float):
        self.label, self.total = label, max(total, 1e-9)
        self.done = 0.0
        self.started_s = self.line_printed_s = time.monotonic()
        self.bar: Progress | None = None

    def step(self, amount: float = 1.0) -> None:
        self.done += amount
        now_s = time.monotonic()
        elapsed_s = now_s - self.started_s
        expected_s = elapsed_s * self.total / max(self.done, 1e-9)
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=self.done)
        elif not sys.stderr.isatty():
            if now_s - self.line_printed_s >= LINE_EVERY_S:
                self.line_printed_s = now_s
                percent = 100 * min(1.0, self.done / self.total)
                left_s = max(0.0, expected_s - elapsed_s)
                print(f"{self.label}: {percent:.0f} %, {left_s:.0f} s left", file=sys.stderr)
        elif elapsed_s > 0.3 and expected_s > SHOW_ABOVE_S and not _Meter._bar_on_screen:
            self._show()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            _Meter._bar_on_screen = False

    def _show(self) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        task = self.bar.add_task(self.label, total=self.total)
        self.bar.update(task, completed=self.done)
        self.bar.start()
        _Meter._bar_on_screen = True
