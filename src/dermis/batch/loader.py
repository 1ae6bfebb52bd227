"""Batches of an epoch, from any position, with or without worker processes."""

import gc
from collections.abc import Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from dermis.batch.dataset import CaseDataset, Collate
from dermis.batch.sampler import EpochBatches


def _one_thread_per_worker(_: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


class Batches:
    """``dataset`` in the order of ``order``. Set ``order.epoch`` and ``order.position``, then iterate."""

    def __init__(self, dataset: CaseDataset, order: EpochBatches, collate: Collate, workers: int = 0) -> None:
        self.dataset, self.order = dataset, order
        self.loader = DataLoader(
            dataset,
            batch_sampler=order,
            collate_fn=collate,
            num_workers=workers,
            worker_init_fn=_one_thread_per_worker,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # its own: the loader's draws must not move the method's random numbers
        )

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not self.loader.num_workers:
            return iter(self.loader)
        # a worker's collector would write to every object that it shares with us, and so copy a large table's pages
        gc.collect()
        gc.freeze()
        try:
            return iter(self.loader)
        finally:
            gc.unfreeze()

    def in_order(self) -> Iterator[dict[str, Any]]:
        """Every case once, in the manifest's order, in this process: also those that the epoch's last batch leaves out.

        Augmented as in the epoch that ``order`` stands at; each rank sees all cases.
        """
        rows, size = len(self.dataset), self.order.batch_size
        for start in range(0, rows, size):
            keys = [(self.order.epoch, row) for row in range(start, min(start + size, rows))]
            yield self.loader.collate_fn([self.dataset[key] for key in keys])
