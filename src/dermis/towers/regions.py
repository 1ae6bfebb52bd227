"""A tower's vectors of places in the picture, finer than its last map where it has one: what words look for in GLoRIA.

A vision transformer's regions are its patches. A convolutional network's are the cells of its last feature map but one
(layer3 of a ResNet), which has four times as many cells as the last.

Shapes: B pictures, H x W regions of width R, D width of the pooled vector.
"""

from typing import Any

import torch
from torch import Tensor

from dermis.towers.image import ImageTower


def region_dim(tower: Any) -> int:
    """R, the width of the tower's regions."""
    return tower.trunk.feature_info[-2]["num_chs"] if _has_maps(tower) else tower.dim


def pooled_and_regions(tower: Any, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """The pooled vector (B, D) and the regions (B, R, H, W), in one pass.

    Raises ValueError for a tower without patches as wide as its pooled vector.
    """
    if _has_maps(tower):
        trunk = tower.trunk
        last, maps = trunk.forward_intermediates(image_BCHW.contiguous(memory_format=torch.channels_last), indices=2)
        return trunk.forward_head(last, pre_logits=True), maps[0]
    pooled_BD, patch_BPD, grid = tower.features(image_BCHW).with_patches()
    return pooled_BD, patch_BPD.transpose(1, 2).unflatten(2, grid)


def _has_maps(tower: Any) -> bool:
    return isinstance(tower, ImageTower) and tower.is_grid
