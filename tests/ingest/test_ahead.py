"""Reading ahead: the same items, made in another thread that always ends."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from ingest import ahead


class Producer:
    """Counts up, and remembers in which thread it was finished."""

    def __init__(self, until: int, problem: Exception | None = None) -> None:
        self.until = until
        self.problem = problem
        self.finished_in: list[str] = []

    def items(self) -> Iterator[int]:
        try:
            yield from range(self.until)
            if self.problem:
                raise self.problem
        finally:
            self.finished_in.append(threading.current_thread().name)


def test_it_gives_the_same_items_in_the_same_order() -> None:
    producer = Producer(100)

    assert list(ahead.of(producer.items())) == list(range(100))
    assert producer.finished_in == ["reading ahead"]


def test_it_raises_what_the_producer_raises_after_the_items_before_it() -> None:
    items = ahead.of(Producer(3, ValueError("damaged")).items())

    assert [next(items), next(items), next(items)] == [0, 1, 2]
    with pytest.raises(ValueError, match="damaged"):
        next(items)


def test_it_finishes_the_producer_in_its_own_thread_when_it_is_left_early() -> None:
    producer = Producer(1000)

    with closing(ahead.of(producer.items())) as items:
        next(items)

    assert producer.finished_in == ["reading ahead"]
