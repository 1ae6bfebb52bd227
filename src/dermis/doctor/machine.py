"""The machine as a process sees it: what of processors, memory and shared memory it may use, and the GPUs."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermis.doctor.note import Note

LEAST_SHARED = 2**30
"""bytes of /dev/shm below which workers run out of it at common sizes; Docker's default is 64 MB"""


@dataclass(frozen=True)
class Machine:
    """Numbers of None are not known here, or not limited."""

    processors: int
    affinity: int
    """processors that this process may run on (taskset, Slurm)"""
    quota: float | None
    """processors' worth of time that its control group gets (docker --cpus, Kubernetes)"""
    memory: int | None
    memory_limit: int | None
    shared: int | None
    """size of /dev/shm, through which workers hand over their batches"""
    shared_free: int | None
    load: float | None
    """programs that wanted a processor, on average over the last minute; in a container those of the whole machine"""

    @property
    def usable(self) -> int:
        """Processes that can compute at a time."""
        return self.affinity if self.quota is None else max(1, min(self.affinity, math.floor(self.quota)))


def machine(root: Path = Path("/")) -> Machine:
    """This machine, as /proc, /sys and /dev under ``root`` describe it."""
    processors = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else processors
    names = getattr(os, "sysconf_names", {})
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if "SC_PHYS_PAGES" in names else None
    limits = [int(text) for text in _settings(root, "memory", ("memory.max", "memory.limit_in_bytes")) if text != "max"]
    limit = min(limits, default=None)
    shared = os.statvfs(root / "dev/shm") if (root / "dev/shm").is_dir() else None
    return Machine(
        processors,
        affinity,
        min(_quotas(root), default=None),
        memory,
        limit if limit is not None and (memory is None or limit < memory) else None,
        shared and shared.f_blocks * shared.f_frsize,
        shared and shared.f_bavail * shared.f_frsize,
        os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def _quotas(root: Path) -> Iterator[float]:
    for text in _settings(root, "cpu", ("cpu.max",)):
        quota, _, period = text.partition(" ")
        if quota != "max":
            yield int(quota) / int(period)
    pairs = zip(
        _settings(root, "cpu", ("cpu.cfs_quota_us",)), _settings(root, "cpu", ("cpu.cfs_period_us",)), strict=True
    )
    yield from (int(quota) / int(period) for quota, period in pairs if int(quota) > 0)


def _settings(root: Path, controller: str, names: tuple[str, ...]) -> Iterator[str]:
    """What the process's control groups say of a controller, from its own up to the top: each of them limits it.

    Version 2 has one tree; version 1 has a tree for each controller, in a folder of that name. In a container the
    process's own group may lie outside what is shown; then the top is what holds.
    """
    own = root / "proc/self/cgroup"
    for line in own.read_text().splitlines() if own.is_file() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = top / path.lstrip("/")
        for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(top))):
            yield from ((folder / name).read_text().strip() for name in names if (folder / name).is_file())


def machine_notes(found: Machine, threads: int) -> list[Note]:
    """What of the machine makes dermis slow or stops it; ``threads``: how many torch computes with."""
    notes = []
    if found.load is not None and found.load > max(1.0, found.processors / 2):
        notes.append(
            Note("warning", f"the machine is busy (load {found.load:.1f} on {found.processors} processors): what is "
                 "measured now is slower than it would be alone.")
        )  # fmt: skip
    if threads > found.usable:
        notes.append(
            Note("warning", f"torch computes with {threads} threads on {found.usable} usable processor(s), where "
                 f"they get in each other's way: set OMP_NUM_THREADS={found.usable}.")
        )  # fmt: skip
    if found.shared is not None and found.shared < LEAST_SHARED:
        notes.append(
            Note("warning", f"shared memory has {found.shared / 2**20:.0f} MB, and workers hand over batches through "
                 "it (/dev/shm): start the container with --shm-size=8g or --ipc=host, or set training.workers 0.")
        )  # fmt: skip
    return notes


def gpus() -> list[dict[str, Any]]:
    """Name, memory and capability of each GPU that torch can use."""
    import torch

    found = []
    for i in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(i)
        found.append(
            {"name": about.name, "memory": about.total_memory, "free": torch.cuda.mem_get_info(i)[0],
             "capability": f"{about.major}.{about.minor}"}
        )  # fmt: skip
    return found


def gpu_notes(root: Path = Path("/")) -> list[Note]:
    """Builds of torch that do not fit the machine."""
    import torch

    built_for, there = torch.version.cuda, (root / "dev/nvidia0").exists()
    if torch.cuda.is_available():
        return []
    if there and built_for is None:
        return [Note("warning", "there is an NVIDIA GPU, but this torch is a CPU build: install torch's CUDA build.")]
    if there:
        return [Note("warning", f"there is an NVIDIA GPU, but torch (CUDA {built_for}) cannot use it: its driver is "
                     "too old, or CUDA_VISIBLE_DEVICES hides it.")]  # fmt: skip
    if built_for is not None:
        return [Note("note", f"this torch is built for CUDA {built_for} and there is no GPU or no driver: it works, on "
                     "the CPU.")]  # fmt: skip
    return []
