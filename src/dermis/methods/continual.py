"""Continual pre-training on other tables (SLIMP): embedding layers learn, attention stays as it was.

"Fine-tune the embedding layers of the image and metadata encoders, keeping their attention layers frozen" (the authors'
answer in the reviews). Embedding layers are the picture's patch and position embeddings with its class token, and the
columns' embeddings, which are drawn anew because the columns are others; the projections into the spaces learn too.
"""

from collections import Counter
from typing import Any

from dermis.methods.multi_label import go_on_from
from dermis.towers.branches import Branches
from dermis.towers.freeze import freeze

ATTENTION = ("blocks", "norm", "fc_norm")
"""parts of a picture tower that attend, and the norm after them"""


def keep_attention(model: Branches, before: dict[str, Any]) -> str:
    """Give the towers of other tables the attention of ``before``, freeze attention everywhere; says what learns.

    Raises ValueError without a model to go on from, and for towers without attention, or of other levels or sizes.
    """
    if set(before) != {"tables", "spaces"}:
        raise ValueError("method.continual goes on from a model that slimp trained: give one as model.weights.")
    for name, tower in model.picture_towers.items():
        trunk: Any = tower.trunk
        if not hasattr(trunk, "patch_embed"):
            kind = type(trunk).__name__
            raise ValueError(f"method.continual keeps the attention of the tower of {name}, and {kind} has none.")
        for part in ATTENTION:
            if hasattr(trunk, part):
                freeze(getattr(trunk, part))
    own: Any = model.parts["tables"]
    old = before["tables"].towers
    for level, tower in own.towers.items():
        state = old[level].blocks.state_dict() if level in old else {}
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in tower.blocks.state_dict().items()}:
            raise ValueError(f"the table tower of level {level} is another one in model.weights, or not there.")
        tower.blocks.load_state_dict(state)
        freeze(tower.blocks)
    go_on_from(model.parts["spaces"], before["spaces"].state_dict())
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
