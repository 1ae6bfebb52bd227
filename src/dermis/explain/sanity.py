"""Does a map depend on what the model learnt? Weight randomisation, Adebayo et al., NeurIPS 2018 (1810.03292).

A map that is much the same when the weights are noise shows edges of the picture or habits of the architecture, and
explains nothing about the model. Agreement is Spearman's correlation of two maps over their patches; with weights of
noise it should be near 0, with the same weights it is 1.
"""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from dermis.explain.maps import Map


def randomised(model: nn.Module, seed: int, which: Callable[[str], bool] = lambda name: True) -> nn.Module:
    """A copy in which the numbers of each parameter that ``which`` names are shuffled among themselves.

    Shuffled rather than drawn anew: every parameter keeps its distribution and scale, whatever the architecture's own
    initialisation is, and nothing that was learnt about which number goes where. Buffers stay.
    """
    rng = torch.Generator().manual_seed(seed)

    def shuffled(weight: Tensor) -> Tensor:
        order = torch.randperm(weight.numel(), generator=rng).to(weight.device)
        return weight.flatten()[order].view_as(weight)

    return _changed(model, which, shuffled)


def noisy(model: nn.Module, amount: float, seed: int) -> nn.Module:
    """A copy with Gaussian noise on each parameter, ``amount`` times the parameter's own standard deviation."""
    rng = torch.Generator().manual_seed(seed)

    def shaken(weight: Tensor) -> Tensor:
        noise = torch.randn(weight.shape, generator=rng).to(weight)
        return weight + amount * weight.std(correction=0) * noise

    return _changed(model, lambda name: True, shaken)


def agreement(one: Map, other: Map) -> float:
    """Spearman's correlation of two maps of one grid, -1 to 1; NaN, and scipy says so, if one is the same everywhere.

    Raises ValueError for maps of different grids.
    """
    from scipy.stats import spearmanr

    if one.values.shape != other.values.shape:
        raise ValueError(f"maps of different grids, {one.values.shape} and {other.values.shape}, cannot be compared.")
    return float(spearmanr(one.values.ravel(), other.values.ravel()).statistic)


@torch.no_grad()
def _changed(model: nn.Module, which: Callable[[str], bool], change: Callable[[Tensor], Tensor]) -> nn.Module:
    copied = deepcopy(model)
    for name, weight in copied.named_parameters():
        if which(name):
            weight.copy_(change(weight))
    if hasattr(copied, "text_memory"):
        copied.text_memory.clear()  # texts as the weights before said them
    return copied
