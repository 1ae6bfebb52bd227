"""The precision that losses are computed in."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` as float32, or as float64 if it is: half precision would be off by up to 1 in 250."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
