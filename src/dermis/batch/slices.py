"""Cutting a batch into smaller ones (for accumulation) and moving it to a device."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from dermis.batch.texts import TEXT_KEYS, select_owners


def cases_of(batch: dict[str, Any]) -> int:
    """Number of cases in the batch."""
    return len(batch["row_B"])


def slices(batch: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """``count`` batches of (nearly) equal size that together hold the cases of ``batch``, in order.

    Raises ValueError if the batch has fewer cases than slices.
    """
    cases = cases_of(batch)
    if count > cases:
        raise ValueError(f"a batch of {cases} cases cannot be cut into {count} slices.")
    bounds = [cases * i // count for i in range(count + 1)]
    per_case = {key: value for key, value in batch.items() if key not in TEXT_KEYS}
    for first, last in pairwise(bounds):
        part = {key: value[first:last] for key, value in per_case.items()}
        if "tokens" in batch:
            part |= select_owners(batch, first, last)
        yield part


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The batch with its tensors on ``device``."""
    return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}
