"""How long a call takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Milliseconds. The minimum is what the machine can do, the median what it did."""

    minimum_ms: float
    median_ms: float

    @staticmethod
    def of_seconds(seconds: list[float]) -> Timing:
        return Timing(1e3 * min(seconds), 1e3 * statistics.median(seconds))


def timed(
    call: Callable[[], object],
    seconds: float,
    *,
    at_least: int = 5,
    warm_ups: int = 2,
    wait: Callable[[], object] | None = None,
) -> Timing:
    """Repeat for so many seconds, but `at_least` so often: a busy machine needs many repeats until
    one of them is not disturbed.

    `wait` ends a repeat: where `call` only queues its work, it returns when that is done.
    """
    for _ in range(warm_ups):
        call()
    if wait is not None:
        wait()
    taken: list[float] = []
    while len(taken) < at_least or sum(taken) < seconds:
        started = time.perf_counter()
        call()
        if wait is not None:
            wait()
        taken.append(time.perf_counter() - started)
    return Timing.of_seconds(taken)
