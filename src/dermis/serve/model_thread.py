"""One thread that uses the model, so that requests neither wait for each other's uploads nor fight for the cores.

What waits of the same work goes through the model together, in the order in which it came. There is no timer: while a
batch is being worked on the next one gathers, so that a lone request is served at once and a crowd in full batches.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class _Job:
    work: Callable[[list[Any]], list[Any]]
    item: Any
    future: asyncio.Future
    loop: asyncio.AbstractEventLoop


class ModelThread:
    """Call it with work (items -> results, one each) and an item; await the result.

    ``largest``: items that one call of the work is given at most. ``on_batch(size)`` is told of each.
    """

    def __init__(self, largest: int, on_batch: Callable[[int], None] = lambda size: None) -> None:
        self.largest, self.on_batch = largest, on_batch
        self._jobs: deque[_Job] = deque()
        self._some, self._stopping = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    async def __call__(self, work: Callable[[list[Any]], list[Any]], item: Any) -> Any:
        """Raises what the work raises; a request that is cancelled while it waits is never worked on."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._some:
            if self._stopping:
                raise RuntimeError("the model's thread has been stopped.")
            self._jobs.append(_Job(work, item, future, loop))
            self._some.notify()
        return await future

    async def alone(self, work: Callable[[], Any]) -> Any:
        """For work that takes no batches."""
        return await self(lambda _: [work()], None)

    def stop(self) -> None:
        """After what is being worked on; what waits is cancelled."""
        with self._some:
            self._stopping = True
            self._some.notify()
        self._thread.join()
        for job in self._jobs:
            _tell(job, job.future.cancel)

    def _run(self) -> None:
        while jobs := self._next():
            jobs = [job for job in jobs if not job.future.cancelled()]
            if not jobs:
                continue
            self.on_batch(len(jobs))
            try:
                results = jobs[0].work([job.item for job in jobs])
                assert len(results) == len(jobs), (len(results), len(jobs))
            except Exception as error:  # whatever it is belongs to who asked, and this thread must live
                for job in jobs:
                    _tell(job, _fail, job.future, error)
            else:
                for job, result in zip(jobs, results, strict=True):
                    _tell(job, _succeed, job.future, result)

    def _next(self) -> list[_Job]:
        """The first job and those of the same work behind it; none when it is time to stop."""
        with self._some:
            self._some.wait_for(lambda: self._jobs or self._stopping)
            if self._stopping:
                return []
            work = self._jobs[0].work
            taken = [job for job in self._jobs if job.work == work][: self.largest]
            self._jobs = deque(job for job in self._jobs if job not in taken)
            return taken


def _tell(job: _Job, call: Callable[..., Any], *arguments: Any) -> None:
    if not job.loop.is_closed():
        job.loop.call_soon_threadsafe(call, *arguments)


def _succeed(future: asyncio.Future, result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future, error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
