"""dermis split"""

import sys
from collections.abc import Sequence
from pathlib import Path

from dermis.cases.manifest import Manifest
from dermis.commands.arguments import ManifestFile, called

VALID, TEST = 0.1, 0.2
IF_ANY = "diagnosis, if any case has one"


def split(
    manifest: ManifestFile,
    out: Path | None = None,
    valid: float = VALID,
    test: float = TEST,
    folds: int | None = None,
    stratify: str | None = IF_ANY,
    seed: int = 0,
) -> int:
    """Give each case a split (or a fold) without tearing a patient, lesion or original picture apart.

    Args:
        manifest: cases.parquet or cases.csv
        out: where to write the result; none: over the manifest
        valid: share of the cases for validation
        test: share of the cases for the test
        folds: write the column `fold` with this many folds instead of `split`
        stratify: column whose values are spread evenly (an error where it is missing); None: none
        seed: another seed, another split
    """
    from dermis.cases.split import folds as fold
    from dermis.cases.split import split as divide

    cases = Manifest.read(manifest)
    if stratify == IF_ANY:
        stratify = "diagnosis" if "diagnosis" in cases else None
        if stratify is None:
            sys.stdout.write("note: no case has a diagnosis to spread evenly; only the number of cases is looked at.\n")
    if folds is not None:
        if (valid, test) != (VALID, TEST):
            raise ValueError("--valid and --test have no effect with --folds, whose parts are equally large.")
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
    return called(split, "split", arguments)
