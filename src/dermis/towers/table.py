"""Towers for tables: a token a column, with what is missing said and not guessed, and a Transformer that mixes them.

A tower is ``embeddings``, which belong to one table's columns, and ``blocks``, which fit every table: on another
table the embeddings are drawn anew and the blocks are kept (SLIMP's continual pre-training, arXiv 2505.23709).

Shapes: B rows, F numbers, G categorical columns, T = F + G tokens, D width.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from dermis.registry import unknown
from dermis.towers import Features
from dermis.towers.column_embeddings import (
    ColumnEmbeddings,
    LinearNumbers,
    NumberEmbedding,
    PeriodicNumbers,
    TraceNumbers,
)

READS = ("mean", "cls")
NUMBERS: dict[str, NumberEmbedding] = {"linear": LinearNumbers, "periodic": PeriodicNumbers}


class Blocks(nn.Module):
    """A learnt CLS token before the columns', and Transformer layers (GELU, MLP of 4 D) over all of them.

    Raises ValueError if ``heads`` does not divide ``width``.
    """

    def __init__(self, width: int, layers: int, heads: int, dropout: float, norm_first: bool) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads must divide width; {heads} does not divide {width}.")
        self.cls_D = nn.Parameter(torch.randn(width) * width**-0.5)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=norm_first
        )
        # layers that normalise after themselves need no norm at the end
        norm = nn.LayerNorm(width) if norm_first else None
        self.encoder = nn.TransformerEncoder(layer, layers, norm=norm, enable_nested_tensor=False)

    def forward(self, tokens_BTD: Tensor, absent_BT: Tensor) -> Tensor:
        """(B, 1 + T, D), CLS first. Nothing attends to an absent token; what stands in its place is undefined."""
        cls_B1D = self.cls_D.expand(len(tokens_BTD), 1, -1)
        ignored = torch.nn.functional.pad(absent_BT, (1, 0))  # CLS is always there, so no row is without a token
        return self.encoder(torch.cat([cls_B1D, tokens_BTD], dim=1), src_key_padding_mask=ignored)


class TableTower(nn.Module):
    """``read``: what the row's vector is, the ``mean`` of its present tokens or ``cls``. ``dim``: the width.

    A row without a present token is CLS in either case: a learnt vector. Raises ValueError for another ``read``.
    """

    def __init__(self, embeddings: ColumnEmbeddings, blocks: Blocks, read: str) -> None:
        super().__init__()
        if read not in READS:
            raise unknown("way to read a table tower", read, READS)
        self.embeddings, self.blocks, self.read, self.dim = embeddings, blocks, read, len(blocks.cls_D)

    def features(self, num_BF: Tensor, cat_BG: Tensor, missing_BF: Tensor) -> Features:
        """Standardised numbers, categories as 1 + their place (0 = missing) and which numbers are missing.

        ``patch_BPD`` holds the T columns' tokens, 0 where absent. What stands in ``num_BF`` at a missing place has no
        effect.
        """
        tokens_BTD, absent_BT = self.embeddings(num_BF, cat_BG, missing_BF)
        cls_BD, mixed_BTD = self.blocks(tokens_BTD, absent_BT).tensor_split((1,), dim=1)
        cls_BD, mixed_BTD = cls_BD[:, 0], mixed_BTD.masked_fill(absent_BT[..., None], 0)
        if self.read == "cls":
            return Features(cls_BD, mixed_BTD)
        present_B1 = (~absent_BT).sum(1, keepdim=True)
        mean_BD = mixed_BTD.sum(1) / present_B1.clamp(min=1)
        return Features(torch.where(present_B1 > 0, mean_BD, cls_BD), mixed_BTD)


def trace(
    number_tokens: int,
    categories: Sequence[int],
    width: int = 128,
    layers: int = 1,
    heads: int = 2,
    *,
    read: Literal["mean", "cls"] = "mean",
    dropout: float = 0.0,
) -> TableTower:
    """TRACE's encoder, by SLIMP's authors: numbers through one MLP, missing columns absent, layers with norms after.

    TRACE itself takes every standardised 0 for missing; here only what is missing is.
    """
    embeddings = ColumnEmbeddings(TraceNumbers, number_tokens, categories, width)
    return TableTower(embeddings, Blocks(width, layers, heads, dropout, norm_first=False), read)


def ft(
    number_tokens: int,
    categories: Sequence[int],
    width: int = 128,
    layers: int = 1,
    heads: int = 2,
    *,
    numbers: Literal["linear", "periodic"] = "linear",
    read: Literal["mean", "cls"] = "cls",
    dropout: float = 0.0,
) -> TableTower:
    """FT-Transformer: each number by itself, a learnt vector for what is missing, layers with norms before.

    Raises ValueError for unknown ``numbers``.
    """
    if numbers not in NUMBERS:
        raise unknown("embedding of numbers", numbers, NUMBERS)
    embeddings = ColumnEmbeddings(NUMBERS[numbers], number_tokens, categories, width)
    return TableTower(embeddings, Blocks(width, layers, heads, dropout, norm_first=True), read)


TABLE_TOWERS: dict[str, Callable[..., TableTower]] = {"trace": trace, "ft": ft}


def build_table_tower(
    name: str,
    number_tokens: int,
    categories: Sequence[int],
    *,
    width: int = 128,
    layers: int = 1,
    heads: int = 2,
    numbers: str | None = None,
    read: str | None = None,
    dropout: float = 0.0,
) -> TableTower:
    """A tower for ``number_tokens`` numbers and categorical columns of ``categories`` values each.

    ``numbers`` (``ft`` only) and ``read``: None is the tower's own default. Raises ValueError for an unknown tower and
    for settings that it does not have or cannot use.
    """
    if name not in TABLE_TOWERS:
        raise unknown("table tower", name, TABLE_TOWERS)
    if name == "trace" and numbers is not None:
        raise ValueError("`numbers` is a setting of the table tower ft; trace has one way to embed numbers.")
    given = {key: value for key, value in {"numbers": numbers, "read": read}.items() if value is not None}
    return TABLE_TOWERS[name](number_tokens, categories, width, layers, heads, dropout=dropout, **given)
