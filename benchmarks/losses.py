"""Time and memory of the contrastive losses: chunked, whole, and open_clip's ClipLoss and SigLipLoss.

    python benchmarks/losses.py [--sizes 256x512 1024x512 4096x512] [--chunk 256] [--rounds 5] [--threads 1]

Forward and backward in float32 on random unit vectors. Time is the process's CPU time, median of the rounds, versions
taking turns within each round. `kept` is what autograd keeps between forward and backward, beyond the inputs. `peak` is
the extra resident memory of one forward and backward in a process of its own (Linux). A ratio in brackets is
open_clip's figure divided by this one: above 1 is better than open_clip.
"""

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import dermis.torchvision_operators  # noqa: F401 (before open_clip)
from dermis.losses.contrastive import clip, siglip

VERSIONS = ("open_clip", "whole", "chunked")


def make(name: str, version: str, size: str, chunk: int) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """The loss as a function without arguments, and its inputs."""
    cases, width = (int(x) for x in size.split("x"))
    generator = torch.Generator().manual_seed(0)
    inputs = [F.normalize(torch.randn(cases, width, generator=generator), dim=-1) for _ in range(2)]
    inputs += [torch.tensor(1 / 0.07)] if name == "clip" else [torch.tensor(10.0), torch.tensor(-10.0)]
    for x in inputs:
        x.requires_grad_()
    if version == "open_clip":
        from open_clip.loss import ClipLoss, SigLipLoss  # here, because importing it takes long

        theirs = ClipLoss() if name == "clip" else SigLipLoss()
        return lambda: theirs(*inputs), inputs
    ours = clip if name == "clip" else siglip
    return lambda: ours(*inputs, chunk=chunk if version == "chunked" else None), inputs


def cpu_seconds(loss: Callable[[], Tensor], inputs: list[Tensor]) -> float:
    start = time.process_time()
    torch.autograd.grad(loss(), inputs)
    return time.process_time() - start


def kept_megabytes(loss: Callable[[], Tensor], inputs: list[Tensor]) -> float:
    kept: dict[int, int] = {}
    alive = []

    def pack(x: Tensor) -> Tensor:
        alive.append(x)  # a freed storage's address would be counted for its successor
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        value = loss()
    for x in inputs:
        kept.pop(x.untyped_storage().data_ptr(), None)
    del value
    return sum(kept.values()) / 1e6


def peak_megabytes(name: str, version: str, size: str, chunk: int) -> float:
    """Measured in a fresh process, because an allocator hands out again what it once got."""
    command = [sys.executable, __file__, "--peak", name, version, "--sizes", size, "--chunk", str(chunk)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def resident_kilobytes(line: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(row.split()[1] for row in status.splitlines() if row.startswith(line)))


def print_own_peak(name: str, version: str, size: str, chunk: int) -> None:
    small, inputs = make(name, version, "8x8", 4)
    torch.autograd.grad(small(), inputs)  # libraries load their parts on first use
    loss, inputs = make(name, version, size, chunk)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    before = resident_kilobytes("VmRSS")
    torch.autograd.grad(loss(), inputs)
    print((resident_kilobytes("VmHWM") - before) / 1e3)


def table(name: str, size: str, chunk: int, rounds: int) -> None:
    losses = {version: make(name, version, size, chunk) for version in VERSIONS}
    values = {version: loss().item() for version, (loss, _) in losses.items()}
    assert all(math.isclose(value, values["open_clip"], rel_tol=1e-4) for value in values.values()), values
    seconds: dict[str, list[float]] = {version: [] for version in VERSIONS}
    for _ in range(rounds):
        for version in VERSIONS:
            seconds[version].append(cpu_seconds(*losses[version]))
    figures = {
        version: (
            1e3 * statistics.median(seconds[version]),
            kept_megabytes(*losses[version]),
            peak_megabytes(name, version, size, chunk) if sys.platform == "linux" else math.nan,
        )
        for version in VERSIONS
    }
    for version, figure in figures.items():
        cells = [
            f"{x:10.1f} ({base / max(x, 0.1):6.2f}x)" for x, base in zip(figure, figures["open_clip"], strict=True)
        ]
        print(f"{name:7}{size:>10}  {version + (f' {chunk}' if version == 'chunked' else ''):13}" + "  ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["256x512", "1024x512", "4096x512"], help="cases x width")
    parser.add_argument("--chunk", type=int, default=256, help="rows at a time in the chunked version")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        print_own_peak(*arguments.peak, arguments.sizes[0], arguments.chunk)
        return
    print(f"{'loss':7}{'B x D':>10}  {'version':13}{'CPU ms':>10}{'':13}{'kept MB':>9}{'':13}{'peak MB':>9}")
    for name in ("clip", "siglip"):
        for size in arguments.sizes:
            table(name, size, arguments.chunk, arguments.rounds)


if __name__ == "__main__":
    main()
