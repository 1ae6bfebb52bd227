"""A decoder that says a text while looking at a picture: CoCa's multimodal half, of open_clip's own blocks.

CoCa: Contrastive Captioners are Image-Text Foundation Models (Yu et al., TMLR 2022), Section 3.2. The text tower's
states of the tokens so far attend to each other, then to queries that were pooled from the picture's patches.
"""

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
