"""Is the loader or the model the bottleneck? Measured on this machine, by the loader and the loop that train."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import Tensor

from dermis.batch.loader import Batches
from dermis.batch.sampler import EpochBatches, Key
from dermis.batch.slices import cases_of
from dermis.doctor.machine import Machine
from dermis.doctor.note import Note
from dermis.doctor.pace import Pace
from dermis.doctor.prepare import FirstStage, prepare
from dermis.doctor.step import step_rate
from dermis.doctor.verdict import Rates, workers
from dermis.experiment import Experiment
from dermis.pictures import PictureError
from dermis.pictures.decode import decode
from dermis.pictures.store import read_bytes
from dermis.towers.freeze import is_frozen
from dermis.towers.two_tower import TwoTower
from dermis.training.ranks import joined

KEPT = 256 * 2**20
"""bytes of encoded pictures that are kept for decoding"""
ROUNDS = 8
"""batches that a worker should make within the time; where it cannot, batches are made smaller"""
MOST_WORKERS = 16
"""tried where the recipe has none: more take long to start and rarely have more to do"""
PREFETCHED = 2  # batches that torch's DataLoader lets each worker make ahead


@dataclass(frozen=True)
class Measured:
    """Rates and what they are about; no names of files."""

    rates: Rates
    method: str
    stage: str
    cases: int
    batch_size: int
    step_cases: int
    """cases of the batch that the step was measured on; where a whole one takes too long, fewer"""
    unreadable: int
    notes: list[Note]


def measure(experiment: Experiment, seconds: float, found: Machine, say: Callable[[str], None]) -> Measured:
    """About ``seconds`` for each of five stages; ``say`` is told each stage's name before it begins.

    Raises ValueError for what would stop training too.
    """
    if seconds <= 0:
        raise ValueError(f"seconds is more than 0, not {seconds}.")
    with TemporaryDirectory() as folder, joined() as device:
        say("building the towers")
        ready = prepare(experiment, Path(folder))
        real = ready.batches(replace(ready.loop, workers=0))
        say("reading")
        reading, encoded, unreadable = _reading(ready, seconds)
        say("decoding")
        decoding = _decoding(ready, encoded, seconds)
        say("loading without workers")
        alone = _loading(ready, 0, seconds, decoding)
        batch = next(iter(real))
        batch["quarantined"] = []
        count = ready.loop.workers or min(found.usable, MOST_WORKERS)
        notes, loading = _room_for(batch, count, found), None
        if not notes:
            say(f"loading with {workers(count)}")
            loading = _loading(ready, count, seconds, alone)
        say(f"training steps on {device}")
        step, tried = step_rate(ready, real, batch, seconds, device)
    rates = Rates(
        reading, decoding, alone, step, count, loading, ready.loop.workers, found.usable, device.type == "cuda",
        isinstance(ready.method.model, TwoTower) and is_frozen(ready.method.model.image),
        "pictures" if len(ready.columns) == 1 else "cases",
    )  # fmt: skip
    name = experiment.method.name
    return Measured(rates, name, ready.stage, len(ready.cases), cases_of(batch), tried, unreadable, notes)


def _reading(ready: FirstStage, seconds: float) -> tuple[float, list[list[bytes]], int]:
    """Cases read a second, some of what was read, and how many could not be. No file twice: it would be warm."""
    pace, kept, held, unreadable = Pace(seconds, warm_up=0), [], 0, 0
    paths = [ready.cases.table[column].tolist() for column in ready.columns]
    for row in np.random.default_rng(0).permutation(len(ready.cases)):
        try:
            data = [read_bytes(ready.cases.root, column[row]) for column in paths]
        except PictureError:
            unreadable += 1
            continue
        if held < KEPT:
            kept.append(data)
            held += sum(map(len, data))
        if not pace.goes_on(1):
            break
    if not kept:
        raise ValueError(f"none of {unreadable} training pictures can be read; `dermis check` says why.")
    return pace.rate, kept, unreadable


def _decoding(ready: FirstStage, encoded: list[list[bytes]], seconds: float) -> float:
    sizes = [tower.transform.size[0] for tower in ready.method.model.picture_towers.values()]
    pace, bad_in_a_row = Pace(seconds), 0
    for case in cycle(encoded):
        try:
            for data, size in zip(case, sizes, strict=True):
                decode(data, at_least=size)
        except PictureError:
            bad_in_a_row += 1
            if bad_in_a_row == len(encoded):
                raise ValueError("no training picture can be decoded; `dermis check` says why.") from None
            continue
        bad_in_a_row = 0
        if not pace.goes_on(1):
            break
    return pace.rate


class _Endless:
    """Epoch after epoch as one: in a small set the start of an epoch would count for more than its pictures."""

    def __init__(self, order: EpochBatches) -> None:
        self.order = order

    def __iter__(self) -> Iterator[list[Key]]:
        while True:
            yield from self.order
            self.order.epoch += 1


def _loading(ready: FirstStage, count: int, seconds: float, expected: float) -> float:
    """Cases a second of the whole loader with ``count`` workers; ``expected``: about how many a process makes."""
    size = min(ready.loop.batch_size, max(1, int(expected * seconds / ROUNDS)))
    if ready.experiment.data.balance:
        size = ready.loop.batch_size  # has to hold every class equally often
    real = ready.batches(replace(ready.loop, workers=0, batch_size=size, accumulate=1))
    endless: Any = _Endless(real.order)
    pace = Pace(seconds, warm_up=max(1, PREFETCHED * count))  # what was made ahead would come too fast
    for batch in Batches(real.dataset, endless, real.loader.collate_fn, count):
        if not pace.goes_on(cases_of(batch)):
            break
    return pace.rate


def _room_for(batch: dict[str, Any], count: int, found: Machine) -> list[Note]:
    """Workers whose batches overflow /dev/shm die of a bus error, in training and in a measurement."""
    needed = sum(v.nbytes for v in batch.values() if isinstance(v, Tensor)) * PREFETCHED * count
    if found.shared_free is None or needed < found.shared_free:
        return []
    return [
        Note("broken", f"{workers(count)} would keep {needed / 2**20:,.0f} MB of batches in /dev/shm, where "
             f"{found.shared_free / 2**20:,.0f} MB are free, and training would stop with a bus error: start the "
             "container with a larger --shm-size or --ipc=host, or set training.workers 0.")
    ]  # fmt: skip
