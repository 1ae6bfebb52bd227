"""Pictures to vectors, each once: evaluation transform, disk cache, bad pictures told and left out.

What is kept is the image tower's pooled vector before any projection (``stored_BD`` of the batch); projected embeddings
are made from it, so one cache serves training and evaluation, before and after.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from dermis.cases.manifest import Manifest
from dermis.model.ahead import ahead
from dermis.model.cache import VectorCache, picture_key, tower_key
from dermis.model.look import evaluating, evaluation_view
from dermis.pictures import PictureError
from dermis.pictures.store import read_bytes
from dermis.registry import unknown
from dermis.towers import Transform
from dermis.towers.branches import Branches
from dermis.towers.two_tower import TwoTower

log = logging.getLogger(__name__)
STAGES = ("trunk", "projected")


def embed_pictures(
    model: nn.Module,
    manifest: Manifest,
    *,
    column: str = "image",
    stage: Literal["trunk", "projected"] = "trunk",
    batch_size: int = 64,
    cache: Path | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    quarantine: Callable[[int, str], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of a manifest's pictures: float32 (N, D) and whether each picture could be read, bool (N,).

    ``model``: a ``TwoTower`` or an image tower. ``stage``: ``trunk`` (pooled, before the projection: what
    ``stored_BD`` wants) or ``projected`` (E wide, not normalised; a ``TwoTower`` only). ``cache``: a folder; a picture
    that the same weights have seen with the same transform is not opened again. ``progress(done, total)`` is called
    after each batch. ``quarantine(row, reason)`` hears of each bad picture (default: the log); its vector is zero.
    """
    if stage not in STAGES:
        raise unknown("stage", stage, STAGES)
    if stage == "projected" and not isinstance(model, TwoTower):
        raise ValueError("stage 'projected' needs a two-tower model; an image tower has no projection.")
    manifest.require([column], "embedding pictures")
    tower = model.image if isinstance(model, TwoTower) else model
    paths = [path if isinstance(path, str) else None for path in manifest.table[column]]
    vector_ND, ok_N = np.zeros((len(paths), tower.dim), np.float32), np.zeros(len(paths), bool)
    store = VectorCache(cache / tower_key(tower)) if cache else None
    # a picture that several rows share is seen once
    names = [picture_key(manifest.root, path) if store else path for path in paths]
    rows_of: dict[object, list[int]] = {}
    for row, name in enumerate(names):
        rows_of.setdefault(name or row, []).append(row)
    if store:
        for name in [name for name in rows_of if name in store]:
            rows = rows_of.pop(name)
            vector_ND[rows], ok_N[rows] = store[name], True
    quarantine = quarantine or (lambda row, reason: log.warning("row %d, %s: %s", row, paths[row], reason))
    done, groups = int(ok_N.sum()), list(rows_of.values())
    try:
        for batch in views_ahead(manifest.root, paths, groups, batch_size, workers, tower.transform):
            good = [(rows, view) for rows, view in batch if not isinstance(view, str)]
            if good:
                pooled_BD = _pooled(tower, torch.from_numpy(np.stack([view for _, view in good])))
                for (rows, _), vector_D in zip(good, pooled_BD, strict=True):
                    vector_ND[rows], ok_N[rows] = vector_D, True
                if store:
                    store.add([names[rows[0]] for rows, _ in good], pooled_BD)
            for row, reason in ((row, r) for rows, r in batch if isinstance(r, str) for row in rows):
                quarantine(row, reason)
            done += sum(len(rows) for rows, _ in batch)
            if progress:
                progress(done, len(paths))
    finally:
        if store:
            store.flush()
    if stage == "trunk":
        return vector_ND, ok_N
    return _projected(model, vector_ND) * ok_N[:, None], ok_N


def embed_cases(model: nn.Module, manifest: Manifest, **settings: Any) -> tuple[np.ndarray, np.ndarray]:
    """Features of a manifest's cases: float32 (N, D), and whether all their pictures could be read, bool (N,).

    ``embed_pictures`` for each picture that the model looks at, with its ``settings``, the vectors side by side.
    """
    if not isinstance(model, Branches):
        return embed_pictures(model, manifest, **settings)
    if "column" in settings:
        raise ValueError(f"this model looks at {' and '.join(model.pictures)}; leave the column out.")
    towers = model.picture_towers.items()
    found = [embed_pictures(tower, manifest, column=column, **settings) for column, tower in towers]
    ok_N = np.logical_and.reduce([ok for _, ok in found])
    return np.concatenate([vector for vector, _ in found], axis=1) * ok_N[:, None], ok_N


def views_ahead(
    root: Path, paths: list[str], groups: list[list[int]], batch_size: int, workers: int, transform: Transform
) -> Iterator[list[tuple[list[int], np.ndarray | str]]]:
    """Batches of row groups, each with its picture's view or what is wrong; the next batch loads meanwhile."""

    def view(rows: list[int]) -> np.ndarray | str:
        try:
            path = paths[rows[0]]
            return "the case has no picture." if path is None else evaluation_view(read_bytes(root, path), transform)
        except PictureError as error:
            return str(error)

    return ahead(groups, view, batch_size, workers)


@torch.inference_mode()
def _pooled(tower: nn.Module, view_BCHW: Tensor) -> np.ndarray:
    device = next(tower.parameters()).device
    with evaluating(tower):
        return tower.features(view_BCHW.to(device, non_blocking=True)).pooled_BD.float().cpu().numpy()


@torch.inference_mode()
def _projected(model: TwoTower, vector_ND: np.ndarray) -> np.ndarray:
    device = model.logit_scale.device
    with evaluating(model):
        parts = torch.from_numpy(vector_ND).split(4096)
        return np.concatenate([model.project_image(part.to(device)).float().cpu().numpy() for part in parts])
