"""What says a text about a picture and another text: a fusion encoder, and a generator that looks at what it fused.

M2CG, Sections II.E and II.F. The generator speaks the vocabulary of the model's text tower, whose tokenizer it uses.

Shapes: B cases, P patches, N tokens of the B texts told about the pictures, D_v and D_t widths of the towers.
"""

from typing import Any

import torch
from torch import Tensor, nn

from dermis.towers.fusion_encoder import FusionEncoder, Memory
from dermis.towers.generator import Generator


class FusedGenerator(nn.Module):
    """``fusion`` (patches and tokens -> memory) and ``generator`` (memory -> text), both as wide as the text tower.

    ``fusion_layers=0``: the generator looks at patches and tokens side by side, unfused (M2CG's row without MMF).
    ``text_visible=False``: it sees the picture only. ``settings``: what it was built with, plain, to be saved. Raises
    ValueError if ``heads`` does not divide the width.
    """

    def __init__(
        self,
        image_dim: int,
        text_dim: int,
        grid: tuple[int, int],
        vocabulary: int,
        special: tuple[int, int, int],
        *,
        fusion_layers: int,
        decoder_layers: int,
        heads: int,
        max_tokens: int,
        text_visible: bool = True,
        dropout: float = 0.1,
        activation: str = "relu",
    ) -> None:
        """``special``: ids of padding, start and end. ``activation``: the generator's; fusion has ReLU (the paper)."""
        super().__init__()
        self.settings: dict[str, Any] = {
            "image_dim": image_dim, "text_dim": text_dim, "grid": list(grid), "vocabulary": vocabulary,
            "special": list(special), "fusion_layers": fusion_layers, "decoder_layers": decoder_layers,
            "heads": heads, "max_tokens": max_tokens, "text_visible": text_visible, "dropout": dropout,
            "activation": activation,
        }  # fmt: skip
        self.text_visible = text_visible
        wide = 4 * text_dim
        self.fusion = FusionEncoder(
            image_dim, text_dim, text_dim, fusion_layers, heads, wide, (grid[0], grid[1]), dropout=dropout
        )
        pad, start, end = special
        self.generator = Generator(
            vocabulary, text_dim, decoder_layers, heads, wide, max_tokens, pad, start, end, dropout, activation
        )

    def look(self, patch_BPD: Tensor, state_ND: Tensor | None = None, offsets_B1: Tensor | None = None) -> Memory:
        """Patches (B, P, D_v) and, if there is a text, its tokens' states (N, D_t) and B + 1 bounds -> the memory."""
        return self.fusion(patch_BPD, state_ND, offsets_B1, text_visible=self.text_visible)


def grid_of(tower: Any) -> tuple[int, int]:
    """Rows and columns of an image tower's patches at its own picture size; ValueError for a tower without."""
    was_training = tower.training
    with torch.no_grad():
        features = tower.eval().features(torch.zeros(1, 3, *tower.transform.size))
    tower.train(was_training)
    return features.with_patches()[2]
