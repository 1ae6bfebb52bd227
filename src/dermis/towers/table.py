"""A tower for tables: numbers and categories, with what is missing said and not guessed.

Each column becomes one token: a number scales its column's direction and adds its offset, a category looks its vector
up, and a missing value is a learnt vector of its column. A small transformer mixes the tokens and a summary token is
read. Tokens per column as in FT-Transformer (Gorishniy et al., NeurIPS 2021, Section 3.3); the learnt vector for
missing numbers is ours.
"""

import torch
from torch import Tensor, nn

from dermis.towers import Features


class TableTower(nn.Module):
    """``numbers`` numeric columns and categorical columns of ``categories`` values each (without the one for missing).

    Raises ValueError for a table without columns or if ``heads`` does not divide ``width``.
    """

    def __init__(self, numbers: int, categories: list[int], width: int = 64, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        if numbers + len(categories) == 0:
            raise ValueError("a table tower needs at least one column.")
        if width % heads:
            raise ValueError(f"heads must divide width; {heads} does not divide {width}.")
        self.dim = width
        self.direction_FD = nn.Parameter(torch.randn(numbers, width) * width**-0.5)
        self.offset_FD = nn.Parameter(torch.randn(numbers, width) * width**-0.5)
        self.missing_FD = nn.Parameter(torch.randn(numbers, width) * width**-0.5)
        # one table for all categorical columns; column g's values 0 (missing) … size start at first_G[g]
        sizes = torch.tensor([0, *(size + 1 for size in categories)])
        self.register_buffer("first_G", sizes.cumsum(0)[:-1], persistent=False)
        self.category = nn.Embedding(max(int(sizes.sum()), 1), width)
        nn.init.normal_(self.category.weight, std=width**-0.5)
        self.summary_D = nn.Parameter(torch.randn(width) * width**-0.5)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.mixer = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)

    def features(self, num_BF: Tensor, cat_BG: Tensor, missing_BF: Tensor) -> Features:
        """Standardised numbers, categories as 1 + their place (0 = missing) and which numbers are missing.

        ``patch_BPD`` holds the F + G columns' tokens. What stands in ``num_BF`` at a missing place has no effect.
        """
        numbers_BFD = torch.where(
            missing_BF[..., None],
            self.missing_FD,
            num_BF.masked_fill(missing_BF, 0)[..., None] * self.direction_FD + self.offset_FD,
        )
        categories_BGD = self.category(cat_BG + self.first_G)
        summary_B1D = self.summary_D.expand(len(num_BF), 1, -1)
        tokens_BTD = self.mixer(torch.cat([summary_B1D, numbers_BFD, categories_BGD], dim=1))
        return Features(tokens_BTD[:, 0], tokens_BTD[:, 1:])
