"""The columns of a table as tokens: what a table tower has to learn anew for another table.

Shapes: B rows, F numbers, G categorical columns, T = F + G tokens, D width, K frequencies.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class TraceNumbers(nn.Module):
    """All numbers together through one MLP, Linear-SELU-Linear, to a token each; weights N(0, 0.02), biases 0 (TRACE).

    So the token of a column knows of the other columns. A missing number counts as its column's mean there, and its own
    token is absent.
    """

    absent_where_missing = True

    def __init__(self, numbers: int, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(numbers, width), nn.SELU(), nn.Linear(width, width * numbers))
        for layer in (self.mlp[0], self.mlp[2]):
            nn.init.normal_(layer.weight, std=0.02)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, num_BF: Tensor, missing_BF: Tensor) -> Tensor:
        return self.mlp(num_BF.masked_fill(missing_BF, 0)).unflatten(1, (num_BF.shape[1], -1))


class LinearNumbers(nn.Module):
    """x times the column's direction plus its offset; a learnt vector of the column where x is missing.

    FT-Transformer (Gorishniy et al., NeurIPS 2021, Section 3.3); the vector for missing numbers is ours.
    """

    absent_where_missing = False

    def __init__(self, numbers: int, width: int) -> None:
        super().__init__()
        self.direction_FD = nn.Parameter(torch.randn(numbers, width) * width**-0.5)
        self.offset_FD = nn.Parameter(torch.randn(numbers, width) * width**-0.5)
        self.missing_FD = nn.Parameter(torch.randn(numbers, width) * width**-0.5)

    def forward(self, num_BF: Tensor, missing_BF: Tensor) -> Tensor:
        known_BFD = num_BF.masked_fill(missing_BF, 0)[..., None] * self.direction_FD + self.offset_FD
        return torch.where(missing_BF[..., None], self.missing_FD, known_BFD)


class PeriodicNumbers(nn.Module):
    """v = [sin 2πcx, cos 2πcx] with K learnt c ~ N(0, ``sigma``) a column, then a linear map a column and ReLU.

    Gorishniy et al., NeurIPS 2022 ("On embeddings for numerical features"), Section 3.3, PLR; K and ``sigma`` are the
    defaults of the authors' package, and the paper tunes both. The vector for missing numbers is ours.
    """

    absent_where_missing = False

    def __init__(self, numbers: int, width: int, frequencies: int = 48, sigma: float = 0.01) -> None:
        super().__init__()
        bound = (2 * frequencies) ** -0.5  # as nn.Linear
        self.frequency_FK = nn.Parameter(torch.randn(numbers, frequencies) * sigma)
        self.weight_FKD = nn.Parameter(torch.empty(numbers, 2 * frequencies, width).uniform_(-bound, bound))
        self.bias_FD = nn.Parameter(torch.empty(numbers, width).uniform_(-bound, bound))
        self.missing_FD = nn.Parameter(torch.randn(numbers, width) * width**-0.5)

    def forward(self, num_BF: Tensor, missing_BF: Tensor) -> Tensor:
        angle_BFK = 2 * math.pi * num_BF.masked_fill(missing_BF, 0)[..., None] * self.frequency_FK
        v_BFK = torch.cat([angle_BFK.sin(), angle_BFK.cos()], dim=2)
        known_BFD = torch.relu(torch.einsum("bfk,fkd->bfd", v_BFK, self.weight_FKD) + self.bias_FD)
        return torch.where(missing_BF[..., None], self.missing_FD, known_BFD)


NumberEmbedding = type[TraceNumbers] | type[LinearNumbers] | type[PeriodicNumbers]


class ColumnEmbeddings(nn.Module):
    """``numbers`` numeric columns, by a class above, and categorical columns of ``categories`` values each.

    A missing value is an absent token, or a learnt one where the class says so. Raises ValueError without columns.
    """

    def __init__(self, kind: NumberEmbedding, numbers: int, categories: Sequence[int], width: int) -> None:
        super().__init__()
        if numbers + len(categories) == 0:
            raise ValueError("a table tower needs at least one column.")
        self.absent_where_missing = kind.absent_where_missing
        self.numbers = kind(numbers, width) if numbers else None
        padding = 0 if self.absent_where_missing else None
        self.categories = nn.ModuleList(nn.Embedding(size + 1, width, padding_idx=padding) for size in categories)
        if not self.absent_where_missing:
            for table in self.categories:
                nn.init.normal_(table.weight, std=width**-0.5)  # type: ignore[arg-type]

    def forward(self, num_BF: Tensor, cat_BG: Tensor, missing_BF: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, D), numbers before categories, and which of them are absent (B, T)."""
        tokens = [] if self.numbers is None else [self.numbers(num_BF, missing_BF)]
        tokens += [table(cat_BG[:, g, None]) for g, table in enumerate(self.categories)]
        gone_BT = torch.cat([missing_BF, cat_BG == 0], dim=1)
        return torch.cat(tokens, dim=1), gone_BT if self.absent_where_missing else torch.zeros_like(gone_BT)
