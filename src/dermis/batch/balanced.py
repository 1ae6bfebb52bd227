"""Batches in which every class of every label is drawn equally often (Kawahara et al., IEEE JBHI 23(2), 2019).

A (label, class) that some case has is one of P classes; Derm7pt's eight labels have P = 24. A batch, all ranks
together, is k rounds of P cases, one drawn for each class; ``batch_size`` times ranks is k · P. A case drawn for one
class brings its classes of the other labels along, so a batch holds at least k cases of every class, and common classes
still occur more often. A class's cases come from its own queue, which is reshuffled when all have been drawn: it goes
on from epoch to epoch, so that none comes twice before all have come once. What a queue holds anywhere follows from
the seed alone.

Shapes: N cases, L labels, P classes of all labels, k rounds of a batch.
"""

from collections.abc import Iterator
from math import gcd

import numpy as np

from dermis.batch.sampler import EpochBatches, Key
from dermis.cases.targets import UNKNOWN

_QUEUE, _ROUND = 2, 3  # which random numbers


class LabelBalancedBatches(EpochBatches):
    """Label-balanced batches of keys for one rank. ``position`` is the next batch of ``epoch``; set both to resume.

    An epoch is as long as unbalanced, cases // (batch_size * world_size) batches: cases of rare classes come several
    times in it, with the same augmentation, and some of common classes not at all.
    """

    def __init__(
        self, label_NL: np.ndarray | None, batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        """``label_NL``: labels from 0, -1 unknown.

        Raises ValueError if there are no labels, if there are fewer cases than classes, or fewer than one batch, and
        if the batches of all ranks together are not a multiple of the number of classes.
        """
        label_NL = np.asarray(label_NL)
        if label_NL.ndim != 2:
            raise ValueError("balanced batches (data.balance) need a method that learns labels of cases.")
        pairs = [(i, c) for i, column in enumerate(label_NL.T) for c in np.unique(column) if c != UNKNOWN]
        if not pairs:
            raise ValueError("no label of the training cases is known, so there is nothing to balance.")
        step = len(pairs) // gcd(len(pairs), world_size)
        if len(label_NL) < step * world_size:
            raise ValueError(
                f"{len(label_NL)} cases cannot be balanced over {len(pairs)} classes on {world_size} rank(s): "
                f"a batch has at least {step * world_size}."
            )
        if batch_size % step:
            below = batch_size // step * step
            raise ValueError(
                f"balanced batches draw {len(pairs)} classes equally often, so training.batch_size is a multiple of "
                f"{step}: use {f'{below} or ' if below else ''}{below + step}, not {batch_size}."
            )
        super().__init__(len(label_NL), batch_size, seed, rank, world_size)
        self.members = [np.flatnonzero(label_NL[:, i] == c) for i, c in pairs]

    def __iter__(self) -> Iterator[list[Key]]:
        """The keys of this rank's batches from ``position`` to the end of ``epoch``."""
        epoch, rounds = self.epoch, self.batch_size * self.world_size // len(self.members)
        draws = len(self) * rounds
        queue_PT = np.stack([self._queue(p, epoch * draws, draws) for p in range(len(self.members))])
        for batch in range(self.position, len(self)):
            drawn_kP = queue_PT[:, batch * rounds : (batch + 1) * rounds].T
            rows = np.random.default_rng([self.seed, epoch, batch, _ROUND]).permuted(drawn_kP, axis=1).ravel()
            own = rows[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]
            yield [(epoch, int(row)) for row in own]

    def _queue(self, pair: int, start: int, count: int) -> np.ndarray:
        """Places ``start`` to ``start + count`` of a class's queue: one shuffle of its cases after the other."""
        cases = self.members[pair]
        first, last = start // len(cases), (start + count - 1) // len(cases)
        shuffled = [
            np.random.default_rng([self.seed, pair, turn, _QUEUE]).permutation(cases) for turn in range(first, last + 1)
        ]
        offset = start - first * len(cases)
        return np.concatenate(shuffled)[offset : offset + count]
