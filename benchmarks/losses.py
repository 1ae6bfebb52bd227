"""Time and memory of the contrastive losses: chunked, whole, and open_clip's ClipLoss and SigLipLoss.

    python benchmarks/losses.py [--sizes 256x512 1024x512 4096x512] [--chunk 256] [--rounds 5] [--threads 1]

Forward and backward in float32 on random unit vectors. Time is the process's CPU time, median of the rounds, versions
taking turns within each round. `kept` is what autograd keeps between forward and backward, beyond the inputs. `peak` is
the extra resident memory of one forward and backward in a process of its own (Linux). A ratio in brackets is
open_clip's figure divided by this one: above 1 is better than open_clip.
"""

import argparse
import math
import subprocess
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measuring import extra_megabytes, kept_bytes, medians
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


def peak_megabytes(name: str, version: str, size: str, chunk: int) -> float:
    """Measured in a fresh process, because an allocator hands out again what it once got."""
    command = [sys.executable, __file__, "--peak", name, version, "--sizes", size, "--chunk", str(chunk)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_own_peak(name: str, version: str, size: str, chunk: int) -> None:
    small, inputs = make(name, version, "8x8", 4)
    torch.autograd.grad(small(), inputs)
    loss, inputs = make(name, version, size, chunk)
    print(extra_megabytes(lambda: torch.autograd.grad(loss(), inputs)))


def table(name: str, size: str, chunk: int, rounds: int) -> None:
    losses = {version: make(name, version, size, chunk) for version in VERSIONS}
    values = {version: loss().item() for version, (loss, _) in losses.items()}
    assert all(math.isclose(value, values["open_clip"], rel_tol=1e-4) for value in values.values()), values
    steps = {
        v: (lambda loss=loss, inputs=inputs: torch.autograd.grad(loss(), inputs))
        for v, (loss, inputs) in losses.items()
    }
    seconds = medians(steps, rounds)
    figures = {
        version: (
            1e3 * seconds[version],
            kept_bytes(*losses[version]) / 1e6,
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
