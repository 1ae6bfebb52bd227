"""FSDP2: each rank keeps a part of the weights, gradients and optimiser state of the towers' blocks.

PyTorch FSDP (Zhao et al., VLDB 2023) in torch's second version, ``fully_shard``: a block's weights are gathered when
the block is called, forgotten after it, and its gradients are averaged as they are scattered. What is no block
(embeddings, norms, heads, ``logit_scale``) stays whole on every rank, and ``ranks.average_gradients`` averages it.

The loop trains a copy that is cut up; the method itself stays whole, on the CPU, and gets the weights back
(``bring_home``) before anybody looks at it. So evaluation, saving and everything else know of whole methods only.

A gathering needs all ranks, and a call of the block itself: towers that run their blocks a different number of times on
each rank, because they sort texts by length, or by other methods than ``forward``, say ``stays_whole = True``.
"""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dermis.distributed import cut_and_whole, gather_rows, is_cut

SMALLEST = 100_000
"""weights of a block that is worth cutting: gathering fewer costs more than it saves"""


def cut(method: nn.Module, device: torch.device) -> nn.Module:
    """A copy of ``method`` on ``device`` whose blocks are cut over all ranks; the ranks' methods must be equal.

    Raises ValueError for a method without blocks, of which nothing could be cut.
    """
    copy = deepcopy(method).to(device)
    blocks = list(_blocks(copy))
    if not blocks:
        raise ValueError(
            f"training.fully_sharded has no effect: no tower of this method has blocks of {SMALLEST:,} weights or more "
            "that can be cut (text towers that sort texts by length, and generators, cannot)."
        )
    from torch.distributed.device_mesh import init_device_mesh  # slow to import, and only large runs need it
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    return copy


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost members of lists of modules that are large enough, but not of what stays whole."""
    if getattr(module, "stays_whole", False) or sum(p.numel() for p in module.parameters()) < SMALLEST:
        return
    for child in module.children():
        large = sum(p.numel() for p in child.parameters()) >= SMALLEST
        if large and isinstance(module, nn.ModuleList | nn.Sequential) and not isinstance(child, nn.ModuleList):
            yield child
        else:
            yield from _blocks(child)


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor, without gradient, on its device; all ranks ask together."""
    cut: Any = tensor.detach()
    return cut.full_tensor() if is_cut(tensor) else cut


def cut_like(value: Tensor, pattern: Tensor) -> Tensor:
    """This rank's part of the whole ``value`` (which every rank has), cut as ``pattern`` is."""
    if not is_cut(pattern):
        return value
    from torch.distributed.tensor import distribute_tensor

    part: Any = pattern
    return distribute_tensor(value.to(part.device), part.device_mesh, part.placements, src_data_rank=None)


@torch.no_grad()
def bring_home(trained: nn.Module, method: nn.Module) -> None:
    """Give the whole ``method`` the weights and buffers of the one that is cut up; all ranks call it."""
    homes = method.state_dict(keep_vars=True)
    for name, tensor in trained.state_dict(keep_vars=True).items():
        homes[name].copy_(whole(tensor))


def as_often(trained: nn.Module, times: int) -> int:
    """How often every rank can run ``trained``: the smallest ``times`` if blocks are cut, which all gather together."""
    cut_parameter = next((p for p in trained.parameters() if is_cut(p)), None)
    if cut_parameter is None:
        return times
    return int(gather_rows(torch.tensor([times], device=cut_parameter.device)).min())


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
    """``nn.utils.clip_grad_norm_`` over gradients of which some are cut; returns the norm of the whole gradient."""
    parts: list[Any]
    parts, rest = cut_and_whole(p.grad for p in parameters if p.grad is not None)
    own = [part.to_local() for part in parts]
    norm = nn.utils.get_total_norm(rest)
    square = nn.utils.get_total_norm(own).to(norm.device) ** 2
    dist.all_reduce(square)
    norm = (norm**2 + square).sqrt()
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_([*own, *rest], factor)
    return norm
