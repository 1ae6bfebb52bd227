"""Batches of an epoch, from any position, with or without worker processes."""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from dermis.batch.dataset import CaseDataset, Collate
from dermis.batch.sampler import EpochBatches

STOPS = (signal.SIGINT, signal.SIGTERM) if hasattr(signal, "sigwaitinfo") else ()
"""what a terminal, `timeout` and schedulers send to all processes of a run at once; on a Mac, where who sent a signal
cannot be asked, workers end by it"""


def _start_worker(_: int) -> None:
    """One thread a worker, and its end is the parent's to decide: so a run that is asked to stop can end its step."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    if STOPS:
        threading.Thread(target=_obey_the_parent, daemon=True).start()


def _obey_the_parent() -> None:
    """End the process once SIGTERM comes from the parent, which stops its workers by it; anybody else's is ignored."""
    parent = multiprocessing.parent_process()
    while parent and signal.sigwaitinfo((signal.SIGTERM,)).si_pid != parent.pid:
        continue
    os._exit(0)


class Batches:
    """``dataset`` in the order of ``order``. Set ``order.epoch`` and ``order.position``, then iterate."""

    def __init__(self, dataset: CaseDataset, order: EpochBatches, collate: Collate, workers: int = 0) -> None:
        self.dataset, self.order = dataset, order
        self.loader = DataLoader(
            dataset,
            batch_sampler=order,
            collate_fn=collate,
            num_workers=workers,
            worker_init_fn=_start_worker,
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
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # a worker is never without its mask
        try:
            return iter(self.loader)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            gc.unfreeze()

    def in_order(self) -> Iterator[dict[str, Any]]:
        """Every case once, in the manifest's order, in this process: also those that the epoch's last batch leaves out.

        Augmented as in the epoch that ``order`` stands at; each rank sees all cases.
        """
        rows, size = len(self.dataset), self.order.batch_size
        for start in range(0, rows, size):
            keys = [(self.order.epoch, row) for row in range(start, min(start + size, rows))]
            yield self.loader.collate_fn([self.dataset[key] for key in keys])
