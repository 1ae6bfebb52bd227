"""AdamW with two groups, and the learning rate's course."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from dermis.distributed import cut_and_whole
from dermis.training.config import TrainingConfig


def parameter_groups(method: nn.Module, weight_decay: float) -> list[dict]:
    """Trainable parameters in two groups: matrices decay, vectors and scalars do not.

    A method's own ``param_groups()`` goes before; each of its groups may set ``lr_factor`` and ``weight_decay``.
    Raises ValueError if nothing is trainable.
    """
    if hasattr(method, "param_groups"):
        groups: Iterable[dict] = method.param_groups()  # type: ignore[operator]
    else:
        groups = [{"params": [p for p in method.parameters() if p.requires_grad]}]
    split = []
    for group in groups:
        rest = {key: value for key, value in group.items() if key != "params"}
        parameters = list(group["params"])
        matrices = [p for p in parameters if p.ndim >= 2]
        vectors = [p for p in parameters if p.ndim < 2]
        for params, decay in ((matrices, rest.pop("weight_decay", weight_decay)), (vectors, 0.0)):
            if params:
                split.append({"lr_factor": 1.0, **rest, "params": params, "weight_decay": decay})
    if not split:
        raise ValueError("nothing is left to train: every parameter is frozen.")
    return split


def adamw(method: nn.Module, config: TrainingConfig, trained: nn.Module | None = None) -> torch.optim.AdamW:
    """The optimiser of ``parameter_groups``; fused where the parameters are on a GPU.

    ``trained``: a copy of ``method``, some of it cut up, whose parameters it moves instead (``fully_sharded``).
    """
    groups = parameter_groups(method, config.weight_decay)
    if trained is not None:
        groups = _of_copy(groups, method, trained)
    on_gpu = groups[0]["params"][0].is_cuda
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=on_gpu)


def _of_copy(groups: list[dict], method: nn.Module, trained: nn.Module) -> list[dict]:
    """The groups with the copy's parameters, those that are cut in groups of their own."""
    names = {parameter: name for name, parameter in method.named_parameters()}
    copies = dict(trained.named_parameters())
    split = []
    for group in groups:
        kinds = cut_and_whole(copies[names[p]] for p in group["params"])
        split += [{**group, "params": kind} for kind in kinds if kind]
    return split


def lr_factor(step: int, steps: int, warmup: float, schedule: str) -> float:
    """Share of the peak learning rate at ``step`` of ``steps`` (counted from 0)."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set every group's learning rate to ``lr`` times its own factor."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["lr_factor"]
