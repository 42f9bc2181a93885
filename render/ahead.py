"""Work on the next items while the last one is used: stages of a pipeline, each in its thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import Full, Queue
from typing import Any, TypeVar

import torch

T = TypeVar("T")
S = TypeVar("S")

_END = object()
_LOOK_UP_S = 0.05  # how often a waiting stage looks whether it is still wanted


@contextmanager
def ahead(items: Iterable[T], depth: int = 3) -> Iterator[Iterator[T]]:
    """The same items, made in a thread that keeps up to `depth` of them ready.

        with ahead(slow()) as items: ...

    An error of the thread is raised where its item is asked for. At the end of the block the
    thread ends after the item it is at, wanted or not.
    """
    ready: Queue[object] = Queue(depth)
    unwanted = threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for item in items:
                if not _put(ready, item, unwanted):
                    return
        except BaseException as error:  # noqa: BLE001 (raised again where the items are used)
            errors.append(error)
        _put(ready, _END, unwanted)

    worker = threading.Thread(target=work, name="ahead", daemon=True)
    worker.start()
    try:
        yield _received(ready, errors)
    finally:
        unwanted.set()
        worker.join()


def mapped(function: Callable[[T], S], items: Iterable[T]) -> Iterator[S]:
    """function(item) in the order of the items, computed on as many threads as torch uses.

    No more items are taken than the threads have at hand and as many again. For functions that
    mostly release Python's lock.
    """
    count = max(1, torch.get_num_threads())
    if count == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(count, thread_name_prefix="mapped") as pool:
        under_way: deque[Future[S]] = deque()
        try:
            for item in items:
                under_way.append(pool.submit(function, item))
                if len(under_way) == 2 * count:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _received(ready: Queue[Any], errors: list[BaseException]) -> Iterator[Any]:
    while (item := ready.get()) is not _END:
        yield item
    if errors:
        raise errors[0]


def _put(queue: Queue[object], item: object, unwanted: threading.Event) -> bool:
    while not unwanted.is_set():
        try:
            queue.put(item, timeout=_LOOK_UP_S)
        except Full:
            continue
        return True
    return False
