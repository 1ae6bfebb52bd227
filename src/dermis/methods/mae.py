"""MAE -- Masked Autoencoders Are Scalable Vision Learners (He et al., CVPR 2022).

Paper    https://arxiv.org/abs/2111.06377, Section 3; settings of Section 4 and appendix A.1
Release  facebookresearch/mae at efb2a80, models_mae.py, main_pretrain.py

Most patches of a picture are hidden, and a decoder says their pixels from the others:

    V = a random quarter of the patches of x, M the rest (drawn for each picture, equally many)
    y = g( f(x_V) ),    f the tower's ViT on the patches V alone, g the decoder on all places
    L = mean over pictures of  mean_{m∈M} mean_n (y_mn - t_mn)²                                      (1)
    t_m = the pixels of patch m, less their mean, over their standard deviation

What is hidden has no influence on the encoder and costs it nothing; what is seen has no target in the loss.
On cases with two pictures a tower and a decoder learn from each, side by side, as in ``simclr``; the loss is the sum.
The paper's augmentation is a random crop and a flip (``data.augmentation: mae``). The decoder stays in the run's
checkpoints; the model folder holds the towers.

Differs from the release:
  1. The encoder is the trunk as timm has it: learnt positions, and timm's initial weights where none are given. The
     release has fixed sine-cosine positions (as our decoder) and Xavier's weights.
  2. ``norm_pixels`` is on. The release's code has it off and its published command on.
  3. round(mask_ratio · P) patches are masked; the release keeps int((1 - mask_ratio) · P). At 0.75 and a P that 4
     divides they agree.
  4. Registers of the trunk pass through the decoder as the class token does, without a position; a trunk without any
     prefix token is welcome.
  5. Pictures need not be square.

Each rank draws its own masks, so two ranks take one rank's step in distribution; with masks given, their mean of value
and gradient is the whole batch's, for equation (1) couples no cases.

Shapes: B cases on this rank, P patches, K visible ones, N = height · width · 3 values of a patch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dermis.losses.masked_pixels import masked_pixels, patchify
from dermis.losses.precision import at_least_float32
from dermis.methods import method
from dermis.recipe import refuse_out_of_range
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig
from dermis.towers.pixel_decoder import PixelDecoder
from dermis.towers.visible_patches import draw_visible, masked_count, masked_of, patch_trunk, visible_tokens


@dataclass(kw_only=True)
class MAEConfig:
    """Settings of MAE; the defaults are the paper's."""

    mask_ratio: float = 0.75
    """share of the patches that is hidden"""
    decoder_width: int = 512
    """a multiple of 4 and of the heads"""
    decoder_layers: int = 8
    """blocks of the decoder"""
    decoder_heads: int = 16
    """attention heads of the decoder"""
    norm_pixels: bool = True
    """targets are a patch's pixels normalised by their own mean and deviation"""

    def __post_init__(self) -> None:
        refuse_out_of_range(self, at_least_1=("decoder_width", "decoder_layers", "decoder_heads"))
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio is a share of the patches, between 0 and 1, not {self.mask_ratio}.")


@method("mae")
class MAE(nn.Module):
    """A few patches of a picture are seen, the pixels of the others are said (He et al., 2022)."""

    Config = MAEConfig
    Towers = BranchesConfig
    needs = ("image",)
    citation = (
        "@inproceedings{he2022masked, title={Masked Autoencoders Are Scalable Vision Learners}, author={He, Kaiming "
        "and Chen, Xinlei and Xie, Saining and Li, Yanghao and Doll{\\'a}r, Piotr and Girshick, Ross}, "
        "booktitle={CVPR}, year={2022}}"
    )

    def __init__(self, model: Branches, config: MAEConfig) -> None:
        """Raises ValueError for towers that patches cannot be hidden from and for a decoder that cannot be built."""
        super().__init__()
        self.model, self.config = model, config
        self.decoders = nn.ModuleDict()
        for name, tower in model.picture_towers.items():
            trunk = patch_trunk(tower)
            height, width = trunk.patch_embed.patch_size
            self.decoders[name] = PixelDecoder(
                trunk.embed_dim,
                height * width * trunk.in_chans,
                config.decoder_width,
                config.decoder_layers,
                config.decoder_heads,
            )

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each picture's error (B,) under a fresh mask: all that a case adds to (1), so slices of a batch may do it."""
        return {name: self.errors(name, batch[f"{name}_BVCHW"][:, 0]) for name in self.model.pictures}

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (1), summed over the pictures of a case."""
        terms = {name: embeddings[name].mean() for name in self.model.pictures}
        return {"loss": torch.stack(list(terms.values())).sum(), **{n: term.detach() for n, term in terms.items()}}

    def errors(self, picture: str, image_BCHW: Tensor) -> Tensor:
        """The inner means of (1) for pictures of one column (B,).

        Raises ValueError if so few patches are all masked or all visible.
        """
        patch = patch_trunk(self.model.picture_towers[picture]).patch_embed.patch_size
        target_BPN = patchify(image_BCHW, patch)
        B, P, _ = target_BPN.shape
        visible_BK = draw_visible(B, P, masked_count(P, self.config.mask_ratio), image_BCHW.device)
        masked_BP = masked_of(visible_BK, P)
        prediction_BPN = self.reconstruct(picture, image_BCHW, visible_BK)
        with torch.autocast(image_BCHW.device.type, enabled=False):
            prediction_BPN = at_least_float32(prediction_BPN)
            return masked_pixels(prediction_BPN, target_BPN, masked_BP, normalise=self.config.norm_pixels)

    def reconstruct(self, picture: str, image_BCHW: Tensor, visible_BK: Tensor) -> Tensor:
        """The pixels of all patches (B, P, N) in the order of ``patchify``, said from the visible ones."""
        trunk = patch_trunk(self.model.picture_towers[picture])
        grid = trunk.patch_embed.dynamic_feat_size(image_BCHW.shape[-2:])
        return self.decoders[picture](visible_tokens(trunk, image_BCHW, visible_BK), visible_BK, grid)
