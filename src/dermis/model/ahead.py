"""Batches of work that threads do while the batch before them is used."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item, Made = TypeVar("Item"), TypeVar("Made")


def ahead(
    items: Sequence[Item], make: Callable[[Item], Made], batch_size: int, workers: int
) -> Iterator[list[tuple[Item, Made]]]:
    """Batches of (item, what ``make`` made of it), in order; the next batch is made meanwhile.

    What waits is dropped where the iterator is closed early (``contextlib.closing``).
    """
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        waiting: list[tuple[Item, Future[Made]]] = []
        try:
            for start in range(0, len(items) + batch_size, batch_size):
                now, waiting = waiting, [(item, pool.submit(make, item)) for item in items[start : start + batch_size]]
                if now:
                    yield [(item, future.result()) for item, future in now]
        finally:
            pool.shutdown(cancel_futures=True)
