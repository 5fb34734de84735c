"""Reading ahead: while PostgreSQL takes one batch, the next one is parsed."""

from collections.abc import Generator, Iterator
from queue import Queue
from threading import Event, Thread

_DEPTH = 2


class _End:
    """The producer stopped: with a problem, or at its end."""

    def __init__(self, problem: BaseException | None = None) -> None:
        self.problem = problem


def of[T](items: Iterator[T]) -> Generator[T]:
    """The same items in the same order, at most two of them made before they are asked for.

    They are made in a thread of their own, which has a database connection of its own: what it writes is committed apart
    from the caller's transaction. What the producer raises is raised here. Closing stops the producer and waits for it;
    a generator among `items` is finished in the producer's thread.
    """
    queue: Queue[T | _End] = Queue(maxsize=_DEPTH)
    left = Event()

    def produce() -> None:
        end = _End()
        try:
            for item in items:
                queue.put(item)
                if left.is_set():
                    break
        except BaseException as problem:  # handed over to the consumer, whatever it is
            end = _End(problem)
        finally:
            if isinstance(items, Generator):
                items.close()
        queue.put(end)

    producer = Thread(target=produce, name="reading ahead", daemon=True)
    producer.start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.problem is not None:
            raise item.problem
    finally:
        left.set()
        while producer.is_alive():
            if not queue.empty():
                queue.get_nowait()
            producer.join(0.005)
