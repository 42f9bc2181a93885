"""Numba kernels on several threads: Python's own, since the kernels run without its lock.

Numba's parallel loops cost more here: each is compiled three times over with all that it calls, its
plain threads admit one caller at a time and its OpenMP ends a forked child that draws.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch


def thread_count() -> int:
    """As many as torch uses."""
    return max(1, torch.get_num_threads())


def in_parallel(kernel: Callable[..., Any], *arguments: Any) -> None:
    """Run kernel(tickets, *arguments), which releases the lock (`nogil`), on `thread_count` threads.

    Each takes its tasks with `take_ticket(tickets)` until none is left. A thread that comes too
    late for any is not waited for, so a busy machine costs what it takes and no more.
    """
    tickets = np.zeros(1, np.int64)
    wanted, helpers = thread_count() - 1, []
    with contextlib.suppress(RuntimeError):  # a program that is ending starts no more threads
        for _ in range(wanted):
            helpers.append(_helpers(os.getpid(), wanted).submit(kernel, tickets, *arguments))
    try:
        kernel(tickets, *arguments)
    finally:
        for helper in helpers:
            if not helper.cancel():
                helper.result()


@functools.cache
def _helpers(process: int, count: int) -> ThreadPoolExecutor:
    """By process: a forked child has none of its parent's threads."""
    return ThreadPoolExecutor(count, thread_name_prefix="kernels")
