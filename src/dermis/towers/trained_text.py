"""A small bidirectional text tower on a tokenizer trained from one's own texts: for people without BERT's weights.

BERT (Devlin et al., NAACL 2019), Section 3: token and learned position embeddings, post-norm layers, exact GELU, here
without dropout and without segment embeddings (one segment: the positions hold them). Texts are grouped by length, so
that a group pads to its own longest text only; the embeddings are read once for all groups.

Shapes: S texts, N tokens of all of them, D width; b texts and L tokens of a group.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from dermis.towers import Features
from dermis.towers.bert_layers import EPSILON
from dermis.towers.ragged import by_length, places
from dermis.towers.trained_tokenizer import TrainedTokenizer


class TrainedTextTower(nn.Module):
    """BERT's encoder at any size, with random weights, read by the mean over its tokens ([CLS] and [SEP] included)."""

    stays_whole = True  # over texts of like length, which ranks have not equally many of

    def __init__(self, tokenizer: TrainedTokenizer, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.tokenizer, self.dim = tokenizer, width
        self.token_embedding = nn.Embedding(len(tokenizer), width)
        self.position_embedding = nn.Embedding(tokenizer.context_length, width)
        self.norm = nn.LayerNorm(width, EPSILON)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", EPSILON, batch_first=True)
            for _ in range(layers)
        )
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def features(self, tokens: Tensor, offsets_S1: Tensor) -> Features:
        """Flat token ids of S texts and their S + 1 bounds -> pooled (S, D)."""
        return Features(self.states_and_pooled(tokens, offsets_S1)[1])

    def states_and_pooled(self, tokens: Tensor, offsets_S1: Tensor) -> tuple[Tensor, Tensor]:
        """The state of each token (N, D) and pooled (S, D), in one pass."""
        state_ND = self.token_states(tokens, offsets_S1)
        text_N, _ = places(offsets_S1, len(tokens))
        sum_SD = state_ND.new_zeros(len(offsets_S1) - 1, self.dim).index_add(0, text_N, state_ND)
        return state_ND, sum_SD / offsets_S1.diff()[:, None]

    def token_states(self, tokens: Tensor, offsets_S1: Tensor) -> Tensor:
        """Flat token ids (N,) of S texts and their S + 1 bounds -> the last layer's states (N, D), in that order.

        Raises ValueError for a text longer than the tower's context.
        """
        if len(offsets_S1) == 1:
            return self.norm.weight.new_zeros(0, self.dim)
        length, longest = int(offsets_S1.diff().max()), self.position_embedding.num_embeddings
        if length > longest:
            raise ValueError(
                f"a text of {length} tokens is longer than the tower's {longest}; its tokenizer truncates."
            )
        _, place_N = places(offsets_S1, len(tokens))
        x_ND = self.norm(self.token_embedding(tokens) + self.position_embedding(place_N))
        where, states = [], []
        for _, own_n, x_bLD, real_bL in by_length(x_ND, offsets_S1):
            for layer in self.layers:
                x_bLD = layer(x_bLD, src_key_padding_mask=~real_bL)
            where.append(own_n)
            states.append(x_bLD[real_bL])
        state_ND = torch.cat(states).to(x_ND.dtype)  # which half precision without gradients leaves otherwise
        return torch.empty_like(state_ND).index_copy(0, torch.cat(where), state_ND)

    def write(self, folder: Path) -> None:
        """The tokenizer as ``tokenizer.json``, which ``trained_text_tower`` takes."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(self.tokenizer.json, encoding="utf-8")


def trained_text_tower(
    tokenizer_json: str, width: int = 256, layers: int = 4, heads: int = 4, context_length: int = 512
) -> TrainedTextTower:
    """A tower with random weights for a tokenizer of ``train_tokenizer``.

    ``context_length``: tokens at most, [CLS] and [SEP] included. Raises ValueError if ``heads`` does not divide
    ``width``, if there is no room for a token, or as ``TrainedTokenizer`` does.
    """
    if width % heads:
        raise ValueError(f"heads must divide width; {heads} does not divide {width}.")
    if context_length < 3:
        raise ValueError(f"context_length must leave room for [CLS], a token and [SEP]; it is {context_length}.")
    return TrainedTextTower(TrainedTokenizer(tokenizer_json, context_length), width, layers, heads)
