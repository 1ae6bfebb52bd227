"""Which cases are trained on, which choose the epoch, and which are scored: one split, or folds.

In k folds each fold is scored once; the next fold chooses the epoch, and the other k - 2 are trained on.

Augmented copies (``Manifest.copies()``) are trained on only: they stay on the side of their originals, and of the cases
that choose or are scored they are left out.
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
ORIGINALS = "Augmented copies are trained on only: originals choose the epoch and are scored."


@dataclass(frozen=True)
class Round:
    """Positions of cases in the manifest; ``name`` is that of the fold, and empty where there is one round only."""

    name: str
    train: np.ndarray
    choose: np.ndarray
    scored: np.ndarray
    notes: tuple[str, ...] = ()
    """what a report should say of these cases"""


def rounds_of(manifest: Manifest, config: FineTuneConfig, split: str, stratify: str) -> list[Round]:
    """One round on the manifest's splits, or one a fold; groups (``Manifest.groups()``) are never on two sides.

    ``split``: ``test``, and ``all`` with folds. Folds are the manifest's own, or cut with the classes of the column
    ``stratify`` in proportion. Raises ValueError for another split, for splits without cases, for splits or given folds
    that tear a group, for splits of copies only, and for given folds that leave cases out or are not as many
    as asked for.
    """
    if split not in ("test", "all"):
        raise unknown("split to score a fine-tuned model on", split, ("test", "all"))
    if config.folds is None:
        if split == "all":
            raise ValueError("fine-tuning trains on the split `train`, so only `test` is scored; `all` needs folds.")
        chooser = "valid" if config.protocol == "clean" else split
        train, choose, scored = (_rows(manifest, name) for name in ("train", chooser, split))
        assert_no_leak(manifest)
        return [_round("", manifest.copies().to_numpy(), train, choose, scored)]
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
    rounds, copy_N = [], manifest.copies().to_numpy()
    for i, name in enumerate(names):
        scored_N, choose_N = place_N == i, place_N == (i + 1) % len(names)
        parts = (np.flatnonzero(rows) for rows in (~scored_N & ~choose_N, choose_N, scored_N))
        rounds.append(_round(name, copy_N, *parts))
    return rounds


def _round(name: str, copy_N: np.ndarray, train: np.ndarray, choose: np.ndarray, scored: np.ndarray) -> Round:
    for what, rows in (("choose the epoch", choose), ("are scored", scored)):
        if copy_N[rows].all():
            raise ValueError(f"all {len(rows)} cases that {what} are augmented copies: originals are needed.")
    left_out = copy_N[choose].any() or copy_N[scored].any()
    notes = (ORIGINALS,) if left_out else ()
    return Round(name, train, choose[~copy_N[choose]], scored[~copy_N[scored]], notes)


def _rows(manifest: Manifest, split: str) -> np.ndarray:
    manifest.split(split)  # says what is wrong where there are none
    return np.flatnonzero(manifest.table["split"] == split)
