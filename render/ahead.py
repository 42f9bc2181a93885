"""Work on the next items while the last one is used: stages of a pipeline, each in its thread."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Full, Queue
from typing import Any, TypeVar

T = TypeVar("T")

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
