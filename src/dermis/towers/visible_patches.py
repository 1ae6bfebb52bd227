"""A vision transformer of timm that sees some patches of a picture only.

Patches get their positions before any is left out, so those that stay know where they were. Prefix tokens (class
token, registers) always stay. Shapes: B pictures, P patches, K of them visible, R prefix tokens, D width.
"""

import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


def patch_trunk(tower: nn.Module) -> VisionTransformer:
    """The tower's trunk, if patches can be hidden from it.

    Raises ValueError for a trunk that is not timm's VisionTransformer (others mix patches on their way in, or count on
    all of them being there) and for one with a convolutional stem, through which a patch's pixels reach others.
    """
    trunk = getattr(tower, "trunk", tower)
    if not isinstance(trunk, VisionTransformer):
        raise ValueError(
            f"patches can be hidden from timm's VisionTransformer only (vit_small_patch16_224, …), not from "
            f"{type(trunk).__name__}: choose such a model.image.name."
        )
    if not isinstance(trunk.patch_embed, PatchEmbed):
        raise ValueError(
            f"patches cannot be hidden from a trunk whose stem ({type(trunk.patch_embed).__name__}) looks beyond a "
            "patch: choose a model.image.name that cuts the picture into patches (vit_small_patch16_224, …)."
        )
    return trunk


def masked_count(patches: int, ratio: float) -> int:
    """How many of a picture's patches are hidden: round(``ratio`` · ``patches``).

    Raises ValueError if so few patches are all masked or all visible.
    """
    masked = round(ratio * patches)
    if not 0 < masked < patches:
        raise ValueError(
            f"a share of {ratio} masks {masked} of a picture's {patches} patches; one must be hidden "
            "and one seen: take larger pictures (model.image.size) or another share."
        )
    return masked


def draw_visible(rows: int, patches: int, masked: int, device: torch.device) -> Tensor:
    """For each of ``rows`` pictures which patches stay, ascending (B, K): all sets are equally likely.

    Drawn from torch's own generator of the device, which a run's checkpoint holds.
    """
    noise_BP = torch.rand(rows, patches, device=device)
    return noise_BP.argsort(1)[:, : patches - masked].sort(1).values


def masked_of(visible_BK: Tensor, patches: int) -> Tensor:
    """The mask (B, P) of the patches that are not ``visible_BK``."""
    everything_BP = torch.ones(len(visible_BK), patches, dtype=torch.bool, device=visible_BK.device)
    return everything_BP.scatter(1, visible_BK, False)


def visible_tokens(trunk: VisionTransformer, image_BCHW: Tensor, visible_BK: Tensor) -> Tensor:
    """Prefix tokens and visible patches, encoded (B, R + K, D).

    With all patches visible this is ``trunk.forward_features``, and its ``fc_norm`` after it for models that pool
    before the last norm: their tokens would otherwise leave without any. A trunk's own patch dropout is left out.
    """
    tokens = trunk._pos_embed(trunk.patch_embed(image_BCHW))  # (B, R + P, D)
    prefix, patch_BPD = tokens.tensor_split([trunk.num_prefix_tokens], dim=1)
    index_BKD = visible_BK[:, :, None].expand(-1, -1, patch_BPD.shape[2])
    tokens = torch.cat([prefix, patch_BPD.gather(1, index_BKD)], dim=1)
    return trunk.fc_norm(trunk.norm(trunk.blocks(trunk.norm_pre(tokens))))
