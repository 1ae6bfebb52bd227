"""A picture's tokens and a text's in two streams, each of which looks at itself and at the other: M3AE's fusion.

Chen et al., MICCAI 2022 (arXiv 2209.07098), after METER's co-attention (Dou et al., CVPR 2022). A layer of a stream is
BERT's with a cross-attention between its sublayers; both streams look at what the other was before the layer.

Shapes: B cases, P tokens of a picture, L of the longest text, N of all texts, W width.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dermis.towers.bert_layers import Attention, FeedForward, start_like_bert
from dermis.towers.ragged import padded


class Streams(NamedTuple):
    """Pictures and texts that have looked at each other; the mask is True where a token of a text is real."""

    image_BPW: Tensor  # noqa: N815 (shapes are in the names)
    text_BLW: Tensor  # noqa: N815
    real_BL: Tensor  # noqa: N815


class CoAttentionLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward of one stream, each normalised after its residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.own, self.cross = Attention(width, heads, dropout), Attention(width, heads, dropout)
        self.feed = FeedForward(width, 4 * width, "gelu", dropout)

    def forward(self, x_BLW: Tensor, mask_BL: Tensor | None, other_BMW: Tensor, mask_BM: Tensor | None) -> Tensor:
        """(B, L, W) after a look at itself and at the other stream, where the masks are True (None: everywhere)."""
        x_BLW = self.own(x_BLW, self.own.look_at(x_BLW), mask_BL)
        return self.feed(self.cross(x_BLW, self.cross.look_at(other_BMW), mask_BM))


class CoAttention(nn.Module):
    """Tokens ``image_dim`` and ``text_dim`` wide -> two streams of ``width``, through ``layers`` layers each.

    Raises ValueError if ``heads`` does not divide ``width``.
    """

    def __init__(self, image_dim: int, text_dim: int, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.from_image, self.from_text = nn.Linear(image_dim, width), nn.Linear(text_dim, width)
        self.modality = nn.Embedding(2, width)
        self.image_layers, self.text_layers = (
            nn.ModuleList(CoAttentionLayer(width, heads, dropout) for _ in range(layers)) for _ in range(2)
        )
        self.apply(start_like_bert)

    def forward(self, image_BPD: Tensor, state_ND: Tensor, offsets_B1: Tensor, layers: int | None = None) -> Streams:
        """Pictures' tokens and flat token states of B texts, through the first ``layers`` layers (None: all)."""
        image_BPW = self.from_image(image_BPD) + self.modality.weight[0]
        told_NW = self.from_text(state_ND) + self.modality.weight[1]
        text_BLW, real_BL = padded(told_NW, offsets_B1, int(offsets_B1.diff().max()))
        for of_image, of_text in list(zip(self.image_layers, self.text_layers, strict=True))[:layers]:
            image_BPW, text_BLW = (
                of_image(image_BPW, None, text_BLW, real_BL),
                of_text(text_BLW, real_BL, image_BPW, None),
            )
        return Streams(image_BPW, text_BLW, real_BL)


class MatchingHead(nn.Module):
    """Do picture and text belong together? Says it from the first token of each stream."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_image, self.of_text = (nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(2))
        self.logit = nn.Linear(2 * width, 1)
        self.apply(start_like_bert)

    def forward(self, streams: Streams) -> Tensor:
        """Logits (B,)."""
        first = (self.of_image(streams.image_BPW[:, 0]), self.of_text(streams.text_BLW[:, 0]))
        return self.logit(torch.cat(first, dim=1)).squeeze(1)
