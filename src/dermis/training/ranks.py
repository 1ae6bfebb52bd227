"""What the loop does about other ranks: join them, start equal, average gradients, agree to stop.

Gradients are averaged after backward instead of by DistributedDataParallel: GradCache runs the towers several times per
step and the loss once, outside any wrapper's forward, so one plain rule serves every step. Two ranks give one rank's
gradient (tests/training/test_ranks.py).
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dermis.distributed import is_cut, world_size

BUCKET_BYTES = 32 * 2**20


@contextmanager
def joined() -> Iterator[torch.device]:
    """Join the ranks that ``torchrun`` started, if it did; yields this rank's device."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    started = "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized()
    if started:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        if started:
            dist.destroy_process_group()


def same_start(method: nn.Module) -> None:
    """Every rank gets rank 0's weights and buffers."""
    if world_size() > 1:
        for tensor in (*method.parameters(), *method.buffers()):
            dist.broadcast(tensor.detach(), src=0)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over ranks; a gradient that only other ranks have counts as 0 here.

    Those of parameters that are cut up are averaged already.
    """
    if world_size() == 1:
        return
    bucket: list[Tensor] = []
    held = 0
    for parameter in parameters:
        if is_cut(parameter):
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter.grad)
        held += parameter.grad.nbytes
        if held >= BUCKET_BYTES:
            _average(bucket)
            bucket, held = [], 0
    if bucket:
        _average(bucket)


def _average(gradients: list[Tensor]) -> None:
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def any_rank(flag: bool, device: torch.device) -> bool:
    """Is ``flag`` true on at least one rank? All ranks must ask at the same step."""
    if world_size() == 1:
        return flag
    asked = torch.tensor(float(flag), device=device)
    dist.all_reduce(asked, op=dist.ReduceOp.MAX)
    return bool(asked.item())
