"""Splits and folds that keep every group whole and every class in proportion.

Augmented copies go where their originals go and do not count: shares are those of the originals, which are scored.

Groups (``Manifest.groups()``) are placed one after the other, the largest first, each where it moves the cases per
class and part least away from the wanted numbers: with n[s, k] cases of class k in part s so far, t[s, k] wanted and
c[k] in the group, into the part with the least sum over k of c[k] (2 n[s, k] + c[k]) / t[s, k]. That is the step of
steepest descent of the chi-square statistic sum (n - t)^2 / t; ``n`` and ``t`` have the cases of any class as one more
class. Before that, the smallest groups of each class, the rarest class first, are dealt to the parts, so that no part
lacks a class. Groups of equal size come in an order that depends on the seed and on nothing else.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from dermis.cases.columns import SPLITS
from dermis.cases.manifest import Manifest
from dermis.cases.schema import TEXT


def split(
    manifest: Manifest, *, valid: float = 0.1, test: float = 0.2, seed: int = 0, stratify: str | None = "diagnosis"
) -> Manifest:
    """The manifest with a new column ``split``: these shares of the cases, whole groups, ``stratify`` in proportion.

    ``stratify`` None looks at sizes only; cases without a value there are dealt like a class of their own, which need
    not be in every part. A share of 0 leaves that part out. Raises ValueError if shares make no sense, the column is
    missing, or a class has fewer groups than there are parts.
    """
    if not (0 <= valid < 1 and 0 <= test < 1 and 0 < valid + test < 1):
        raise ValueError(f"valid={valid} and test={test} must be shares of the cases that leave some for training.")
    shares = {name: share for name, share in zip(SPLITS, (1 - valid - test, valid, test), strict=True) if share > 0}
    return _dealt(manifest, "split", shares, seed, stratify)


def folds(manifest: Manifest, k: int = 5, *, seed: int = 0, stratify: str | None = "diagnosis") -> Manifest:
    """The manifest with a new column ``fold``, "0" to "k-1", equally large; otherwise as ``split``."""
    if k < 2:
        raise ValueError(f"k={k}: cross-validation needs 2 folds or more.")
    return _dealt(manifest, "fold", {str(fold): 1 / k for fold in range(k)}, seed, stratify)


def _dealt(manifest: Manifest, column: str, shares: dict[str, float], seed: int, stratify: str | None) -> Manifest:
    if stratify is not None:
        manifest.require([stratify], f"stratifying by {stratify}")
    group, keys = pd.factorize(manifest.groups(), sort=True)
    if len(keys) < len(shares):
        raise ValueError(f"{len(keys)} group(s) of cases cannot fill the {len(shares)} parts {', '.join(shares)}.")
    labels = manifest.table[stratify] if stratify else pd.Series("", index=manifest.table.index)
    label, classes = pd.factorize(labels, sort=True)
    counted = ~manifest.copies().to_numpy()
    counted |= (np.bincount(group, counted) == 0)[group]  # copies of each other, without an original
    counts = pd.DataFrame({"group": group, "label": label})[counted].value_counts(sort=False).reset_index()
    _refuse_rare_classes(counts, list(map(str, classes)), list(shares))
    part = _deal(counts, len(keys), len(classes), np.array(list(shares.values())), np.random.default_rng(seed))
    names = np.array(list(shares), dtype=object)
    dealt = pd.Series(names[part][group], dtype=TEXT)
    lacking = pd.crosstab(labels[counted], dealt[counted]) == 0
    if lacking.any(axis=None):
        where = lacking.stack().idxmax()
        raise ValueError(f"{column} {where[1]!r} gets no case of {where[0]!r}: rarer classes needed its groups.")
    return replace(manifest, table=manifest.table.assign(**{column: dealt}))


def _refuse_rare_classes(counts: pd.DataFrame, classes: list[str], parts: Sequence[str]) -> None:
    groups = counts["label"][counts["label"] >= 0].value_counts()
    rare = groups[groups < len(parts)].sort_index()
    if len(rare):
        listed = ", ".join(f"{classes[label]!r} ({count})" for label, count in rare[:10].items())
        more = f" and {len(rare) - 10} more" if len(rare) > 10 else ""
        raise ValueError(
            f"{len(rare)} class(es) have fewer groups than the {len(parts)} parts {', '.join(parts)}: {listed}{more}. "
            "Merge them, leave them out, or do not stratify (--stratify None)."
        )


def _deal(
    counts: pd.DataFrame, num_groups: int, num_classes: int, shares: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(num_groups,) the part of each group; ``counts`` has the cases per (group, label), label -1 for none."""
    counts = counts.sort_values("group", kind="stable")
    starts = np.searchsorted(counts["group"], np.arange(num_groups + 1))
    label, cases = counts["label"].to_numpy(), counts["count"].to_numpy(dtype=float)
    # column -1 holds cases without a label, column -2 all cases
    total = np.zeros(num_classes + 2)
    np.add.at(total, label, cases)
    total[-2] = cases.sum()
    wanted = shares[:, None] * total
    have = np.zeros_like(wanted)
    part = np.full(num_groups, -1)
    size = np.add.reduceat(cases, starts[:-1])

    def place(group: int, where: int | None) -> None:
        rows = slice(starts[group], starts[group + 1])
        columns, amount = np.append(label[rows], -2), np.append(cases[rows], size[group])
        if where is None:
            where = int(((2 * have[:, columns] + amount) / wanted[:, columns] * amount).sum(axis=1).argmin())
        have[where, columns] += amount
        part[group] = where

    order = rng.permutation(num_groups)
    order = order[np.argsort(size[order], kind="stable")]
    rank = np.empty(num_groups, dtype=int)
    rank[order] = np.arange(num_groups)
    smallest_first = counts.assign(rank=rank[counts["group"]]).sort_values("rank", kind="stable")
    by_class = [(len(rows), k, rows["group"].to_numpy()) for k, rows in smallest_first.groupby("label") if k >= 0]
    for _, k, groups in sorted(by_class, key=lambda item: item[:2]):
        for where in np.flatnonzero(have[:, k] == 0):
            free = groups[part[groups] < 0]
            if len(free):
                place(free[0], int(where))
    for group in order[::-1]:
        if part[group] < 0:
            place(group, None)
    return part
