"""What makes the vectors of a folder: a model, how far its pictures go through it, and a name for all of that."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from dermis.model.cache import tower_key, update_with_weights
from dermis.model.embed import STAGES
from dermis.model.look import evaluating, one_of_each
from dermis.model.use import Picture, encode_texts, view_of
from dermis.registry import unknown
from dermis.towers.branches import Branches
from dermis.towers.two_tower import TwoTower


@dataclass(frozen=True)
class Encoder:
    """A model as a maker of a case's vector; build it with ``Encoder.of``."""

    model: nn.Module
    stage: str
    columns: tuple[str, ...]
    """the picture columns that it looks at; their vectors lie side by side"""

    @classmethod
    def of(cls, model: nn.Module, stage: str | None = None, column: str | None = None) -> "Encoder":
        """``stage``: ``projected`` (the space shared with texts; default of a ``TwoTower``) or ``trunk``. ``column``:
        of a model of one picture, default ``image``. Raises ValueError for what this model does not have."""
        if stage is not None and stage not in STAGES:
            raise unknown("stage", stage, STAGES)
        if stage == "projected" and not isinstance(model, TwoTower):
            raise ValueError("stage projected needs a model of pictures and texts; this one has stage trunk only.")
        if isinstance(model, Branches):
            if column is not None and (column,) != model.pictures:
                raise ValueError(f"this model looks at {' and '.join(model.pictures)}; leave the column out.")
            return cls(model, "trunk", model.pictures)
        return cls(model, stage or ("projected" if isinstance(model, TwoTower) else "trunk"), (column or "image",))

    def tower(self, column: str) -> Any:
        """The image tower that looks at ``column``."""
        if isinstance(self.model, Branches):
            return self.model.picture_towers[column]
        return self.model.image if isinstance(self.model, TwoTower) else self.model

    def dim(self, column: str) -> int:
        """Width of the vectors of one column."""
        return self.model.embed_dim if self.stage == "projected" else self.tower(column).dim

    @cached_property
    def key(self) -> str:
        """A name for all that a vector depends on, and where texts lie beside pictures all that theirs does."""
        towers = [(column, tower_key(self.tower(column))) for column in self.columns]
        name = hashlib.blake2b(repr((self.stage, towers)).encode(), digest_size=16)
        if self.stage == "projected":
            name.update(repr(self.model).encode())
            update_with_weights(name, self.model)
        return name.hexdigest()

    @property
    def facts(self) -> dict[str, Any]:
        """What a folder records of it, as plain data."""
        transforms = {column: asdict(self.tower(column).transform) for column in self.columns}
        return {"key": self.key, "stage": self.stage, "columns": list(self.columns), "transform": transforms}

    @torch.inference_mode()
    def encode(self, column: str, view_BCHW: np.ndarray) -> np.ndarray:
        """Views of one column -> vectors, float32 (B, D), as the model makes them (not of unit length)."""
        device = next(self.model.parameters()).device
        seen_BCHW = torch.from_numpy(view_BCHW).to(device, non_blocking=True)
        with evaluating(self.model):
            if self.stage == "projected":
                return self.model.encode_image(seen_BCHW).float().cpu().numpy()
            return self.tower(column).features(seen_BCHW).pooled_BD.float().cpu().numpy()

    def of_pictures(self, pictures: Picture | Mapping[str, Picture]) -> np.ndarray:
        """The vector (D,) of one case, given its picture, or one for each column.

        Raises ValueError for a picture too few or too many, and for one that cannot be read.
        """
        given = one_of_each(self.columns, pictures)
        views = {column: view_of(picture, self.tower(column)).numpy() for column, picture in given.items()}
        return np.concatenate([self.encode(column, view[None])[0] for column, view in views.items()])

    def of_text(self, text: str) -> np.ndarray:
        """The vector (D,) of a text; raises ValueError if texts do not lie in the pictures' space, and for no text."""
        if self.stage != "projected":
            raise ValueError(
                "a text can be searched for only with a model of pictures and texts, and among embeddings of "
                f"stage projected; these are of stage {self.stage}."
            )
        if not text.strip():
            raise ValueError("the text to search for is empty.")
        return encode_texts(self.model, [text], normalize=False)[0]
