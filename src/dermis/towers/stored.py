"""What frozen towers said, kept: texts in memory as they come; pictures in the batch, as ``stored_BD``.

Pictures are embedded before training and kept on disk (``dermis.model.embed``); the model uses them through
``TwoTower.image_embedding`` and stays whole, so that it can encode new pictures afterwards.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn


class TextMemory:
    """Pooled vectors of a frozen text tower by token sequence; forgets everything when it holds ``capacity`` texts.

    On a CPU unseen texts are encoded one at a time: a text's vector then does not depend, to the last bit, on the batch
    that it first came in, and a resumed run repeats an uninterrupted one. Elsewhere they are encoded together.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self.capacity = capacity
        self.vector_of: dict[tuple[int, ...], Tensor] = {}

    def clear(self) -> None:
        self.vector_of.clear()

    @torch.no_grad()
    def features(self, tower: nn.Module, tokens: Tensor, offsets_S1: Tensor) -> Tensor:
        """Flat token ids of S texts and their S + 1 bounds -> pooled (S, D), without gradient."""
        ids, bounds = tokens.tolist(), offsets_S1.tolist()
        texts = [tuple(ids[start:end]) for start, end in pairwise(bounds)]
        unseen = [text for text in dict.fromkeys(texts) if text not in self.vector_of]
        if len(self.vector_of) + len(unseen) > self.capacity:
            self.clear()
            unseen = list(dict.fromkeys(texts))
        for group in [[text] for text in unseen] if tokens.device.type == "cpu" else [unseen] if unseen else []:
            flat = torch.tensor([i for text in group for i in text], device=tokens.device)
            offsets = torch.tensor([0, *map(len, group)], device=tokens.device).cumsum(0)
            self.vector_of |= zip(group, tower.features(flat, offsets).pooled_BD, strict=True)
        if not texts:
            return tower.features(tokens, offsets_S1).pooled_BD
        return torch.stack([self.vector_of[text] for text in texts]).to(tokens.device)
