"""The built-in text tower: CLIP's causal transformer and byte-pair vocabulary, at any width, without padding.

Learning Transferable Visual Models From Natural Language Supervision (Radford et al., ICML 2021), Section 2.4, in the
architecture and vocabulary that open_clip ships. Texts are packed several to a row under a block-diagonal causal mask;
since a causal text sees neither its neighbours nor what follows, and is read at its end token, this equals the padded
computation (tests/towers/test_text.py).
"""

from dataclasses import dataclass
from functools import cache

import torch
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from dermis.towers import Features
from dermis.towers.ragged import pack, padded, places

WORDS = 50_000


@cache
def _byte_pairs() -> SimpleTokenizer:
    return SimpleTokenizer()


def forget_words(pairs: SimpleTokenizer) -> None:
    """It remembers how it cut each word, and would grow for ever in a service: past 50,000 words it begins anew."""
    if len(pairs.cache) > WORDS:
        pairs.cache = {token: token for token in (pairs.decoder[i] for i in pairs.all_special_ids)}


@dataclass(frozen=True)
class BytePairTokenizer:
    """CLIP's tokenizer: texts -> ids with start and end token, truncated so that the end token stays."""

    context_length: int = 77
    """tokens at most, start and end included"""

    def __call__(self, texts: list[str]) -> list[list[int]]:
        pairs = _byte_pairs()
        forget_words(pairs)
        kept = self.context_length - 2
        return [[pairs.sot_token_id, *pairs.encode(text)[:kept], pairs.eot_token_id] for text in texts]

    def begins_word(self, tokens: list[int]) -> list[bool]:
        """Does each token begin a word, or go on with the one before? Start and end token are words of their own."""
        pairs = _byte_pairs()
        special = {pairs.sot_token_id, pairs.eot_token_id}
        ended = [token in special or pairs.decoder[token].endswith("</w>") for token in tokens]
        return [token in special or before for token, before in zip(tokens, [True, *ended], strict=False)]

    def text(self, tokens: list[int]) -> str:
        """What these ids say, without start and end token."""
        return _byte_pairs().decode(tokens).strip()


class TextTower(nn.Module):
    """A causal open_clip ``TextTransformer`` that is read at the last token, without its projection."""

    def __init__(self, encoder: TextTransformer, tokenizer: BytePairTokenizer) -> None:
        super().__init__()
        assert encoder.attn_mask is not None, "packing is exact for causal transformers only"
        assert encoder.cls_emb is None, "packing needs the end token as summary"
        assert encoder.text_projection is None, "the projection is the two-tower model's"
        self.encoder, self.tokenizer, self.dim = encoder, tokenizer, encoder.width

    def features(self, tokens: Tensor, offsets_S1: Tensor) -> Features:
        """Flat token ids of S texts and their S + 1 bounds -> pooled (S, D)."""
        return Features(self.states_and_pooled(tokens, offsets_S1)[1])

    def states_and_pooled(self, tokens: Tensor, offsets_S1: Tensor) -> tuple[Tensor, Tensor]:
        """The transformer's state of each token (N, D), before its last norm, and pooled (S, D), after it."""
        state_ND = self.token_states(tokens, offsets_S1)
        return state_ND, self.encoder.ln_final(state_ND[offsets_S1[1:] - 1])

    def token_states(self, tokens: Tensor, offsets_S1: Tensor) -> Tensor:
        """Flat token ids (N,) of S texts and their S + 1 bounds -> the transformer's states (N, D), before its norm."""
        lengths = offsets_S1.diff().tolist()
        if not lengths:
            return self.encoder.ln_final.weight.new_zeros(0, self.dim)
        width = min(self.encoder.context_length, len(tokens))
        packing = pack(lengths, width)
        first_S = (packing.row_S * width + packing.start_S).to(tokens.device)
        text_N, place_N = places(offsets_S1, len(tokens))
        where_N = first_S[text_N] + place_N

        x_ND = self.encoder.token_embedding(tokens) + self.encoder.positional_embedding[place_N]
        x_RLD = x_ND.new_zeros(packing.rows * width, self.dim).index_copy(0, where_N, x_ND)
        # what is left of a row counts as one more text, so that no row of the mask is empty
        text_RL = text_N.new_full((packing.rows * width,), -1)
        text_RL = text_RL.index_copy(0, where_N, text_N).reshape(packing.rows, width)
        x_RLD = self.encoder.transformer(
            x_RLD.reshape(packing.rows, width, self.dim), attn_mask=self._mask(text_RL, x_ND.dtype)
        )
        return x_RLD.reshape(-1, self.dim)[where_N]

    def _mask(self, text_RL: Tensor, dtype: torch.dtype) -> Tensor:
        """Additive mask (rows x heads, L, L): a token sees its own text, up to itself."""
        width = text_RL.shape[1]
        seen = (text_RL[:, :, None] == text_RL[:, None, :]) & torch.ones(
            width, width, dtype=torch.bool, device=text_RL.device
        ).tril()
        mask = torch.zeros(seen.shape, dtype=dtype, device=text_RL.device).masked_fill_(~seen, -torch.inf)
        return mask.repeat_interleave(self.encoder.heads, dim=0)


class PaddedTextTower(nn.Module):
    """An open_clip text encoder that reads its padding (SigLIP), appends a token (CoCa) or is not a causal one.

    Texts are padded to ``context_length``, or to the longest of the batch where that is None and padding has no effect.
    """

    def __init__(
        self, encoder: nn.Module, tokenizer: object, dim: int, pad_id: int, context_length: int | None
    ) -> None:
        super().__init__()
        self.encoder, self.tokenizer, self.dim = encoder, tokenizer, dim
        self.pad_id, self.context_length = pad_id, context_length

    def features(self, tokens: Tensor, offsets_S1: Tensor) -> Features:
        """Flat token ids of S texts and their S + 1 bounds -> pooled (S, D)."""
        if len(offsets_S1) == 1:
            return Features(next(self.encoder.parameters()).new_zeros(0, self.dim))
        length = self.context_length or int(offsets_S1.diff().max())
        texts_SL, _ = padded(tokens, offsets_S1, length, self.pad_id)
        return Features(self.encoder(texts_SL))


def small_text_tower(width: int = 256, layers: int = 4, heads: int = 4, context_length: int = 77) -> TextTower:
    """A text tower with random weights; raises ValueError if ``heads`` does not divide ``width``, or without room."""
    if context_length < 3:
        raise ValueError(f"context_length must leave room for start, a token and end; it is {context_length}.")
    if width % heads:
        raise ValueError(f"heads must divide width; {heads} does not divide {width}.")
    encoder = TextTransformer(
        context_length=context_length,
        vocab_size=_byte_pairs().vocab_size,
        width=width,
        layers=layers,
        heads=heads,
        proj_type="none",
    )
    return TextTower(encoder, BytePairTokenizer(context_length))
