"""BERT's sublayers: attention and feed-forward, each followed by dropout, the residual and a layer norm.

Attention Is All You Need (Vaswani et al., NeurIPS 2017), Sections 3.1-3.3, normalised after the residual as there and
in BERT (Devlin et al., NAACL 2019). Shapes: B rows, L queries, M keys, H heads, d = D / H.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermis.registry import unknown

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}
EPSILON = 1e-12
"""of BERT's layer norms"""


class KeysValues(NamedTuple):
    """What attention looks at, ready for its heads."""

    keys_BHMd: Tensor  # noqa: N815 (shapes are in the names)
    values_BHMd: Tensor  # noqa: N815

    def then(self, more: "KeysValues") -> "KeysValues":
        """These, and ``more`` after them."""
        return KeysValues(*(torch.cat(pair, dim=2) for pair in zip(self, more, strict=True)))

    def rows(self, row_R: Tensor) -> "KeysValues":
        """Those of the rows ``row_R``."""
        return KeysValues(*(x[row_R] for x in self))


class Attention(nn.Module):
    """LayerNorm(x + softmax(q kᵀ / √d) v W); raises ValueError if ``heads`` does not divide ``width``."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads must divide width; {heads} does not divide {width}.")
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width, eps=EPSILON)

    def look_at(self, x_BMD: Tensor) -> KeysValues:
        """Keys and values of what shall be attended to."""
        return KeysValues(self._by_head(self.key(x_BMD)), self._by_head(self.value(x_BMD)))

    def forward(
        self, x_BLD: Tensor, seen: KeysValues, mask_BM: Tensor | None = None, *, causal: bool = False
    ) -> Tensor:
        """(B, L, D) attends to ``seen`` where ``mask_BM`` is True; ``causal``: each place to those up to itself."""
        h_BHLd = F.scaled_dot_product_attention(
            self._by_head(self.query(x_BLD)),
            *seen,
            attn_mask=None if mask_BM is None else mask_BM[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        h_BLD = self.out(h_BHLd.transpose(1, 2).flatten(2))
        return self.norm(x_BLD + F.dropout(h_BLD, self.dropout, self.training))

    def _by_head(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.unflatten(2, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """LayerNorm(x + W₂ a(W₁ x)); raises ValueError for an activation that is not in ``ACTIVATIONS``."""

    def __init__(self, width: int, feedforward: int, activation: str = "gelu", dropout: float = 0.0) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        self.wide, self.narrow = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        self.activation, self.dropout = ACTIVATIONS[activation](), nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self.norm(x_BLD + self.dropout(self.narrow(self.activation(self.wide(x_BLD)))))


def start_like_bert(module: nn.Module) -> None:
    """Linear layers and embeddings from N(0, 0.02²), biases 0: for ``module.apply``."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
