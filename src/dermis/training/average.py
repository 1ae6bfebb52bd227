"""Exponential moving average of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dermis.distributed import lerp


def start(method: nn.Module) -> dict[str, Tensor]:
    """A copy of the trainable weights."""
    return {name: p.detach().clone() for name, p in method.named_parameters() if p.requires_grad}


@torch.no_grad()
def update(average: dict[str, Tensor], method: nn.Module, decay: float, step: int) -> None:
    """average ← decay · average + (1 - decay) · weights, with a decay that rises from 0.1 in the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    weights = dict(method.named_parameters())
    lerp(average.values(), [weights[name] for name in average], 1 - decay)


@torch.no_grad()
def copy_into(method: nn.Module, values: dict[str, Tensor]) -> None:
    """Give the method's weights these values, by name."""
    weights = dict(method.named_parameters())
    for name, value in values.items():
        weights[name].copy_(value)


@contextmanager
def applied(average: dict[str, Tensor], method: nn.Module) -> Iterator[None]:
    """Within the block the method has the averaged weights; its own come back afterwards."""
    weights = dict(method.named_parameters())
    own = {name: weights[name].detach().clone() for name in average}
    copy_into(method, average)
    try:
        yield
    finally:
        copy_into(method, own)
