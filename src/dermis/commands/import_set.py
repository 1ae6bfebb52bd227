"""dermis import"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from dermis.cases.catalogue import READERS, import_set
from dermis.cases.loss import what_is_lost
from dermis.cases.manifest import Manifest, sidecar_of
from dermis.cases.shards import CASES, write_shards
from dermis.commands.arguments import called
from dermis.progress import counting

MANIFEST = "manifest"


def import_(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="READER")],
    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")],
    out: Path = Path("cases.parquet"),
    replace: bool = False,
    narrate: bool = False,
    seed: int = 0,
    shards: Path | None = None,
    cases_per_shard: int = CASES,
    options: dict[str, str] = {},  # noqa: B006 (tyro shows the default and nobody changes it)
) -> int:
    """Read a data set as it lies on disk into a manifest: a table of cases beside a schema of its columns.

    Readers' own settings are options too: --options columns "image=file, diagnosis=label" for `csv`, --options split
    split.csv, --options missing drop for any. `dermis list datasets` names the readers; `dermis import READER` alone
    prints its page: source, licence, layout on disk, counts, traps.

    Args:
        name: a public set (ham10000, derm7pt, …), `csv` for any table, `folder` for a folder per class, or `manifest`
            for cases that were imported before (to write --shards of them)
        path: the data set's folder, or the table
        out: the manifest to write (.parquet or .csv)
        replace: write over an older one also where it holds what this import has not: columns of `dermis split`,
            `narrate` or `knowledge`, other values, other cases
        narrate: also write captions from the table's columns (real facts, marked as narrated)
        seed: of the narration's wording
        shards: also copy the pictures into tars in this folder, which the manifest then names instead of the files: for
            network and spinning disks; webdataset reads them too. The same command goes on where it was interrupted
        cases_per_shard: cases in each tar
        options: the reader's own settings
    """
    if name != MANIFEST and out.exists() and path.exists() and out.samefile(path):
        raise ValueError(f"{out} is the table that is read: nothing is written over it, choose another --out.")
    manifest, notes = _cases(name, path, options)
    if narrate:
        from dermis.language.narrate import narrate as tell

        manifest = tell(manifest, seed=seed)
    if out.exists() and not replace:
        _refuse_loss(out, manifest)
    if shards is not None:
        with counting("writing shards") as progress:
            manifest, more = write_shards(manifest, shards, cases_per_shard, progress)
        notes = [*notes, *more]
    elif cases_per_shard != CASES:
        raise ValueError("--cases-per-shard has no effect without --shards FOLDER.")
    manifest.write(out)
    for note in notes:
        sys.stdout.write(f"note: {note}\n")
    columns = ", ".join(manifest.table.columns)
    sys.stdout.write(f"{len(manifest)} cases in {out} (kinds in {sidecar_of(out).name}): {columns}\n")
    sys.stdout.write(f"next: dermis check {out}\n")
    return 0


def _cases(name: str, path: Path, options: dict[str, str]) -> tuple[Manifest, Sequence[str]]:
    if name != MANIFEST:
        with Console(stderr=True).status(f"reading {name}"):  # 400,000 rows take a quarter of a minute
            read = import_set(name, path, **options)
        return read, read.notes
    if options:
        raise ValueError(f"a manifest has no options; {', '.join(options)} would have no effect.")
    return Manifest.read(path), ()


def _refuse_loss(out: Path, manifest: Manifest) -> None:
    """Raise ValueError if writing ``manifest`` over ``out`` loses something."""
    how = "--replace writes over it, another --out keeps it."
    try:
        before = Manifest.read(out)
    except ValueError:
        raise ValueError(f"{out} is there and is no manifest that can be read: {how}") from None
    if lost := what_is_lost(before, manifest):
        *most, last = lost
        listed = f"{', '.join(most)} and {last}" if most else last
        raise ValueError(f"{out} is there, with {listed} that this import has not: {how}")


def run(arguments: Sequence[str]) -> int:
    """`dermis import`"""
    if len(arguments) == 1 and arguments[0] in READERS:
        sys.stdout.write(f"{READERS[arguments[0]].__doc__}\n")
        return 0
    return called(import_, "import", arguments)
