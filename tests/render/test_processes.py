"""The cpu backend in threads, in other processes, in data loaders, and over thousands of calls."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import threading
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from avatar3d.gaussians import Gaussians
from render import rasterize, rasterize_8_bit
from tests.render.scenes import random_gaussians, tilted_camera

pytest.importorskip("numba", reason="the cpu backend needs numba")


def picture(index: int) -> torch.Tensor:
    return rasterize(random_gaussians(50, seed=index), tilted_camera(24, 20), backend="cpu").colors


def draw_and_differentiate(index: int) -> tuple[float, float]:
    """A picture's sum, and that of its gradient."""
    gaussians = random_gaussians(50, seed=index)
    means = gaussians.means.requires_grad_()
    total = rasterize(gaussians, tilted_camera(24, 20), backend="cpu").colors.sum()
    (gradient,) = torch.autograd.grad(total, means)
    return total.item(), gradient.sum().item()


def send_result(index: int, queue) -> None:
    # As torch's data loaders do: its own operations may hang in a forked child's OpenMP threads.
    torch.set_num_threads(1)
    queue.put(draw_and_differentiate(index))


def draw_in_child() -> None:
    torch.set_num_threads(1)
    picture(0)


class Pictures(Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return picture(index)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_process_draws_the_same(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method} a process")
    expected = draw_and_differentiate(1)  # kernels and their threads exist before the fork
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=send_result, args=(1, queue))
    child.start()
    child.join(60)
    alive = child.is_alive()
    if alive:
        child.kill()
    assert not alive, "the child hangs"
    assert child.exitcode == 0
    # Kernels that two processes compiled, each for itself, may round apart in the last digit.
    assert queue.get(timeout=5) == pytest.approx(expected, rel=1e-6)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_data_loader_workers_draw_the_same():
    expected = torch.stack([picture(index) for index in range(4)])
    loaded = next(iter(DataLoader(Pictures(), batch_size=4, num_workers=2, timeout=60)))
    assert torch.equal(loaded, expected)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_while_another_thread_draws_does_not_wait_for_it():
    from avatar3d.numba_threads import in_parallel

    drawing, finish = threading.Event(), threading.Event()

    def hold(tickets):
        drawing.set()
        finish.wait(60)

    picture(0)
    holder = threading.Thread(target=in_parallel, args=(hold,))
    holder.start()
    assert drawing.wait(60)
    child = multiprocessing.get_context("fork").Process(target=draw_in_child)
    child.start()
    child.join(30)
    alive = child.is_alive()
    if alive:
        child.kill()
    finish.set()
    holder.join()
    assert not alive, "the child waits for threads that it does not have"
    assert child.exitcode == 0


def test_threads_draw_at_once():
    expected = [picture(index) for index in range(4)]
    results: list[torch.Tensor | None] = [None] * 4

    def draw(index: int) -> None:
        for _ in range(10):
            results[index] = picture(index)

    threads = [threading.Thread(target=draw, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, truth in zip(results, expected):
        assert result is not None
        assert torch.equal(result, truth)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc on this system")
@pytest.mark.slow
def test_ten_thousand_pictures_leave_no_memory_behind():
    camera, gaussians = tilted_camera(24, 24), random_gaussians(20, scale_m=0.01)
    leaves = Gaussians(*(value.clone().requires_grad_() for value in gaussians))

    def draw(pictures: int) -> None:
        for _ in range(pictures // 4):
            rasterize(gaussians, camera, backend="cpu")
            rasterize(leaves, camera, backend="cpu").colors.sum().backward()
            rasterize_8_bit(gaussians, camera, backend="cpu")
            rasterize_8_bit(leaves, camera, backend="cpu")

    draw(400)
    gc.collect()
    before = resident_bytes()
    draw(10_000)
    gc.collect()
    # Keeping no more than the pictures would be 10,000 * (9.5 * 24 * 24) bytes = 54 MB.
    assert resident_bytes() - before < 10e6
