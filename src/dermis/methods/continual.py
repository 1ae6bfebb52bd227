"""Continual pre-training on other tables (SLIMP): embedding layers learn, attention stays as it was.

"Fine-tune the embedding layers of the image and metadata encoders, keeping their attention layers frozen" (the authors'
answer in the reviews). Embedding layers are the picture's patch and position embeddings with its class token, and the
columns' embeddings, which are drawn anew because the columns are others; the projections into the spaces learn too.
"""

from collections import Counter
from typing import Any, cast

from dermis.methods.tables import PARTS, same_settings
from dermis.towers.branches import Branches
from dermis.towers.freeze import freeze

ATTENTION = ("blocks", "norm", "fc_norm")
"""parts of a picture tower that attend, and the norm after them"""
EMBEDDINGS = ("patch_embed", "pos_embed", "cls_token", "reg_token", "norm_pre", "dist_token")
"""what else a plain ViT has: it learns"""


def keep_attention(model: Branches, before: dict[str, Any]) -> str:
    """Give the towers of other tables the attention of ``before``, freeze attention everywhere; says what learns.

    Raises ValueError without a model to go on from, and for towers without attention, or of other levels or sizes.
    """
    if set(before) != set(PARTS):
        raise ValueError("method.continual goes on from a model that slimp trained: give one as model.weights.")
    for name, tower in model.picture_towers.items():
        trunk: Any = tower.trunk
        for part in ATTENTION:
            if hasattr(trunk, part):
                freeze(getattr(trunk, part))
        learns = {n.split(".")[0] for n, p in trunk.named_parameters() if p.requires_grad}
        if not hasattr(trunk, "blocks") or learns - set(EMBEDDINGS):
            raise ValueError(
                f"method.continual keeps the attention of a plain ViT's blocks, and the tower of {name} is a "
                f"{type(trunk).__name__}: give a vit_* or deit_* model."
            )
    (old_tables, tables), (old_spaces, spaces) = before["tables"], before["spaces"]
    same_settings("tables", tables, model.settings["tables"])
    old, own = old_tables.towers, cast(Any, model.parts["tables"])
    for level, tower in own.towers.items():
        state = old[level].blocks.state_dict() if level in old else {}
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in tower.blocks.state_dict().items()}:
            raise ValueError(f"the table tower of level {level} is another one in model.weights, or not there.")
        tower.blocks.load_state_dict(state)
        freeze(tower.blocks)
    same_settings("spaces", spaces, model.settings["spaces"])
    model.parts["spaces"].load_state_dict(old_spaces.state_dict())
    return f"Continual: {trainable(model)}."


def trainable(model: Branches) -> str:
    """Which weights of a model learn, in words: their parts, and how many numbers they hold of how many."""
    learns = Counter[str]()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            depth = {"picture_towers": 4, "parts": 5 if name.startswith("parts.tables") else 2}[name.split(".")[0]]
            learns[".".join(name.split(".")[:depth])] += parameter.numel()
    total = sum(p.numel() for p in model.parameters())
    parts = ", ".join(f"{name} ({count:,})" for name, count in learns.items())
    return f"{sum(learns.values()):,} of {total:,} weights learn: {parts}"
