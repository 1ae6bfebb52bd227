"""A BERT that says a text while looking at a memory: M2CG's chief complaint generator.

M2CG, Section II.F: layers of masked self-attention, cross-attention to the fused patches and tokens (Eq. 8) and a
feed-forward, as in Attention Is All You Need (Section 3.1), with BERT's embeddings and head; the head's matrix is the
token embeddings'. It starts from a BERT's weights, as mPLUG's and BLIP's decoders do.

Shapes: B cases, R rows of tokens (R is B, or a multiple of it, case by case), L tokens, M places of the memory,
V vocabulary.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermis.towers.bert_layers import EPSILON, Attention, FeedForward, KeysValues, start_like_bert
from dermis.towers.bert_weights import bert_name, bert_tensors, only_in_some


class Cache:
    """What a generator remembers of texts under way: the memory's keys and values, and those of the tokens so far."""

    def __init__(self, memory: list[KeysValues], mask_BM: Tensor | None) -> None:
        self.memory, self.mask_BM = memory, mask_BM
        self.own: list[KeysValues] = []
        self.length = 0

    def choose(self, row_R: Tensor) -> None:
        """Go on with the rows ``row_R`` only; those of a case must stay side by side, equally many for each case."""
        self.own = [seen.rows(row_R) for seen in self.own]


class GeneratorLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward, normalised after the residual."""

    def __init__(self, width: int, heads: int, feedforward: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.own, self.cross = Attention(width, heads, dropout), Attention(width, heads, dropout)
        self.feed = FeedForward(width, feedforward, activation, dropout)

    def forward(self, x_RLD: Tensor, layer: int, cache: Cache) -> Tensor:
        """Tokens (R, L, D) after those in ``cache``, which remembers them too; L > 1 only in an empty cache."""
        seen, first = self.own.look_at(x_RLD), len(cache.own) == layer
        if first:
            cache.own.append(seen)
        else:
            cache.own[layer] = seen = cache.own[layer].then(seen)
        x_RLD = self.own(x_RLD, seen, causal=first)
        # several rows of one case ask the same memory: as more queries, so that the memory is never copied
        cases = len(cache.memory[layer].keys_BHMd)
        asked_BQD = self.cross(x_RLD.reshape(cases, -1, x_RLD.shape[2]), cache.memory[layer], cache.mask_BM)
        return self.feed(asked_BQD.reshape(x_RLD.shape))


class Generator(nn.Module):
    """Tokens so far and a memory -> logits of the next token.

    ``max_tokens``: tokens that it can read, ``start`` included. ``pad``, ``start`` and ``end`` are token ids that
    losses and decoding read; the layers need none of them, because nobody sees what stands behind a text's end. Raises
    ValueError if ``heads`` does not divide ``width``, or for an unknown ``activation``.
    """

    stays_whole = True  # its layers look at their memory before they are called (training.fully_sharded)

    def __init__(
        self,
        vocabulary: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        max_tokens: int,
        pad: int,
        start: int,
        end: int,
        dropout: float = 0.0,
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        self.dim, self.max_tokens, self.pad, self.start, self.end = width, max_tokens, pad, start, end
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(max_tokens, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=EPSILON), nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            GeneratorLayer(width, heads, feedforward, activation, dropout) for _ in range(layers)
        )
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=EPSILON))
        self.bias_V = nn.Parameter(torch.zeros(vocabulary))
        self.apply(start_like_bert)

    def forward(self, tokens_BL: Tensor, memory_BMD: Tensor, mask_BM: Tensor | None = None) -> Tensor:
        """Logits (B, L, V) after each token, which sees those before it and the memory where the mask is True.

        Raises ValueError for more than ``max_tokens`` tokens.
        """
        return self.step(tokens_BL, self.look_at(memory_BMD, mask_BM))

    def look_at(self, memory_BMD: Tensor, mask_BM: Tensor | None = None) -> Cache:
        """A cache for texts about this memory, whose keys and values are computed here, once.

        Raises ValueError for a memory of another width than the generator's.
        """
        if memory_BMD.shape[2] != self.dim:
            raise ValueError(f"the memory is {memory_BMD.shape[2]} wide and the generator {self.dim}.")
        return Cache([layer.cross.look_at(memory_BMD) for layer in self.layers], mask_BM)

    def step(self, tokens_RL: Tensor, cache: Cache) -> Tensor:
        """Logits (R, L, V) after each of the tokens that follow those in ``cache``, which remembers them too.

        Raises ValueError for more than ``max_tokens`` tokens in all, or for several at once after the first call.
        """
        start, end = cache.length, cache.length + tokens_RL.shape[1]
        if end > self.max_tokens:
            raise ValueError(f"a text of {end} tokens is longer than the generator's {self.max_tokens}.")
        if start and end - start > 1:
            raise ValueError(f"after its first call a generator is given one token at a time, not {end - start}.")
        x_RLD = self.dropout(self.norm(self.token(tokens_RL) + self.position.weight[start:end]))
        for i, layer in enumerate(self.layers):
            x_RLD = layer(x_RLD, i, cache)
        cache.length = end
        return F.linear(self.head(x_RLD), self.token.weight, self.bias_V)

    @torch.no_grad()
    def from_bert(self, state: Mapping[str, Tensor]) -> None:
        """Start from the tensors of a BERT (transformers' names): its embeddings, its first layers, its head if there.

        Cross-attention keeps its random start, N(0, 0.02²), unless the BERT is itself a decoder with one. Positions
        take in the vector of BERT's first segment. Raises ValueError if tensors are missing or of another shape.
        """
        theirs = bert_tensors(state)
        names = {ours: bert_name(ours) for ours, _ in self.named_parameters()}
        names = {ours: name for ours, name in names.items() if name in theirs or not only_in_some(name)}
        missing = [name for name in names.values() if name not in theirs]
        if missing:
            raise ValueError(f"this BERT lacks {len(missing)} tensors of the generator, the first {missing[0]!r}.")
        tensors = {ours: theirs[name] for ours, name in names.items()}
        tensors["position.weight"] = tensors["position.weight"][: self.max_tokens]
        for ours, tensor in tensors.items():
            own = self.get_parameter(ours).shape
            if own != tensor.shape:
                raise ValueError(f"{names[ours]} is {tuple(tensor.shape)} in this BERT, {tuple(own)} in the generator.")
        for ours, tensor in tensors.items():
            self.get_parameter(ours).copy_(tensor)
