"""A decoder that says a text while looking at a picture: CoCa's multimodal half, of open_clip's own blocks.

CoCa: Contrastive Captioners are Image-Text Foundation Models (Yu et al., TMLR 2022), Section 3.2. The text tower's
states of the tokens so far attend to each other, then to queries that were pooled from the picture's patches.
"""

import torch
from open_clip.transformer import AttentionalPooler, MultimodalTransformer
from torch import Tensor, nn

from dermis.towers.ragged import padded


class CaptionDecoder(nn.Module):
    """From ``image_dim`` wide patches and ``text_dim`` wide token states to logits over ``vocabulary`` tokens."""

    def __init__(
        self, image_dim: int, text_dim: int, vocabulary: int, layers: int, heads: int, queries: int, context_length: int
    ) -> None:
        """Raises ValueError if ``heads`` does not divide ``text_dim``."""
        super().__init__()
        if text_dim % heads:
            raise ValueError(f"decoder heads must divide the text tower's width; {heads} does not divide {text_dim}.")
        self.pooler = AttentionalPooler(text_dim, image_dim, n_head=heads, n_queries=queries)
        self.blocks = MultimodalTransformer(text_dim, layers, heads, context_length, output_dim=text_dim)
        self.blocks.text_projection = None
        self.vocabulary = nn.Linear(text_dim, vocabulary, bias=False)
        nn.init.normal_(self.vocabulary.weight, std=text_dim**-0.5)

    def forward(self, patch_BPD: Tensor, state_ND: Tensor, offsets_B1: Tensor) -> Tensor:
        """Logits (N, V) after each of the flat token states; text b of ``offsets_B1`` is about the picture b."""
        lengths = offsets_B1.diff()
        state_BLD, real_BL = padded(state_ND, offsets_B1, int(lengths.max()))
        # what stands behind a text's end is seen by nobody: the blocks are causal
        return self.vocabulary(self.blocks(self.pooler(patch_BPD), state_BLD)[real_BL])


@torch.no_grad()
def greedy(
    decoder: CaptionDecoder, text: nn.Module, patch_BPD: Tensor, start: int, end: int, max_tokens: int
) -> list[list[int]]:
    """The likeliest next token, again and again: token ids without ``start``, up to ``end`` (left out), per picture."""
    said = [[start] for _ in patch_BPD]
    for _ in range(max_tokens):
        open_ = [i for i, tokens in enumerate(said) if tokens[-1] != end]
        if not open_:
            break
        lengths = torch.tensor([len(said[i]) for i in open_], device=patch_BPD.device)
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        tokens = torch.tensor([t for i in open_ for t in said[i]], device=patch_BPD.device)
        logits_NV = decoder(patch_BPD[open_], text.token_states(tokens, offsets), offsets)
        for i, token in zip(open_, logits_NV[offsets[1:] - 1].argmax(1).tolist(), strict=True):
            said[i].append(token)
    return [[t for t in tokens[1:] if t != end] for tokens in said]
