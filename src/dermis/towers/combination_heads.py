"""Heads for each combination of a case's pictures: each by itself, and all side by side (Kawahara et al. 2019).

Shapes: B cases, D features of a tower, C classes of a label.
"""

from collections.abc import Mapping, Sequence
from itertools import chain, combinations

import torch
from torch import Tensor, nn

from dermis.towers.label_heads import LabelHeads


class CombinationHeads(nn.Module):
    """Pictures' features (B, D) -> combination of pictures -> a row of logits for each label.

    ``dims``: picture column -> width of its tower. ``classes``: label -> its classes' names in order. A combination is
    called by its pictures, ``dermoscopy``, ``image`` and ``dermoscopy+image``; the last one has all and says what the
    case's labels are. Heads are linear, from N(0, 0.01) and zero.
    """

    def __init__(self, dims: Mapping[str, int], classes: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.classes = {label: list(names) for label, names in classes.items()}
        counts = range(1, len(dims) + 1)
        self.combinations = {
            "+".join(pictures): pictures for pictures in chain.from_iterable(combinations(dims, n) for n in counts)
        }
        self.heads = nn.ModuleDict(
            {
                name: LabelHeads({picture: dims[picture] for picture in pictures}, classes, relation="no_proj")
                for name, pictures in self.combinations.items()
            }
        )

    def forward(self, h: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """Each picture's features (B, D) -> combination -> each label's logits (B, C)."""
        return {
            name: self.heads[name](torch.cat([h[picture] for picture in pictures], dim=1))
            for name, pictures in self.combinations.items()
        }

    def probabilities(self, h: Mapping[str, Tensor]) -> list[Tensor]:
        """Each picture's features (B, D) -> each label's probabilities (B, C), from all pictures together."""
        return [logits_BC.softmax(1) for logits_BC in list(self(h).values())[-1]]
