from __future__ import annotations

import threading
import time

import pytest

from render.ahead import ahead


def _threads() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def test_items_come_in_order():
    assert list(ahead(range(20), depth=2)) == list(range(20))
    assert list(ahead([])) == []
    assert _threads() == 0


def test_items_are_made_while_others_are_used():
    made: list[int] = []

    def items():
        for index in range(3):
            made.append(index)
            yield index

    stream = ahead(items())
    assert next(stream) == 0
    for _ in range(100):
        if made == [0, 1, 2]:
            break
        time.sleep(0.02)
    assert made == [0, 1, 2]
    stream.close()


def test_an_error_comes_in_its_place():
    def items():
        yield 1
        raise KeyError("two")

    stream = ahead(items())
    assert next(stream) == 1
    with pytest.raises(KeyError, match="two"):
        next(stream)
    assert _threads() == 0


def test_a_consumer_that_leaves_ends_the_thread():
    stream = ahead(iter(int, 1), depth=1)  # without end
    assert next(stream) == 0
    stream.close()
    assert _threads() == 0
