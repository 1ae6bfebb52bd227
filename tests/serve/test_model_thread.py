"""The thread that has the model: batches of one work, order, errors, cancelled requests, the end."""

import asyncio
import threading

import pytest

from dermis.serve.model_thread import ModelThread


@pytest.fixture
def thread():
    sizes = []
    model = ModelThread(4, sizes.append)
    model.sizes = sizes
    yield model
    model.stop()


class Held:
    """Work that waits until it is let go, so that a crowd can gather behind it."""

    def __init__(self):
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self, items):
        self.began.set()
        assert self.go.wait(10)
        return items

    async def gather(self, thread, more):
        first = asyncio.ensure_future(thread(self, "held"))
        await asyncio.to_thread(self.began.wait, 10)
        others = [asyncio.ensure_future(one) for one in more]
        await asyncio.sleep(0.05)
        return first, others


def doubled(items):
    return [2 * item for item in items]


def test_what_waits_goes_together_and_each_gets_its_own(thread):
    async def scene():
        held = Held()
        first, others = await held.gather(thread, [thread(doubled, n) for n in range(6)])
        held.go.set()
        return await first, await asyncio.gather(*others)

    assert asyncio.run(scene()) == ("held", [0, 2, 4, 6, 8, 10])
    assert thread.sizes == [1, 4, 2]


def test_other_work_between_does_not_break_a_batch_and_is_not_forgotten(thread):
    async def scene():
        held = Held()
        waiting = [thread(doubled, 1), thread.alone(lambda: "alone"), thread(doubled, 2), thread.alone(lambda: "too")]
        first, others = await held.gather(thread, waiting)
        held.go.set()
        await first
        return await asyncio.gather(*others)

    assert asyncio.run(scene()) == [2, "alone", 4, "too"]
    assert thread.sizes == [1, 2, 1, 1]


def test_an_error_goes_to_those_who_asked_and_the_thread_lives(thread):
    def broken(items):
        raise ArithmeticError("no")

    async def scene():
        with pytest.raises(ArithmeticError):
            await thread(broken, 1)
        return await thread(doubled, 5)

    assert asyncio.run(scene()) == 10


def test_who_leaves_while_waiting_is_not_worked_for(thread):
    seen = []

    def noting(items):
        seen.extend(items)
        return items

    async def scene():
        held = Held()
        first, (gone, stays) = await held.gather(thread, [thread(noting, "gone"), thread(noting, "stays")])
        gone.cancel()
        await asyncio.sleep(0)
        held.go.set()
        await first
        return await stays

    assert asyncio.run(scene()) == "stays"
    assert seen == ["stays"]


def test_after_the_end_nobody_waits_for_ever():
    model = ModelThread(4)

    async def scene():
        held = Held()
        first, (waiting,) = await held.gather(model, [model(doubled, 1)])
        stopping = asyncio.ensure_future(asyncio.to_thread(model.stop))
        await asyncio.sleep(0.05)
        held.go.set()
        await asyncio.wait([stopping, first, waiting], timeout=10)
        assert await first == "held"
        assert waiting.cancelled()
        with pytest.raises(RuntimeError):
            await model(doubled, 1)

    asyncio.run(scene())
