"""Cases of a fine-tuning as batches to learn from and as features to predict from.

Shapes: N cases of the manifest, R chosen ones, L labels, D features of a case.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dermis.batch.augment import AUGMENTATIONS
from dermis.batch.dataset import CaseDataset, Collate, picture_columns
from dermis.batch.loader import Batches
from dermis.batch.sampler import EpochBatches
from dermis.cases.manifest import Manifest
from dermis.cases.targets import UNKNOWN
from dermis.evaluation.finetune_config import NONE, FineTuneConfig
from dermis.evaluation.finetune_method import FineTuneMethod
from dermis.model.embed import embed_cases
from dermis.model.look import evaluation_view
from dermis.pictures import PictureError
from dermis.pictures.store import read_bytes
from dermis.towers import Transform
from dermis.towers.branches import Branches


class Features:
    """Features of the manifest's cases in the evaluation view; each case once as long as no tower learns.

    ``bad``: row -> why its pictures cannot be read.
    """

    def __init__(self, manifest: Manifest, cache: Path | None) -> None:
        self.manifest, self.cache, self.bad = manifest, cache, dict[int, str]()
        self.kept: dict[int, np.ndarray] = {}

    def __call__(self, model: Branches, rows: np.ndarray, fixed: bool) -> tuple[np.ndarray, np.ndarray]:
        """Features (R, D), float32, and which of these cases are readable (R,). ``fixed``: the towers do not learn."""
        if not fixed:
            return self._look(model, rows, None)
        if len(fresh := np.array([row for row in rows if row not in self.kept and row not in self.bad], dtype=int)):
            self.kept |= dict(zip(fresh.tolist(), self._look(model, fresh, self.cache)[0], strict=True))
        ok_R = np.array([row not in self.bad for row in rows])
        return np.stack([self.kept.get(row, np.zeros(model.dim, np.float32)) for row in rows.tolist()]), ok_R

    def _look(self, model: Branches, rows: np.ndarray, cache: Path | None) -> tuple[np.ndarray, np.ndarray]:
        def bad(i: int, reason: str) -> None:
            self.bad[int(rows[i])] = reason

        return embed_cases(model, self.manifest.select(rows), cache=cache, quarantine=bad)


class StillCases(CaseDataset):
    """Cases seen as testing sees them, nothing random."""

    def __init__(self, manifest: Manifest, columns: Sequence[str], transform: Transform, **settings: Any) -> None:
        super().__init__(manifest, **settings)
        self.transform = transform
        self.paths = {column: manifest.table[column].tolist() for column in columns}

    def _sample(self, epoch: int, row: int) -> dict[str, Any]:
        sample = super()._sample(epoch, row)
        for column, paths in self.paths.items():
            try:
                view_CHW = evaluation_view(read_bytes(self.root, paths[row]), self.transform)
            except PictureError as error:
                raise PictureError(f"{paths[row]}: {error}") from None
            sample[f"{column}_BVCHW"] = torch.from_numpy(view_CHW)[None]
        return sample


def learnable(manifest: Manifest, rows: np.ndarray, label_NL: np.ndarray, columns: Sequence[str]) -> np.ndarray:
    """Those of the rows that have all pictures and at least one known label; ValueError if none is left."""
    there_N = manifest.table[list(columns)].notna().all(axis=1).to_numpy(dtype=bool)
    kept = rows[there_N[rows] & (label_NL[rows] != UNKNOWN).any(axis=1)]
    if not len(kept):
        raise ValueError(f"none of the {len(rows)} training cases has a label and {' and '.join(columns)}.")
    return kept


def batches_of(
    method: FineTuneMethod,
    features: Features,
    rows: np.ndarray,
    label_NL: np.ndarray,
    config: FineTuneConfig,
    seed: int,
) -> Batches:
    """The training batches: augmented pictures, or stored features where neither towers nor pictures ever change."""
    model, training = method.model, config.training
    stored_RD = None
    if config.augmentation == NONE and not method.towers_learn:
        found_RD, ok_R = features(model, rows, fixed=True)
        if not ok_R.any():
            raise ValueError(f"none of the {len(rows)} training cases has pictures that can be opened.")
        rows, stored_RD = rows[ok_R], torch.from_numpy(found_RD[ok_R])
    cases, labels = features.manifest.select(rows), label_NL[rows]
    if stored_RD is not None:
        dataset = CaseDataset(cases, stored_ND=stored_RD, labels=labels, seed=seed)
    elif config.augmentation == NONE:
        dataset = StillCases(cases, model.pictures, model.transform, labels=labels, seed=seed)
    else:
        transforms = {column: tower.transform for column, tower in model.picture_towers.items()}
        seen = picture_columns(transforms, AUGMENTATIONS[config.augmentation])
        dataset = CaseDataset(cases, pictures=seen, labels=labels, seed=seed)
    order = EpochBatches(len(cases), training.batch_size, seed)
    return Batches(dataset, order, Collate(), 0 if stored_RD is not None else training.workers)
