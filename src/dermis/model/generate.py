"""What a model says about the pictures of a manifest: texts of a generator (M2CG's chief complaints)."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dermis.cases.manifest import Manifest
from dermis.model.embed import views_ahead
from dermis.model.look import evaluating
from dermis.towers.fused_generator import FusedGenerator
from dermis.towers.two_tower import TwoTower

log = logging.getLogger(__name__)


def generator_of(model: Any) -> FusedGenerator:
    """What a model says texts with; raises ValueError for a model that says none."""
    found = getattr(model, "generator", None)
    if found is None:
        raise ValueError("this model says no texts: it was not taught by a method with a generator (m2cg).")
    return found


def generate_texts(
    model: TwoTower,
    manifest: Manifest,
    *,
    dialogues: bool = True,
    batch_size: int = 32,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    **search: Any,
) -> list[str | None]:
    """A text for each case, from its picture and (``dialogues``) its consultation; None where the picture is bad.

    ``search``: settings of ``dermis.towers.generation.generate``. A case without a dialogue is told from its picture.
    Raises ValueError as ``TwoTower.generate``.
    """
    generator_of(model)  # before a picture is opened
    device, said = model.logit_scale.device, list[str | None]([None] * len(manifest))
    told = manifest.table["dialogue"].tolist() if dialogues and "dialogue" in manifest else None
    paths = [path if isinstance(path, str) else None for path in manifest.table["image"]]
    rows, done = [[row] for row in range(len(manifest))], 0
    with evaluating(model):
        for batch in views_ahead(manifest.root, paths, rows, batch_size, workers, model.image.transform):
            good = [(row, view) for (row,), view in batch if not isinstance(view, str)]
            for (row,), view in batch:
                if isinstance(view, str):
                    log.warning("row %d, %s: %s", row, paths[row], view)
            if good:
                view_BCHW = torch.from_numpy(np.stack([view for _, view in good])).to(device)
                heard = None if told is None else [t if isinstance(t := told[row], str) else None for row, _ in good]
                for (row, _), text in zip(good, model.generate(view_BCHW, heard, **search), strict=True):
                    said[row] = text
            done += len(batch)
            if progress:
                progress(done, len(rows))
    return said
