"""Any timm image model as a tower: pooled vector, patch vectors and the transform it wants.

A vision transformer's patches are its patch tokens; a convolutional network's are the cells of its last feature map.
"""

from difflib import get_close_matches
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from dermis.registry import unknown
from dermis.towers import Features, Transform

POOLS = ("token", "avg", "map", "token+avg")
"""class token; mean of patches; the trunk's own attention pooling; class token beside mean of patches (2 x wide)"""


class ImageTower(nn.Module):
    """``trunk``, a timm model without classifier, and how its output is pooled.

    ``pool=None`` takes what the model does by itself (class token of a ViT, mean of a convolutional network). For
    ``token``, ``avg`` and ``map`` the pooled vector is timm's own ``forward_head(..., pre_logits=True)``.
    Raises ValueError for a pooling that the trunk does not have.
    """

    def __init__(self, trunk: nn.Module, transform: Transform, pool: str | None = None) -> None:
        super().__init__()
        self.is_grid = trunk.pretrained_cfg.get("pool_size") is not None  # (B, C, H, W) or (B, H, W, C), no tokens
        pool = pool or getattr(trunk, "global_pool", "avg") or "avg"
        pool = pool if isinstance(pool, str) else "avg"
        if pool not in POOLS:
            raise unknown("pool", pool, POOLS)
        name = type(trunk).__name__
        if pool.startswith("token") and not getattr(trunk, "has_class_token", False):
            raise ValueError(f"pool {pool!r} needs a class token and {name} has none; take 'avg'.")
        if pool == "map" and getattr(trunk, "attn_pool", None) is None:
            raise ValueError(f"pool 'map' needs an attention pooling and {name} has none; take 'avg'.")
        trunk.reset_classifier(0, "token" if pool == "token+avg" else pool)
        self.trunk, self.transform, self.pool = trunk, transform, pool
        self.config: object | None = None  # how to build it again, for saving
        self.dim = trunk.head_hidden_size * (2 if pool == "token+avg" else 1)

    @property
    def has_patches(self) -> bool:
        """Can it be told where in the picture its patches or cells are?"""
        return self.is_grid or hasattr(getattr(self.trunk, "patch_embed", None), "dynamic_feat_size")

    def features(self, image_BCHW: Tensor) -> Features:
        """Pictures, normalised as ``transform`` says, any height and width that the trunk takes."""
        if self.is_grid:
            return self._grid_features(image_BCHW)
        tokens_BND = self.trunk.forward_features(image_BCHW)
        pooled_BD = self.trunk.forward_head(tokens_BND, pre_logits=True)
        patch_BPD = tokens_BND[:, getattr(self.trunk, "num_prefix_tokens", 0) :]
        if self.pool == "token+avg":
            pooled_BD = torch.cat([pooled_BD, patch_BPD.mean(1)], dim=1)
        if not self.has_patches:
            return Features(pooled_BD)  # tokens, but no place
        rows, columns = self.trunk.patch_embed.dynamic_feat_size(image_BCHW.shape[-2:])
        if patch_BPD.shape[1] != rows * columns:
            return Features(pooled_BD)  # merged or dropped on the way
        # where timm norms after pooling, patches need the same norm to live in the space of the pooled vector
        return Features(pooled_BD, getattr(self.trunk, "fc_norm", nn.Identity())(patch_BPD), (rows, columns))

    def _grid_features(self, image_BCHW: Tensor) -> Features:
        # channels_last input makes every convolution run so (1.1 to 1.2 times faster on a CPU); the weights keep
        # their layout, because safetensors refuses strided ones
        map_ = self.trunk.forward_features(image_BCHW.contiguous(memory_format=torch.channels_last))
        channels_last = getattr(self.trunk, "output_fmt", "NCHW") == "NHWC"
        map_BHWC = map_ if channels_last else map_.permute(0, 2, 3, 1)
        B, H, W, C = map_BHWC.shape
        # a patch is what the pooled vector would be if the whole picture were that cell
        cells = map_BHWC.reshape(B * H * W, 1, 1, C)
        cells = cells if channels_last else cells.permute(0, 3, 1, 2)
        patch_BPD = self.trunk.forward_head(cells, pre_logits=True).reshape(B, H * W, -1)
        return Features(self.trunk.forward_head(map_, pre_logits=True), patch_BPD, (H, W))


def create_trunk(name: str, size: int | None = None) -> nn.Module:
    """A timm model with random weights and no classifier; a ViT takes other sizes than its own by resampling its
    position embedding in each pass, so its weights keep their published shape.

    Raises ValueError naming the nearest models for an unknown ``name``, and for a ``size`` that a ViT's patches do not
    fill.
    """
    if not timm.is_model(name):
        near = ", ".join(get_close_matches(name, timm.list_models() + timm.list_pretrained(), n=3, cutoff=0.5))
        raise ValueError(f"timm has no model {name!r}; {f'near it: {near}' if near else 'see timm.list_models()'}.")
    settings = timm.get_pretrained_cfg(name)
    if size is None or size == settings.input_size[-1] or not settings.fixed_input_size:
        return timm.create_model(name, pretrained=False, num_classes=0)
    try:
        trunk: Any = timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True)
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise
        return timm.create_model(name, pretrained=False, num_classes=0, img_size=size)
    height, width = trunk.patch_embed.patch_size
    if size % height or size % width:
        raise ValueError(
            f"{name} cuts pictures into patches of {height} x {width} pixels, and size {size} is no multiple of it."
        )
    return trunk


def transform_of(trunk: nn.Module, size: int | None = None) -> Transform:
    """The transform of timm's data settings for ``trunk``; ``size`` (pixels, both sides) overrides theirs."""
    settings = resolve_model_data_config(trunk)
    return Transform(
        size=(size, size) if size else tuple(settings["input_size"][1:]),
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        interpolation=settings["interpolation"],
        crop_ratio=settings["crop_pct"],
    )


def classifier_keys(trunk: nn.Module) -> tuple[str, ...]:
    """Prefixes of the classifier's tensors in published weights, which a tower has no use for."""
    names = trunk.pretrained_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))
