"""Counts and times for Prometheus: of routes, statuses and batches; nothing of what was sent."""

import os
import tempfile
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""where several workers keep their counts, so that any of them can answer for all; read when the client is imported"""
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


def share_counts() -> tempfile.TemporaryDirectory:
    """Make the place where workers that start after this keep their counts together; it is gone with the object."""
    folder = tempfile.TemporaryDirectory(prefix="dermis-counts-")
    os.environ[SHARED] = folder.name
    return folder


class Metrics:
    """The counters of one worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        where = {"registry": self.registry}
        self.requests = Counter("dermis_requests", "Answers, by route and status.", ["route", "status"], **where)
        self.seconds = Histogram(
            "dermis_request_seconds", "From the first byte to the answer.", ["route"], buckets=SECONDS, **where
        )
        self.open = Gauge(
            "dermis_requests_open", "Requests being worked on or waiting.", multiprocess_mode="livesum", **where
        )
        self.batches = Histogram(
            "dermis_batch_size", "Cases that went through the model together.", buckets=SIZES, **where
        )
        self.bytes = Counter("dermis_received_bytes", "Bytes of requests that were taken in.", **where)
        if SHARED in os.environ:
            _forget_the_dead(Path(os.environ[SHARED]))

    def text(self) -> bytes:
        """All counts, of all workers, in Prometheus' text format."""
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)


def _forget_the_dead(folder: Path) -> None:
    """A killed worker's open requests are no longer open."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rsplit("_", 1)[1])
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid)
