from __future__ import annotations

import threading
import time

import pytest
import torch

from render.ahead import ahead, mapped


def _threads() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def test_items_come_in_order():
    with ahead(range(20), depth=2) as items:
        assert list(items) == list(range(20))
    with ahead([]) as items:
        assert list(items) == []
    assert _threads() == 0


def test_items_are_made_while_others_are_used():
    made: list[int] = []

    def slow():
        for index in range(3):
            made.append(index)
            yield index

    with ahead(slow()) as items:
        assert next(items) == 0
        for _ in range(100):
            if made == [0, 1, 2]:
                break
            time.sleep(0.02)
        assert made == [0, 1, 2]


def test_an_error_comes_in_its_place():
    def failing():
        yield 1
        raise KeyError("two")

    with ahead(failing()) as items:
        assert next(items) == 1
        with pytest.raises(KeyError, match="two"):
            next(items)
    assert _threads() == 0


def test_a_consumer_that_leaves_ends_the_threads():
    with ahead(iter(int, 1), depth=1) as endless, ahead(endless, depth=1) as items:
        assert next(items) == 0
    assert _threads() == 0


def test_an_error_of_the_consumer_ends_the_threads():
    with pytest.raises(KeyboardInterrupt), ahead(iter(int, 1)) as items:
        next(items)
        raise KeyboardInterrupt
    assert _threads() == 0


@pytest.mark.parametrize("threads", [1, 3])
def test_mapped_items_come_in_order_and_few_are_taken_ahead(threads):
    taken: list[int] = []

    def items():
        for index in range(40):
            taken.append(index)
            yield index

    def late(index: int) -> int:
        time.sleep(0.002 * (index % 3))
        return index * index

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        results = mapped(late, items())
        assert next(results) == 0
        assert len(taken) <= 2 * threads
        assert list(results) == [index * index for index in range(1, 40)]
    finally:
        torch.set_num_threads(before)


def test_an_error_of_a_mapped_item_comes_in_its_place_and_ends_the_threads():
    def fragile(index: int) -> int:
        if index == 5:
            raise ValueError("five")
        return index

    seen: list[int] = []
    with pytest.raises(ValueError, match="five"):
        for value in mapped(fragile, range(100)):
            seen.append(value)
    assert seen == [0, 1, 2, 3, 4]
    assert not [t for t in threading.enumerate() if t.name.startswith("mapped")]
