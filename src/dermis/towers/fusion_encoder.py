"""A transformer over a picture's patches and its text's tokens at once: M2CG's multi-modal fusion encoder.

M2CG, Section II.E, Eq. 7: X = Concat(V, U), then layers of self-attention (Eq. 2). The paper gives no way for 2048 wide
patches to stand beside 768 wide tokens; here a linear layer and a layer norm, as in PMC-CLIP. Patches get a learned
position of their row and one of their column, tokens keep those of the text encoder, and each modality gets a learned
vector.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dermis.towers.bert_layers import EPSILON, Attention, FeedForward, start_like_bert
from dermis.towers.ragged import padded


class Memory(NamedTuple):
    """What a generator looks at: patches, then tokens of B cases; the mask is True where one is real and visible."""

    memory_BMD: Tensor  # noqa: N815 (shapes are in the names)
    mask_BM: Tensor  # noqa: N815


class FusionLayer(nn.Module):
    """Self-attention and feed-forward, normalised after the residual."""

    def __init__(self, width: int, heads: int, feedforward: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.own = Attention(width, heads, dropout)
        self.feed = FeedForward(width, feedforward, activation, dropout)

    def forward(self, x_BMD: Tensor, mask_BM: Tensor) -> Tensor:
        return self.feed(self.own(x_BMD, self.own.look_at(x_BMD), mask_BM))


class FusionEncoder(nn.Module):
    """Patches ``image_dim`` wide on a ``grid`` (rows, columns) and tokens ``text_dim`` wide -> one memory of ``width``.

    ``layers=0``: the tokens stand side by side unfused (the paper's row without MMF). Raises ValueError if ``heads``
    does not divide ``width``, or for an unknown ``activation``.
    """

    def __init__(
        self,
        image_dim: int,
        text_dim: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        grid: tuple[int, int],
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.grid, self.dim = grid, width
        self.from_image = nn.Sequential(nn.Linear(image_dim, width), nn.LayerNorm(width, eps=EPSILON))
        self.from_text = nn.Identity() if text_dim == width else nn.Linear(text_dim, width)
        self.row, self.column = nn.Embedding(grid[0], width), nn.Embedding(grid[1], width)
        self.modality = nn.Embedding(2, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(FusionLayer(width, heads, feedforward, activation, dropout) for _ in range(layers))
        self.apply(start_like_bert)

    def forward(
        self,
        patch_BPD: Tensor,
        state_ND: Tensor | None = None,
        offsets_B1: Tensor | None = None,
        *,
        text_visible: bool = True,
    ) -> Memory:
        """Patches (B, P, D_v), row by row, and flat token states (N, D_t) of B texts -> memory (B, P + L, D), its mask.

        L is the longest text's length. Without text: patches only. ``text_visible=False``: the mask hides the text,
        from patches too, because a generator that sees fused patches would read the text through them. Raises
        ValueError if P is not the grid's, or if texts and pictures are not equally many.
        """
        rows, columns = self.grid
        if patch_BPD.shape[1] != rows * columns:
            raise ValueError(f"{patch_BPD.shape[1]} patches do not fill a grid of {rows} x {columns}.")
        place_PD = (self.row.weight[:, None] + self.column.weight).flatten(0, 1)
        x_BMD = self.from_image(patch_BPD) + place_PD + self.modality.weight[0]
        mask_BM = torch.ones(x_BMD.shape[:2], dtype=torch.bool, device=x_BMD.device)
        if state_ND is not None:
            if offsets_B1 is None or len(offsets_B1) != len(patch_BPD) + 1:
                raise ValueError("each picture needs one text, possibly empty: B + 1 offsets for B pictures.")
            told_ND = self.from_text(state_ND) + self.modality.weight[1]
            told_BLD, real_BL = padded(told_ND, offsets_B1, int(offsets_B1.diff().max()))
            x_BMD = torch.cat([x_BMD, told_BLD.to(x_BMD.dtype)], dim=1)
            mask_BM = torch.cat([mask_BM, real_BL & text_visible], dim=1)
        x_BMD = self.dropout(x_BMD)
        for layer in self.layers:
            x_BMD = layer(x_BMD, mask_BM)
        return Memory(x_BMD, mask_BM)
