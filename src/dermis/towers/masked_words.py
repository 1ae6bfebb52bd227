"""Words of texts are hidden, for a model to say: BERT's masked language model, by whole words.

Devlin et al., NAACL 2019, Section 3.1; whole words as in the later release of its authors. Texts are ragged: N tokens
of S texts, W words of them, V entries of the vocabulary.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermis.towers.bert_layers import EPSILON, start_like_bert
from dermis.towers.ragged import places

MASKED, OTHER = 0.8, 0.1
"""of the tokens to be said, the shares that the mask and a random token stand for; the rest stay as they are"""


class MaskedWords(nn.Module):
    """Hides a share of each text's words, drawn anew each time.

    ``tokenizer``: one with ``mask``, ``start``, ``end``, ``pad`` and ``begins_word`` (the trained text tower's and
    BERT's). ``words="pieces"``: each piece is a word. Raises ValueError where the tokenizer has no mask or does not
    know words.
    """

    begins_V: Tensor  # noqa: N815 (shapes are in the names)
    sayable_V: Tensor  # noqa: N815

    def __init__(self, tokenizer: Any, share: float, words: Literal["words", "pieces"] = "words") -> None:
        super().__init__()
        self.share, self.mask = share, tokenizer.mask
        vocabulary = range(len(tokenizer))
        begins = tokenizer.begins_word(list(vocabulary)) if words == "words" else [True for _ in vocabulary]
        special = {tokenizer.mask, tokenizer.start, tokenizer.end, tokenizer.pad}
        # they are the vocabulary's, not learnt: no checkpoint needs them
        self.register_buffer("begins_V", torch.tensor(begins), persistent=False)
        self.register_buffer("sayable_V", torch.tensor([t not in special for t in vocabulary]), persistent=False)

    def forward(self, tokens: Tensor, offsets_S1: Tensor) -> tuple[Tensor, Tensor]:
        """Flat token ids (N,) and the texts' S + 1 bounds -> the ids to read and which are to be said, (N,) each."""
        text_N, _ = places(offsets_S1, len(tokens))
        sayable_N = self.sayable_V[tokens]
        starts_N = sayable_N & self.begins_V[tokens]  # what follows a special token begins a word
        if not starts_N.any():  # empty texts
            return tokens, torch.zeros_like(sayable_N)
        chosen_W = draw_of_each(text_N[starts_N], len(offsets_S1) - 1, self.share)
        hidden_N = sayable_N & chosen_W[(starts_N.cumsum(0) - 1).clamp_min(0)]
        return self.stand_in(tokens, hidden_N), hidden_N

    def stand_in(self, tokens: Tensor, hidden_N: Tensor) -> Tensor:
        """The ids to read: of those to be said 8 in 10 are the mask and 1 in 10 any token at all."""
        draw_N = torch.rand(len(tokens), device=tokens.device)
        other_N = torch.randint(len(self.sayable_V), tokens.shape, device=tokens.device)
        stand_in_N = torch.where(draw_N < MASKED + OTHER, other_N, tokens)
        stand_in_N = torch.where(draw_N < MASKED, self.mask, stand_in_N)
        return torch.where(hidden_N, stand_in_N, tokens)


def draw_of_each(group_W: Tensor, groups: int, share: float) -> Tensor:
    """Which of W members are drawn: of each group round(``share`` · members), but one at least.

    ``group_W`` ascends. All sets of a group's members are equally likely.
    """
    members_S = group_W.bincount(minlength=groups)
    wanted_S = (share * members_S).round().clamp_min(1)
    shuffled_W = torch.rand(len(group_W), device=group_W.device).argsort()
    order_W = shuffled_W[group_W[shuffled_W].argsort(stable=True)]  # group after group, shuffled within
    place_W = torch.arange(len(group_W), device=group_W.device) - (members_S.cumsum(0) - members_S)[group_W]
    return torch.zeros_like(group_W, dtype=torch.bool).index_put((order_W,), place_W < wanted_S[group_W])


class WordHead(nn.Module):
    """Which token is hidden here? BERT's head: a layer, then a product with the vector of each."""

    def __init__(self, width: int, vocabulary: int, dim: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(width, dim), nn.GELU(), nn.LayerNorm(dim, eps=EPSILON))
        self.bias_V = nn.Parameter(torch.zeros(vocabulary))
        self.apply(start_like_bert)

    def forward(self, state_HW: Tensor, vectors_VD: Tensor) -> Tensor:
        """States of hidden tokens and the vectors of all tokens -> logits (H, V)."""
        return F.linear(self.layer(state_HW), vectors_VD, self.bias_V)
