"""What benchmarks measure with: CPU time of versions that take turns, resident memory (Linux), what autograd keeps."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path


def cpu_seconds(run: Callable[[], object]) -> float:
    """Of this process, for one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def medians(versions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Version -> median CPU seconds; they take turns, and a round before the first does not count."""
    found: dict[str, list[float]] = {name: [] for name in versions}
    for number in range(rounds + 1):
        for name, run in versions.items():
            spent = cpu_seconds(run)
            if number:
                found[name].append(spent)
    return {name: statistics.median(values) for name, values in found.items()}


def megabytes(what: str = "VmRSS", process: int | str = "self") -> float:
    """MB (a million bytes) that a process has resident now (VmRSS), or had at most (VmHWM)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1024 / 1e6


def extra_megabytes(run: Callable[[], object]) -> float:
    """MB by which the peak rises over what is resident before. An allocator hands out again what it once got: call it
    once a process, after something small of the same kind, for libraries load their parts on first use."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    before = megabytes()
    run()
    return megabytes("VmHWM") - before


def kept_bytes(run: Callable[[], object], apart: Iterable) -> int:
    """Bytes of the tensors that autograd keeps for backward, those of the storages of ``apart`` left out."""
    import torch  # not everything that is measured needs it

    kept: dict[int, int] = {}
    alive = []

    def pack(x: torch.Tensor) -> torch.Tensor:
        alive.append(x)  # a freed storage's address would be counted for its successor
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    own = {x.untyped_storage().data_ptr() for x in apart}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        value = run()
    size = sum(size for place, size in kept.items() if place not in own)
    del value
    return size
