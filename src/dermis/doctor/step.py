"""Training steps on a batch that lies in memory, by the real loop."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dermis.batch.loader import Batches
from dermis.batch.slices import cases_of, slices
from dermis.doctor.pace import Pace
from dermis.doctor.prepare import FirstStage
from dermis.training.loop import Interrupted, train

FEW = 8
"""cases of the first trial; a batch grows from there until it is whole or a step takes too long"""
GROWTH = 4


class _EnoughError(Exception):
    """Ends the loop before it would save a checkpoint."""


class _InMemory:
    """Batches that are one and the same, until the time is over. It stands for ``real`` in everything else."""

    def __init__(self, real: Batches, batch: dict[str, Any], pace: Pace) -> None:
        self.order, self.dataset, self.length = real.order, real.dataset, len(real)
        self.batch, self.pace = batch, pace

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield dict(self.batch)  # the loop takes an entry out
        while self.pace.goes_on(cases_of(self.batch)):
            yield dict(self.batch)
        raise _EnoughError

    def in_order(self) -> Iterator[dict[str, Any]]:
        raise ValueError(
            "this stage looks at every case before its first step, which a short measurement cannot: leave it out "
            "(--training.STAGE.epochs 0) or measure an earlier one."
        )


def steps(prepared: FirstStage, real: Batches, batch: dict[str, Any], seconds: float, device: torch.device) -> Pace:
    """Train for ``seconds`` on ``batch``; the weights stay as they are.

    Raises ValueError, with a sentence, for a batch that does not fit into a GPU's memory.
    """
    pace = Pace(seconds)
    # at a learning rate of 0 the same batch a hundred times over cannot make the loss infinite, and costs the same
    loop = replace(prepared.loop, lr=0.0, checkpoint_steps=None, evaluate_epochs=None, tensorboard=False)
    with TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):  # the loop's own lines
        try:
            train(prepared.method, _InMemory(real, batch, pace), loop, Path(folder), device)  # type: ignore[arg-type]
        except _EnoughError:
            return pace
        except Interrupted as stop:
            raise KeyboardInterrupt from stop
        except torch.OutOfMemoryError:
            raise ValueError(
                f"a step on {cases_of(batch)} cases does not fit into the GPU's memory, and training would stop: try "
                "--training.accumulate or a smaller --training.batch-size."
            ) from None
    raise AssertionError("the loop ended before its batches did")


def step_rate(
    prepared: FirstStage, real: Batches, batch: dict[str, Any], seconds: float, device: torch.device
) -> tuple[float, int]:
    """Cases a second in steps on ``batch``, and on how many of its cases that was measured.

    A whole step can take a CPU minutes. Where a few steps do not fit into ``seconds``, as much of the batch as does is
    measured, and a smaller part of it, and the line through both is followed: what a step costs whatever its size (the
    optimiser) would otherwise count too much.
    """
    whole = cases_of(batch)
    size, before = min(FEW, whole), (0, 0.0)
    while True:
        part = next(slices(batch, -(-whole // size)))
        lap = cases_of(part) / steps(prepared, real, part, seconds / 8, device).rate
        if size == whole or GROWTH * lap > seconds / 2:
            break
        size, before = min(GROWTH * size, whole), (cases_of(part), lap)
    cases, rate = cases_of(part), steps(prepared, real, part, seconds, device).rate
    return followed(before, (cases, cases / rate), whole), cases


def followed(smaller: tuple[int, float], larger: tuple[int, float], whole: int) -> float:
    """Cases a second at ``whole`` cases, on the line through two (cases, seconds of a step).

    The line neither falls nor leaves out more than all of the fixed cost, whatever noise says.
    """
    cases, lap = larger
    slope = (lap - smaller[1]) / (cases - smaller[0])
    return whole / (lap + min(max(slope, 0.0), lap / cases) * (whole - cases))
