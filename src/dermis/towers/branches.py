"""One image tower a picture of the case, and what is built on their features: pair heads, label heads.

A case may have a clinical photograph (``image``) and a dermoscopic picture of the same lesion (``dermoscopy``). Two
towers of one architecture see them, with weights of their own; the case's features are theirs side by side, dermoscopy
first (SM3, Wang et al., arXiv 2310.18583, Figure 4). A case with one picture is the same with one tower.

Shapes: B cases, D features of all towers together.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dermis.registry import unknown
from dermis.towers import Transform
from dermis.towers.combination_heads import CombinationHeads
from dermis.towers.freeze import is_frozen
from dermis.towers.fusion_heads import FusionHeads
from dermis.towers.image import ImageTower
from dermis.towers.label_heads import LabelHeads
from dermis.towers.projection import PairHeads
from dermis.towers.spaces import Spaces
from dermis.towers.tables import TableTowers

PARTS: dict[str, Callable[..., nn.Module]] = {
    "pair": PairHeads,
    "labels": LabelHeads,
    "fusion": FusionHeads,
    "combinations": CombinationHeads,
    "tables": TableTowers,
    "spaces": Spaces,
}
"""what may be built on the towers: name -> class, called with the towers' widths and plain settings"""
PREDICTING = ("labels", "fusion", "combinations")
"""the parts that say what a case's labels are: they have ``classes`` (label -> class names; None if they were taught
clusters) and ``probabilities(features of each picture) -> [(B, C) for each label]``"""


class Branches(nn.Module):
    """Picture column -> tower. ``config`` says how to build the towers again; ``settings`` how to build the parts.

    A frozen tower stays in evaluation mode.
    """

    def __init__(self, towers: Mapping[str, ImageTower], config: object | None = None) -> None:
        super().__init__()
        self.picture_towers = nn.ModuleDict(towers)
        self.parts = nn.ModuleDict()
        self.settings: dict[str, dict[str, Any]] = {}
        self.config = config

    @property
    def pictures(self) -> tuple[str, ...]:
        """The picture columns that it looks at, in the order of the features."""
        return tuple(self.picture_towers)

    @property
    def dims(self) -> dict[str, int]:
        """Picture column -> width of its tower."""
        return {name: tower.dim for name, tower in self.picture_towers.items()}

    @property
    def dim(self) -> int:
        """Width of the features of a case."""
        return sum(self.dims.values())

    @property
    def transform(self) -> Transform:
        """What the towers want to see; all alike."""
        return self.picture_towers[self.pictures[0]].transform

    def encode(self, picture: str, image_BCHW: Tensor) -> Tensor:
        """Pictures of one column -> that tower's pooled vectors."""
        return self.picture_towers[picture].features(image_BCHW).pooled_BD

    def encode_case(self, views: Mapping[str, Tensor]) -> Tensor:
        """Picture column -> (B, C, H, W); the towers' vectors side by side (B, D)."""
        return torch.cat([self.encode(name, views[name]) for name in self.pictures], dim=1)

    def encode_first_views(self, batch: Mapping[str, Tensor]) -> Tensor:
        """``encode_case`` of a batch's first views (B, D): all that a method sees which asks for one."""
        return self.encode_case({name: batch[f"{name}_BVCHW"][:, 0] for name in self.pictures})

    def encode_views(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch's views (``image_BVCHW``, …) -> the towers' vectors (B, D) of each, as ``image1``, ``image2``, …."""
        return {
            f"{picture}{v}": self.encode(picture, view_BCHW)
            for picture in self.pictures
            for v, view_BCHW in enumerate(batch[f"{picture}_BVCHW"].unbind(1), start=1)
        }

    def apart(self, h_BD: Tensor) -> dict[str, Tensor]:
        """Features of cases -> each picture's own part of them."""
        return dict(zip(self.pictures, h_BD.split(list(self.dims.values()), dim=1), strict=True))

    def add(self, part: str, **settings: Any) -> nn.Module:
        """Build a part on the towers, replacing one of that name; a saved model remembers it. Returns the part.

        Raises ValueError for an unknown part, and what the part raises for its settings.
        """
        if part not in PARTS:
            raise unknown("part of a model", part, PARTS)
        self.parts[part] = PARTS[part](self.dims, **settings)
        self.settings[part] = settings
        return self.parts[part]

    def remove(self, part: str) -> None:
        """Leave a part out from now on."""
        del self.parts[part], self.settings[part]

    @property
    def predicting(self) -> nn.Module | None:
        """The part that was taught labels, if there is one."""
        found = [self.parts[name] for name in PREDICTING if name in self.parts and self.parts[name].classes]
        return found[0] if found else None

    def predict(self, h_BD: Tensor) -> dict[str, Tensor]:
        """Features of cases -> label -> probabilities (B, C) of its classes.

        Raises ValueError if the model has no heads that were taught labels.
        """
        part: Any = self.predicting
        if part is None:
            raise ValueError("this model predicts no labels: it has no heads, or heads that were taught clusters only.")
        return dict(zip(part.classes, part.probabilities(self.apart(h_BD)), strict=True))

    def train(self, mode: bool = True) -> "Branches":
        super().train(mode)
        for tower in self.picture_towers.values():
            if is_frozen(tower):
                tower.eval()
        return self
