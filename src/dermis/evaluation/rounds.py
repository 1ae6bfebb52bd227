"""Which cases are trained on, which choose the epoch, and which are scored: one split, or folds.

In k folds each fold is scored once; the next fold chooses the epoch, and the other k - 2 are trained on.
"""

from dataclasses import dataclass

import numpy as np

from dermis.cases.leakage import assert_no_leak, leak_findings
from dermis.cases.manifest import Manifest
from dermis.cases.split import folds
from dermis.evaluation.finetune_config import FineTuneConfig
from dermis.registry import unknown

FOLD_SEED = 0
"""of folds that the manifest does not bring: the same for every seed of a fine-tuning"""


@dataclass(frozen=True)
class Round:
    """Positions of cases in the manifest; ``name`` is that of the fold, and empty where there is one round only."""

    name: str
    train: np.ndarray
    choose: np.ndarray
    scored: np.ndarray


def rounds_of(manifest: Manifest, config: FineTuneConfig, split: str, stratify: str) -> list[Round]:
    """One round on the manifest's splits, or one a fold; groups (``Manifest.groups()``) are never on two sides.

    ``split``: ``test``, and ``all`` with folds. Folds are the manifest's own, or cut with the classes of the column
    ``stratify`` in proportion. Raises ValueError for another split, for splits without cases, for splits or given folds
    that tear a group, and for given folds that leave cases out or are not as many as asked for.
    """
    if split not in ("test", "all"):
        raise unknown("split to score a fine-tuned model on", split, ("test", "all"))
    if config.folds is None:
        if split == "all":
            raise ValueError("fine-tuning trains on the split `train`, so only `test` is scored; `all` needs folds.")
        chooser = "valid" if config.protocol == "clean" else split
        only = Round("", *(_rows(manifest, name) for name in ("train", chooser, split)))
        assert_no_leak(manifest)
        return [only]
    if split != "all":
        raise ValueError(f"with folds every case is scored: set split to all, not {split!r}.")
    if "fold" in manifest:
        if torn := leak_findings(manifest, "fold"):
            raise ValueError(torn[0].sentence)
    else:
        manifest = folds(manifest, config.folds, seed=FOLD_SEED, stratify=stratify)
    fold_N = manifest.table["fold"]
    if without := int(fold_N.isna().sum()):
        raise ValueError(f"{without} of {len(manifest)} cases have no fold: give each one, or drop the column.")
    names = sorted(map(str, fold_N.unique()), key=lambda name: (len(name), name))
    if len(names) != config.folds:
        raise ValueError(f"the manifest's column `fold` has {len(names)} folds, not {config.folds}: set folds to that.")
    place_N = fold_N.astype(str).map(names.index).to_numpy()
    return [_fold(name, place_N, i, (i + 1) % len(names)) for i, name in enumerate(names)]


def _fold(name: str, place_N: np.ndarray, scored: int, choose: int) -> Round:
    train_N = (place_N != scored) & (place_N != choose)
    return Round(name, *(np.flatnonzero(rows) for rows in (train_N, place_N == choose, place_N == scored)))


def _rows(manifest: Manifest, split: str) -> np.ndarray:
    manifest.split(split)  # says what is wrong where there are none
    return np.flatnonzero(manifest.table["split"] == split)
