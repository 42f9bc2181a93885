"""Kernels on threads: every task once, errors are raised, late threads are not waited for."""

# pyright: reportCallIssue=false
# (an intrinsic is called without the typing context that its definition takes)

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.numba_threads import in_parallel

numba = pytest.importorskip("numba")


@pytest.fixture(params=[1, 2, 5])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_task_is_done_once(threads: int):
    from avatar3d.numba_tickets import take_ticket

    @numba.njit(nogil=True)
    def count(tickets, done):
        task = take_ticket(tickets)
        while task < len(done):
            done[task] += 1
            task = take_ticket(tickets)

    for tasks in (0, 1, 1000):
        done = np.zeros(tasks, np.int64)
        in_parallel(count, done)
        assert (done == 1).all()


def test_as_many_threads_work_as_torch_uses(threads: int):
    together = threading.Barrier(threads, timeout=60)
    in_parallel(lambda tickets: together.wait())  # breaks if there are fewer


@pytest.mark.parametrize("here", [True, False])
def test_an_error_in_any_thread_is_raised(here: bool):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    together = threading.Barrier(2, timeout=60)
    caller = threading.get_ident()

    def fail(tickets):
        together.wait()
        if (threading.get_ident() == caller) == here:
            raise IndexError("out of bounds")

    with pytest.raises(IndexError, match="out of bounds"):
        in_parallel(fail)
    torch.set_num_threads(before)


def test_a_thread_that_comes_too_late_is_not_waited_for():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    busy, finish = threading.Event(), threading.Event()

    def hold(tickets):
        busy.set()
        finish.wait(60)

    holder = threading.Thread(target=in_parallel, args=(hold,))  # takes the only helper
    holder.start()
    assert busy.wait(60)
    seen: list[int] = []
    in_parallel(lambda tickets: seen.append(threading.get_ident()))
    finish.set()
    holder.join()
    assert seen == [threading.get_ident()]
    torch.set_num_threads(before)


def test_a_program_that_ends_still_computes():
    program = """
import atexit, torch
from avatar3d.numba_threads import in_parallel
torch.set_num_threads(3)
in_parallel(lambda tickets: None)
atexit.register(in_parallel, lambda tickets: print("computed"))
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (run.stdout, run.stderr, run.returncode) == ("computed\n", "", 0)
