"""dermis export"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dermis.commands.arguments import ManifestFile, called


def export(
    manifest: ManifestFile,
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CSV")],
    format: Literal["make", "derm1m"] = "make",
    filename: str = "image",
) -> int:
    """Write a manifest as the training table of MAKE or of Derm1M, for their released code.

    Args:
        manifest: cases.parquet or cases.csv
        out: the CSV to write
        format: `make` (three knowledge texts and eight sub-captions with masks) or `derm1m` (v2)
        filename: the column that names the pictures
    """
    from dermis.cases.derm1m_csv import write_derm1m_csv
    from dermis.cases.make_csv import write_make_csv
    from dermis.cases.manifest import Manifest

    cases = Manifest.read(manifest)
    write = {"make": write_make_csv, "derm1m": write_derm1m_csv}[format]
    for note in write(cases, out, filename):
        sys.stdout.write(f"note: {note}\n")
    sys.stdout.write(f"{len(cases)} cases in {out}\n")
    return 0


def run(arguments: Sequence[str]) -> int:
    """`dermis export`"""
    return called(export, "export", arguments)
