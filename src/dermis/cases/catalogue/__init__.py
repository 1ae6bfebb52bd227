"""Readers of public data sets: one small file per set, registered by name; the docstring of each is its page.

``import_set("ham10000", "downloads/HAM10000")`` gives a manifest with notes. docs/data.md holds the pages.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from dermis.cases.catalogue import (  # noqa: F401 (importing them registers them)
    any_csv,
    daffodil,
    ddi,
    derm1m,
    derm7pt,
    dermamnist,
    dermnet23,
    dicom,
    fitzpatrick17k,
    ham10000,
    hiba,
    image_folder,
    isic2018_task3,
    isic2019,
    isic2020,
    isic2024,
    make,
    midas,
    milk10k,
    msid,
    msld,
    msld2,
    pad_ufes_20,
    ph2,
    scin,
    sd198,
    skincap,
    skincon,
    snu134,
)
from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.given_split import with_split
from dermis.cases.catalogue.options import understood
from dermis.cases.catalogue.reader import READERS
from dermis.cases.columns import FIXED, PATHS
from dermis.cases.manifest import Manifest
from dermis.registry import unknown

MISSING = ("keep", "drop")


@dataclass(frozen=True)
class Imported(Manifest):
    """A manifest, and what whoever imported it should read: pictures that are not there, odd rows, torn splits."""

    notes: tuple[str, ...] = ()


def import_set(
    name: str, path: Path | str, *, missing: str = "keep", split: Path | str | None = None, **options: object
) -> Imported:
    """Read the data set ``name`` as it lies at ``path`` (a folder; for `csv` a table).

    ``missing``: cases whose picture is not on disk are kept with the path where it would lie ("keep"), or left out
    ("drop"); either way a note says how many. ``split``: a table with the columns `split` and picture names, below
    ``path`` or anywhere. ``options`` are the reader's own.

    Raises ValueError, with a sentence, for an unknown set or option, a path with nothing of the set in it, a label the
    reader does not know, or duplicate cases.
    """
    read = READERS[name]
    options = understood(name, read, options)
    if missing not in MISSING:
        raise unknown("value of missing", missing, MISSING)
    files = Files.below(path)
    table, notes = read(files, **options)
    table = table.reset_index(drop=True)
    if split is not None:
        below = files.root / split
        table, more = with_split(table, below if below.is_file() else Path(split))
        notes = notes + more
    table, more = without_missing(table, files, drop=missing == "drop")
    order = [c for c in FIXED if c in table] + [c for c in table if c not in FIXED]
    table = table[[c for c in order if c == "image" or table[c].notna().any()]]
    manifest = Imported.build(table, files.root)
    return replace(manifest, notes=(*notes, *more, *torn(manifest)))


def without_missing(table: pd.DataFrame, files: Files, drop: bool) -> tuple[pd.DataFrame, list[str]]:
    """Say which pictures are not on disk, and leave out their cases if ``drop``."""
    there, notes = set(files.pictures), []
    lacking = pd.Series(False, index=table.index)
    for column in (c for c in PATHS if c in table and table[c].notna().any()):
        absent = table[column].isna() if column != "mask" else pd.Series(False, index=table.index)
        absent |= table[column].notna() & ~table[column].isin(there)
        if absent.any():
            first = table.loc[absent.idxmax(), column]
            notes.append(f"{column}: {int(absent.sum())} of {len(table)} are not under {files.root} (first: {first}).")
            lacking |= absent
    if drop and lacking.any():
        if lacking.all():
            raise ValueError(f"none of the {len(table)} cases has its pictures under {files.root}; nothing to import.")
        notes.append(f"{int(lacking.sum())} cases without their pictures are left out.")
        table = table[~lacking].reset_index(drop=True)
    return table, notes


def torn(manifest: Manifest) -> list[str]:
    """A note for a given split that has one group on two sides."""
    if "split" not in manifest:
        return []
    sides = manifest.table["split"].groupby(manifest.groups()).nunique()
    count = int((sides > 1).sum())
    return [f"the split tears {count} groups (patients, lesions, origins) apart: it leaks."] if count else []
