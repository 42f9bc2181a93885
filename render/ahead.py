"""Work on the next items while the last one is used: stages of a pipeline, each in its thread."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")

_END = object()
_LOOK_UP_S = 0.05  # how often a waiting stage looks whether it is still wanted


def ahead(items: Iterable[T], depth: int = 3) -> Iterator[T]:
    """The same items, made in a thread that keeps up to `depth` of them ready.

    An error of the thread is raised here, in its place. When the consumer stops early, the thread
    ends after the item it is at.
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
        while (item := ready.get()) is not _END:
            yield item  # type: ignore[misc]
        if errors:
            raise errors[0]
    finally:
        unwanted.set()
        while True:  # a stage that waits for room is let go
            try:
                ready.get_nowait()
            except Empty:
                break
        worker.join()


def _put(queue: Queue[object], item: object, unwanted: threading.Event) -> bool:
    while not unwanted.is_set():
        try:
            queue.put(item, timeout=_LOOK_UP_S)
        except Full:
            continue
        return True
    return False
