"""One step's gradients: at once, or slice by slice with all negatives kept (GradCache).

Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021. A contrastive loss couples
all cases of a batch, so adding up the losses of slices is another loss. Instead:

  1. embed every slice without keeping its graph, remembering the random numbers it used;
  2. compute the loss on all embeddings together, and its gradient with respect to each;
  3. embed every slice again, with its graph and the same random numbers, and push that gradient through it.

Memory is one slice's graph; loss and gradient are those of the whole batch. The price is one more forward pass. Batch
statistics (BatchNorm) are those of a slice and move twice: towers that have them do not give the whole batch's value.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from dermis.batch.slices import cases_of, slices
from dermis.training import fully_sharded

Autocast = Callable[[], AbstractContextManager]


def backward(
    method: nn.Module, batch: dict[str, Any], count: int, autocast: Autocast, scale: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Add this batch's gradients to the parameters; returns the method's detached outputs.

    ``scale`` multiplies the loss before it is differentiated (fp16). Raises ValueError if ``count`` > 1 and the method
    has no ``embed`` and ``loss``: its terms may couple the cases, and slices would silently change them.
    """
    if count == 1:
        with autocast():
            outputs = method(batch)
        scale(outputs["loss"]).backward()
    else:
        outputs = _grad_cache(method, batch, count, autocast, scale)
    return {name: value.detach() for name, value in outputs.items()}


def _grad_cache(
    method: Any, batch: dict[str, Any], count: int, autocast: Autocast, scale: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    if not (hasattr(method, "embed") and hasattr(method, "loss")):
        raise ValueError(
            f"training.accumulate is {count}, but {type(method).__name__} has no embed() and loss(): its loss may "
            "couple the cases of a batch, and adding up slices would change it. Use accumulate: 1."
        )
    count = min(count, cases_of(batch))  # of patients there may be fewer lesions than slices
    parts = list(slices(batch, fully_sharded.as_often(method, count)))
    states, embedded = [], []
    for part in parts:
        states.append(_random_state())
        with torch.no_grad(), autocast():
            embedded.append(method.embed(part))
    after = _random_state()

    whole = {name: torch.cat([e[name] for e in embedded]).requires_grad_() for name in embedded[0]}
    with autocast():
        outputs = method.loss(whole, batch)
    scale(outputs["loss"]).backward()

    done = dict.fromkeys(whole, 0)
    for part, state in zip(parts, states, strict=True):
        _set_random_state(state)
        with autocast():
            again = method.embed(part)
        pulled = []
        for name, rows in again.items():
            gradient = whole[name].grad
            if gradient is not None and rows.requires_grad:
                pulled.append((rows, gradient[done[name] : done[name] + len(rows)]))
            done[name] += len(rows)
        if pulled:  # frozen towers have nothing to pull at
            torch.autograd.backward([rows for rows, _ in pulled], [gradient for _, gradient in pulled])
    _set_random_state(after)
    return outputs


def _random_state() -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None


def _set_random_state(state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
