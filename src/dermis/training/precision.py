"""Which numbers the towers compute with, and why."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch


def choose(precision: str, device: torch.device) -> tuple[torch.dtype, str]:
    """The dtype of autocast and the reason for it; float32 means no autocast.

    Raises ValueError for half precision on a device without units for it, where it would be 50-150 times slower.
    """
    on_gpu = device.type == "cuda"
    if precision == "auto":
        if on_gpu and torch.cuda.is_bf16_supported():
            return torch.bfloat16, "bf16: the GPU has it"
        return torch.float32, "fp32: " + ("the GPU has no bf16" if on_gpu else "the default on a CPU")
    if precision == "fp32":
        return torch.float32, "fp32: as asked"
    if not on_gpu and (precision == "fp16" or not torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        raise ValueError(f"training.precision {precision!r} is emulated on this CPU, 50-150 times slower: use fp32.")
    return {"bf16": torch.bfloat16, "fp16": torch.float16}[precision], f"{precision}: as asked"


def autocast(dtype: torch.dtype, device: torch.device) -> Callable[[], AbstractContextManager]:
    """A maker of autocast blocks; of empty ones for float32."""
    if dtype == torch.float32:
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=dtype)
