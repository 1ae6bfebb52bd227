"""Heads on each of two pictures and on their sum, whose probabilities are then mixed (FusionM4Net, Tang et al. 2022).

Shapes: B cases (N where they are those of a split), D features of a tower, C classes of a label, L labels, K = 3
branches: the sum, then the two pictures.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from dermis.losses.multi_label import UNKNOWN

FUSION = "fusion"


class FusionHeads(nn.Module):
    """Two pictures' features (B, D) -> three branches, each with a row of logits for each label.

    ``dims``: picture column -> width of its tower. ``classes``: label -> its classes' names in order. A branch is a
    perceptron D - ``hidden`` - ``width`` with batch norm and SiLU, and a linear head for each label; ``dropout`` comes
    after both of its layers. ``share_K`` says how the branches' probabilities are mixed, as parts of a whole; a saved
    model keeps it. Raises ValueError unless there are two towers, of equal width.
    """

    share_K: Tensor  # noqa: N815 (shapes are in the names)

    def __init__(
        self,
        dims: Mapping[str, int],
        classes: Mapping[str, Sequence[str]],
        *,
        hidden: int = 512,
        width: int = 128,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if len(dims) != 2 or len(set(dims.values())) > 1:
            raise ValueError(f"features are added up from two towers of equal width; these are {dict(dims)}.")
        self.classes = {label: list(names) for label, names in classes.items()}
        self.branches = (FUSION, *dims)
        dim = next(iter(dims.values()))
        self.perceptrons, self.heads = nn.ModuleDict(), nn.ModuleDict()
        for branch in self.branches:
            layers = (*_layer(dim, hidden, dropout), *_layer(hidden, width, dropout))
            self.perceptrons[branch] = nn.Sequential(*layers)
            self.heads[branch] = nn.ModuleList(nn.Linear(width, len(names)) for names in self.classes.values())
        self.register_buffer("share_K", torch.ones(3, dtype=torch.int64))  # integers stay exact in every precision

    def forward(self, h: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """Each picture's features (B, D) -> branch -> each label's logits (B, C)."""
        seen = {FUSION: torch.stack(list(h.values())).sum(0), **h}
        u = {branch: self.perceptrons[branch](seen[branch]) for branch in self.branches}
        return {branch: [head(u[branch]) for head in self.heads[branch]] for branch in self.branches}

    def probabilities(self, h: Mapping[str, Tensor]) -> list[Tensor]:
        """Each picture's features (B, D) -> each label's probabilities (B, C), mixed by ``share_K``."""
        return [fused(p_KBC, self.share_K) for p_KBC in self._of_branches(h)]

    @torch.no_grad()
    def search(self, h: Mapping[str, Tensor], label_NL: Tensor, steps: int = 30) -> Tensor:
        """Set ``share_K`` to what ``search_weights`` finds on validation cases, and return it."""
        training = self.training
        self.eval()
        self.share_K.copy_(search_weights(self._of_branches(h), label_NL, steps))
        self.train(training)
        return self.share_K

    def _of_branches(self, h: Mapping[str, Tensor]) -> list[Tensor]:
        """Each label's probabilities (K, B, C)."""
        return [torch.stack(logits).softmax(2) for logits in zip(*self(h).values(), strict=True)]


def _layer(dim: int, width: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Linear(dim, width), nn.BatchNorm1d(width), nn.SiLU(), nn.Dropout(dropout)


def fused(p_KNC: Tensor, share_K: Tensor) -> Tensor:
    """Σ_k w_k p_k with w = share / Σ share: the branches' probabilities, mixed."""
    weight_K = share_K.to(p_KNC.dtype) / share_K.sum()
    return torch.einsum("k,knc->nc", weight_K, p_KNC)


def search_weights(p_KNC: Sequence[Tensor], label_NL: Tensor, steps: int = 30) -> Tensor:
    """The shares (K,), positive integers that sum to ``steps``, whose mixture classifies best: the same for all labels.

    ``p_KNC``: for each label the branches' probabilities. Best is the mean over labels of the accuracy over the cases
    whose label is known (not -1); of equals, the one nearest to equal shares, and the first of those. A label that
    nobody knows is left out. Raises ValueError if no label is known, or for fewer steps than branches.
    """
    branches = len(p_KNC[0])
    if steps < branches:
        raise ValueError(f"{branches} branches need at least {branches} steps to share, not {steps}.")
    heads = product(range(1, steps), repeat=branches - 1)
    shares = [(*head, steps - sum(head)) for head in heads if sum(head) < steps]
    shares.sort(key=lambda share: sum((branches * part - steps) ** 2 for part in share))  # stable: first stays first
    share_MK = torch.tensor(shares)
    right = []
    for p, label_N in zip(p_KNC, label_NL.cpu().unbind(1), strict=True):
        known_N = label_N != UNKNOWN
        if known_N.any():
            p, label_N = p.cpu()[:, known_N].double(), label_N[known_N]
            hits = [(fused(p, share_K).argmax(1) == label_N).sum() for share_K in share_MK]
            right.append(torch.stack(hits) / len(label_N))
    if not right:
        raise ValueError("no label of the validation cases is known, so there is nothing to search the weights by.")
    score_M = torch.stack(right).mean(0)
    return share_MK[(score_M >= score_M.max() - 1e-9).nonzero()[0, 0]]  # sums of equal accuracies may round apart
