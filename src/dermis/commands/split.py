"""dermis split"""

import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from dermis.cases.manifest import Manifest


def split(
    manifest: tyro.conf.Positional[Path],
    out: Path | None = None,
    valid: float = 0.1,
    test: float = 0.2,
    folds: int | None = None,
    stratify: str | None = "diagnosis",
    seed: int = 0,
) -> int:
    """Give each case a split (or a fold) without tearing a patient, lesion or original picture apart.

    Args:
        manifest: cases.parquet or cases.csv
        out: where to write the result; default: over the manifest
        valid: share of the cases for validation
        test: share of the cases for the test
        folds: write the column `fold` with this many folds instead of `split`
        stratify: column whose values are spread evenly; None: none
        seed: another seed, another split
    """
    from dermis.cases.split import folds as fold
    from dermis.cases.split import split as divide

    cases = Manifest.read(manifest)
    if folds:
        result = fold(cases, folds, seed=seed, stratify=stratify)
        column = "fold"
    else:
        result = divide(cases, valid=valid, test=test, seed=seed, stratify=stratify)
        column = "split"
    path = result.write(out or manifest)
    counts = ", ".join(f"{name} {n}" for name, n in result.table[column].value_counts().items())
    sys.stdout.write(f"{path}: {counts}\n")
    return 0


def run(arguments: Sequence[str]) -> int:
    """`dermis split`"""
    return tyro.cli(split, args=list(arguments), prog="dermis split")
