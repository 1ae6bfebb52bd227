"""MAE's decoder: from the tokens of some patches to the pixels of all.

He et al., CVPR 2022 (arXiv 2111.06377), Section 3: a mask token stands in each place that was hidden, every place gets
its position, and a small transformer of timm's blocks says the pixels.
"""

import torch
from timm.layers import LayerNorm
from timm.models.vision_transformer import Block
from torch import Tensor, nn


def sine_cosine(rows: int, columns: int, width: int, device: torch.device | None = None) -> Tensor:
    """Positions of a grid of patches, row by row (rows x columns, width), without parameters.

    With F = width / 4 and ω_f = 10000^(-f/F), the patch in row r and column c has
    [sin(c ω), cos(c ω), sin(r ω), cos(r ω)]; columns come first, as in MAE's release and published weights.
    """
    omega_F = 10000 ** (-torch.arange(width // 4, device=device) * 4 / width)
    row, column = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
    angles = [place.flatten()[:, None] * omega_F for place in (column, row)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)


class PixelDecoder(nn.Module):
    """From ``dim`` wide tokens to ``values`` numbers a patch, through ``layers`` blocks that are ``width`` wide."""

    def __init__(self, dim: int, values: int, width: int, layers: int, heads: int) -> None:
        """Raises ValueError if 4 (sine and cosine of two places) or ``heads`` does not divide ``width``."""
        super().__init__()
        for divisor, whose in ((4, "sines and cosines of row and column"), (heads, "heads")):
            if width % divisor:
                raise ValueError(f"the decoder's width is shared by {divisor} {whose}; {width} is no multiple of it.")
        self.embed = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.Sequential(*[Block(width, heads, qkv_bias=True, norm_layer=LayerNorm) for _ in range(layers)])
        self.norm = LayerNorm(width)
        self.pixels = nn.Linear(width, values)
        nn.init.normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, visible_BK: Tensor, grid: tuple[int, int]) -> Tensor:
        """Pixels (B, P, values) of all patches of a ``grid`` of rows and columns.

        ``tokens`` (B, R + K, dim): R prefix tokens, which have no position, then those of the patches ``visible_BK``.
        """
        B, K = visible_BK.shape
        rows, columns = grid
        prefix, seen_BKW = self.embed(tokens).tensor_split([tokens.shape[1] - K], dim=1)
        width = seen_BKW.shape[2]
        hidden_BPW = self.mask_token.to(seen_BKW.dtype).expand(B, rows * columns, width)
        patch_BPW = hidden_BPW.scatter(1, visible_BK[:, :, None].expand(-1, -1, width), seen_BKW)
        patch_BPW = patch_BPW + sine_cosine(rows, columns, width, tokens.device).to(patch_BPW.dtype)
        decoded = self.norm(self.blocks(torch.cat([prefix, patch_BPW], dim=1)))
        return self.pixels(decoded[:, prefix.shape[1] :])
