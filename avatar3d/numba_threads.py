"""Numba's threads beside torch's: the same count, and one parallel kernel at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from avatar3d.optional import require

# Numba's plain "workqueue" layer aborts the process when two threads launch kernels at once, and
# two launches would share the same cores anyway.
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def parallel_kernels() -> Iterator[int]:
    """Run Numba kernels inside with as many threads as torch uses; yields that number."""
    numba = require("numba", extra="recon")
    count = max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    with _ONE_AT_A_TIME:
        numba.set_num_threads(count)
        yield count
