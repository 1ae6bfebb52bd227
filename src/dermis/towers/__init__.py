"""Encoders that own their transform or tokenizer, built on timm and open_clip. Importing this package loads neither.

A tower is an ``nn.Module`` with ``dim`` and ``features(...) -> Features``; docs/design.md, "Towers". Shapes: B pictures
(or S distinct texts), P patches, D width of the tower, E width of the common space.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from dermis import torchvision_operators  # noqa: F401 (before anything here imports timm or open_clip)


class Features(NamedTuple):
    """What a tower says before any projection: one vector a sample, and one a patch where it has patches."""

    pooled_BD: Tensor  # noqa: N815 (shapes are in the names)
    patch_BPD: Tensor | None = None  # noqa: N815
    """row by row from the top left; None for towers without patches"""
    grid: tuple[int, int] | None = None
    """rows and columns of patches, rows x columns = P"""

    def with_patches(self) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """All three, of a tower whose patches are as wide as its pooled vector; ValueError for another."""
        if self.patch_BPD is None or self.grid is None or self.patch_BPD.shape[-1] != self.pooled_BD.shape[-1]:
            raise ValueError("this image tower has no patches as wide as its pooled vector; pool by 'token' or 'avg'.")
        return self.pooled_BD, self.patch_BPD, self.grid


@dataclass(frozen=True)
class Transform:
    """What an image tower wants to see: RGB scaled to [0, 1], (x - mean) / std, at ``size``."""

    size: tuple[int, int]
    """height and width in pixels"""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    """how the tower's weights saw pictures resized: bicubic, bilinear or nearest"""
    crop_ratio: float = 1.0
    """side of the central crop over the shorter side of the picture, in evaluation"""
    resize_mode: str = "shortest"
    """evaluation: shortest (keep the aspect, crop the centre) or squash (resize both sides)"""
