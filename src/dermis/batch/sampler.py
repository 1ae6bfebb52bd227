"""The order of cases: a new permutation each epoch, cut into batches, that can start anywhere.

A key is (epoch, row), so a worker needs no state to know which augmentation to draw, and the batches of an epoch are
the same whatever the number of workers and wherever training was interrupted.
"""

from collections.abc import Iterator

import numpy as np

Key = tuple[int, int]


def flags(most: int) -> str:
    """How a batch of at most this many is typed, wherever the loop has its settings."""
    size = 1 << max(most.bit_length() - 1, 0)
    elsewhere = "a stage: --training.STAGE.batch-size, fine-tuning: --evaluation.finetune.training.batch-size"
    return f"--training.batch-size {size}; {elsewhere}"


class EpochBatches:
    """Batches of keys for one rank. ``position`` is the next batch of ``epoch``; set both to resume."""

    def __init__(self, cases: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        """Raises ValueError if all ranks together do not find one full batch: ``cases`` < batch_size * world_size."""
        if cases < batch_size * world_size:
            raise ValueError(
                f"{cases} cases do not fill one batch of {batch_size} on each of {world_size} rank(s): "
                f"use batch_size at most {cases // world_size} ({flags(cases // world_size)})."
            )
        self.cases, self.batch_size, self.seed = cases, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = self.position = 0

    def __len__(self) -> int:
        """Batches per epoch; the cases that do not fill a last one wait for the next epoch's permutation."""
        return self.cases // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[list[Key]]:
        """The keys of this rank's batches from ``position`` to the end of ``epoch``."""
        epoch, together = self.epoch, self.batch_size * self.world_size
        order = np.random.default_rng([self.seed, epoch]).permutation(self.cases)
        for batch in range(self.position, len(self)):
            start = batch * together + self.rank * self.batch_size
            yield [(epoch, int(row)) for row in order[start : start + self.batch_size]]
