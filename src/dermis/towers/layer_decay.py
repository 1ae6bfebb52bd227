"""Learning rates that fall from the heads down: a layer's factor is decay^(layers above it).

BEiT (Bao, Dong, Piao and Wei, ICLR 2022, arXiv 2106.08254), with timm's own grouping of parameters into layers
(``group_matcher``). The heads are the uppermost layer, as in ``timm.optim.param_groups_layer_decay`` on a model with
its classifier.
"""

from types import SimpleNamespace

from open_clip.transformer import VisionTransformer
from timm.models import group_parameters
from torch import nn

HEADS = "labels"
"""a parameter that no grouping knows, so timm puts it on top"""
OPEN_CLIP_VIT = {
    "stem": r"^(?:conv1|class_embedding|positional_embedding|ln_pre)",
    "blocks": [(r"^transformer\.resblocks\.(\d+)", None), (r"^ln_post", (99999,))],
}
"""as timm groups a vision transformer: the last norm belongs to the last block"""


def lr_factors(tower: nn.Module, decay: float) -> dict[str, float]:
    """Name of each of the tower's parameters -> factor of its learning rate; 1 is the heads'.

    Raises ValueError for a network whose layers are not known.
    """
    prefix, trunk = next(tower.named_children())
    if hasattr(trunk, "group_matcher"):
        matcher = trunk.group_matcher(coarse=False)
    elif isinstance(trunk, VisionTransformer):
        matcher = OPEN_CLIP_VIT
    else:
        raise ValueError(f"layer_decay needs to know the layers of {type(trunk).__name__}, and does not; leave it out.")
    with_heads = SimpleNamespace(named_parameters=lambda: [*trunk.named_parameters(), (HEADS, None)])
    layer = group_parameters(with_heads, matcher, reverse=True)
    return {f"{prefix}.{name}": decay ** (layer[HEADS] - layer[name]) for name, _ in trunk.named_parameters()}
