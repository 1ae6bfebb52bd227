"""The same bits each time, on a CPU also with several threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Within the block a CPU adds up in a fixed order; a GPU stays as it was.

    Without it, several threads add the gradients of rows that a batch uses twice (a shared caption) in the order in
    which they finish, and a resumed run drifts from the uninterrupted one. The price is about a tenth of a small
    model's step.
    """
    before = torch.are_deterministic_algorithms_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # nobody reads what is not yet written
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filling
