"""Numba's threads beside torch's: the same count, one parallel kernel at a time, safe to fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from avatar3d.optional import require

# Numba's plain "workqueue" layer aborts the process when two threads launch kernels at once, and
# two launches would share the same cores anyway. By process: a
# forked child must not wait for a thread that it does not have.
_locks: dict[int, Any] = {}


@contextmanager
def parallel_kernels() -> Iterator[int]:
    """Run Numba kernels inside with as many threads as torch uses; yields that number."""
    numba = require("numba", extra="recon")
    _choose_layer(numba)
    count = max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    with _locks.setdefault(os.getpid(), threading.RLock()):
        numba.set_num_threads(count)
        yield count


def _choose_layer(numba: Any) -> None:
    """Unless the user chose (NUMBA_THREADING_LAYER): "workqueue", as quick as OpenMP for us.

    GNU OpenMP, which Numba would take on Linux, ends every forked child that draws after its
    parent did, and torch's data loaders fork.
    """
    if numba.config.THREADING_LAYER == "default":
        numba.config.THREADING_LAYER = "workqueue"
