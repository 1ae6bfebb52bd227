"""dermis check"""

import sys
from collections.abc import Sequence
from pathlib import Path

from dermis.cases.manifest import Manifest
from dermis.commands.arguments import ManifestFile, called
from dermis.progress import counting


def check(manifest: ManifestFile, root: Path | None = None, pictures: bool = True, everything: bool = False) -> int:
    """Look for what is wrong with a manifest; exits with 1 if there is an error among the findings.

    Missing files, unreadable pictures, duplicate ids, sentinel strings, labels that differ by a typo, lesions with two
    diagnoses, splits that tear a patient or lesion apart, exact and near-duplicate pictures across splits.

    Args:
        manifest: cases.parquet or cases.csv
        root: image root, if not the one the manifest records
        pictures: open every picture (damage and duplicates); without, only the table is checked
        everything: name every picture that cannot be opened, not the first few
    """
    from dermis.cases.check import check as findings_of
    from dermis.cases.finding import exit_status, report_lines

    with counting("opening pictures") as progress:
        findings = findings_of(Manifest.read(manifest, root), pictures=pictures, progress=progress)
    sys.stdout.write("\n".join(report_lines(findings, everything)) + "\n")
    return exit_status(findings)


def run(arguments: Sequence[str]) -> int:
    """`dermis check`"""
    return called(check, "check", arguments)
