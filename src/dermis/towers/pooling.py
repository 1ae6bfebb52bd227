"""Rows of several owners pooled to one row an owner, ragged: nothing is padded.

Shapes: N rows, P owners, D width.
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dermis.losses.precision import at_least_float32
from dermis.registry import unknown

Pooling = Literal["mean", "max", "attention"]


class OwnerPooling(nn.Module):
    """A row for each owner out of its rows.

    ``mean``; ``max``, of each feature; or ``attention``: the mean weighted by a softmax over the owner's rows of a
    learnt score, two layers with tanh (Ilse et al., arXiv 1802.04712, equation 8), which starts as the mean. Raises
    ValueError for another kind.
    """

    def __init__(self, kind: str, dim: int) -> None:
        super().__init__()
        if kind not in get_args(Pooling):
            raise unknown("pooling", kind, get_args(Pooling))
        self.kind = kind
        self.score: nn.Module = nn.Identity()
        if kind == "attention":
            last = nn.Linear(dim // 2, 1, bias=False)
            nn.init.zeros_(last.weight)
            self.score = nn.Sequential(nn.Linear(dim, dim // 2), nn.Tanh(), last)

    def forward(self, x_ND: Tensor, owner_N: Tensor, owners: int) -> Tensor:
        """``owner_N`` from 0 to ``owners`` - 1, each at least once -> (P, D)."""
        place_ND = owner_N[:, None].expand_as(x_ND)
        if self.kind == "max":
            return x_ND.new_zeros(owners, x_ND.shape[1]).scatter_reduce(0, place_ND, x_ND, "amax", include_self=False)
        weighted_ND = self._weights(x_ND, owner_N, owners)[:, None] * at_least_float32(x_ND)
        return weighted_ND.new_zeros(owners, x_ND.shape[1]).index_add(0, owner_N, weighted_ND)

    def _weights(self, x_ND: Tensor, owner_N: Tensor, owners: int) -> Tensor:
        """Each row's share of its owner (N,)."""
        if self.kind == "mean":
            odds_N = at_least_float32(x_ND.new_ones(len(x_ND)))
        else:
            score_N = at_least_float32(self.score(x_ND)[:, 0])
            highest_P = score_N.new_full((owners,), -torch.inf).scatter_reduce(0, owner_N, score_N.detach(), "amax")
            odds_N = (score_N - highest_P[owner_N]).exp()
        return odds_N / odds_N.new_zeros(owners).index_add(0, owner_N, odds_N)[owner_N]
