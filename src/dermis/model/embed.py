"""Pictures to vectors, each once: evaluation transform, disk cache, bad pictures told and left out.

What is kept is the image tower's pooled vector before any projection (``stored_BD`` of the batch); projected embeddings
are made from it, so one cache serves training and evaluation, before and after.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from dermis.cases.manifest import Manifest
from dermis.model.cache import VectorCache, picture_key, tower_key
from dermis.model.look import evaluating, evaluation_view
from dermis.pictures import PictureError
from dermis.pictures.store import read_bytes
from dermis.registry import unknown
from dermis.towers import Transform
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
    paths = manifest.table[column].tolist()
    vector_ND, ok_N = np.zeros((len(paths), tower.dim), np.float32), np.zeros(len(paths), bool)
    store = VectorCache(cache / tower_key(tower)) if cache else None
    keys = [picture_key(manifest.root, path) if store else b"" for path in paths]
    todo = list(range(len(paths)))
    if store:
        known = [row for row in todo if keys[row] in store]
        vector_ND[known], ok_N[known] = store.get([keys[row] for row in known], tower.dim), True
        todo = [row for row in todo if not ok_N[row]]
    quarantine = quarantine or (lambda row, reason: log.warning("row %d, %s: %s", row, paths[row], reason))
    done = len(paths) - len(todo)
    for rows, view_BCHW in _batches(manifest.root, paths, todo, batch_size, workers, tower.transform, quarantine):
        if len(view_BCHW):
            good = [row for row in rows if row >= 0]
            vector_ND[good], ok_N[good] = _pooled(tower, view_BCHW), True
            if store:
                store.add([keys[row] for row in good], vector_ND[good])
        done += len(rows)
        if progress:
            progress(done, len(paths))
    if store:
        store.flush()
    if stage == "trunk":
        return vector_ND, ok_N
    return _projected(model, vector_ND) * ok_N[:, None], ok_N


def _batches(
    root: Path,
    paths: list[str],
    rows: list[int],
    batch_size: int,
    workers: int,
    transform: Transform,
    quarantine: Callable[[int, str], None],
) -> Iterator[tuple[list[int], Tensor]]:
    """Row numbers (-1 for a bad picture) and the good views, (B, 3, H, W); the next batch is decoded meanwhile."""

    def view(row: int) -> np.ndarray | str:
        try:
            if not isinstance(paths[row], str):
                return "the case has no picture."
            return evaluation_view(read_bytes(root, paths[row]), transform)
        except PictureError as error:
            return str(error)

    groups = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        ahead = [pool.submit(view, row) for row in groups[0]] if groups else []
        for i, group in enumerate(groups):
            views = [future.result() for future in ahead]
            ahead = [pool.submit(view, row) for row in groups[i + 1]] if i + 1 < len(groups) else []
            for row, seen in zip(group, views, strict=True):
                if isinstance(seen, str):
                    quarantine(row, seen)
            good = [seen for seen in views if not isinstance(seen, str)]
            numbers = [-1 if isinstance(seen, str) else row for row, seen in zip(group, views, strict=True)]
            yield numbers, torch.from_numpy(np.stack(good)) if good else torch.empty(0)


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
