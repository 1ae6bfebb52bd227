"""Everything that knows about ranks, with ``training``. One process behaves as one rank of one.

A loss over a gathered batch is each rank's share of it: every rank scores its own rows against everybody's, so the mean
over ranks is the loss of the whole batch, and the mean over ranks of the parameters' gradients is its gradient. For
that, the gradient of a gathered row is the sum over the ranks that used it.
"""

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def _connected() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number, 0 if it is alone."""
    return dist.get_rank() if _connected() else 0


def world_size() -> int:
    """Number of processes, 1 if this one is alone."""
    return dist.get_world_size() if _connected() else 1


def is_main() -> bool:
    """Whether this process writes files and talks to the user."""
    return rank() == 0


def barrier() -> None:
    """Wait until all ranks are here."""
    if _connected():
        dist.barrier()


def all_reduce_mean(x: Tensor) -> Tensor:
    """Mean over ranks, without gradient."""
    x = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(x)
        x /= world_size()
    return x


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        gathered = x.new_empty(world_size() * len(x), *x.shape[1:])
        dist.all_gather_into_tensor(gathered, x.contiguous())
        return gathered

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        # Every rank's loss used our rows, so ours is the sum over ranks of the slice that is ours.
        gradient = grad_outputs[0].contiguous()
        own = gradient.new_empty(len(gradient) // world_size(), *gradient.shape[1:])
        dist.reduce_scatter_tensor(own, gradient)  # half the bytes of summing everybody's slice everywhere
        return own


def gather_rows(x: Tensor) -> Tensor:
    """(B, ...) on each rank -> (world_size·B, ...) on all, in rank order; gradients flow back to their rank.

    All ranks must hold equally many rows (``gather_ragged`` otherwise). Our first row is ``first_own_row(B)``.
    """
    return _GatherRows.apply(x) if world_size() > 1 else x


def first_own_row(rows: int) -> int:
    """Where our ``rows`` rows begin in what ``gather_rows`` returns.

    Three rows, rank 1 of 2::

        columns   0 1 2 | 3 4 5
        row 0     . . . | x . .      -> 3
        row 1     . . . | . x .
        row 2     . . . | . . x
    """
    return rank() * rows


def gather_ragged(x: Tensor) -> tuple[Tensor, int]:
    """``gather_rows`` for ranks with different numbers of rows, and where our rows begin in the result.

    Rows travel padded to the longest rank's; the padding is gone from the result.
    """
    if world_size() == 1:
        return x, 0
    counts = gather_rows(torch.tensor([len(x)], device=x.device)).tolist()
    longest = max(counts)
    padded = torch.cat([x, x.new_zeros(longest - len(x), *x.shape[1:])])
    parts = gather_rows(padded).split(longest)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]), sum(counts[: rank()])


def is_cut(tensor: Tensor) -> bool:
    """Is only a part of it on this rank: is it a DTensor of FSDP2, whose class takes 0.7 s to import?"""
    return hasattr(tensor, "full_tensor")


def cut_and_whole(tensors: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Those that are cut and those that are whole, each in order: torch takes one kind in a call over many."""
    kinds: tuple[list[Tensor], list[Tensor]] = ([], [])
    for tensor in tensors:
        kinds[0 if is_cut(tensor) else 1].append(tensor)
    return kinds


@torch.no_grad()
def lerp(moved: Iterable[Tensor], towards: Iterable[Tensor], share: float) -> None:
    """moved + share · (towards - moved), in place; a pair is cut alike, or both are whole."""
    for own, ends in zip(cut_and_whole(moved), cut_and_whole(towards), strict=True):
        if own:
            torch._foreach_lerp_(own, ends, share)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch with ``seed`` + rank, so that ranks draw different dropout.

    Weights drawn after this differ between ranks too; training starts by giving all ranks those of rank 0.
    """
    random.seed(seed + rank())
    np.random.seed((seed + rank()) % 2**32)
    torch.manual_seed(seed + rank())
