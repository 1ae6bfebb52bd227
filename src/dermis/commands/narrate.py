"""dermis narrate"""

import sys
from collections.abc import Sequence
from pathlib import Path

from dermis.commands.arguments import ManifestFile, called


def narrate(
    manifest: ManifestFile,
    out: Path | None = None,
    caption: bool = False,
    seed: int = 0,
) -> int:
    """Tell each case as a consultation and a chief complaint, from its own columns: real facts, our wording.

    Fills dialogue and complaint (what M2CG learns from) where they are null or were narrated before; texts of another
    origin stay. Told are site, size, duration, growth, change, itch, pain, bleeding, elevation, age, sex, history of
    cancer and skin type, as far as a case has them (`lesion.itch`, `patient.age`, …: docs/data.md); never the
    diagnosis. dialogue_origin and complaint_origin say "narrated".

    Args:
        manifest: cases.parquet or cases.csv
        out: where to write the result; none: over the manifest
        caption: also tell captions, which do name the diagnosis (as `dermis import --narrate` does)
        seed: another seed, other wordings
    """
    from dermis.cases.manifest import Manifest
    from dermis.language.consultation import narrate_consultations
    from dermis.language.consultation_facts import untold, what_complaints_tell
    from dermis.language.narrate import narrate as tell

    cases = narrate_consultations(Manifest.read(manifest), seed=seed)
    if caption:
        cases = tell(cases, seed=seed)
    path = cases.write(out or manifest)
    for column in ("dialogue", "complaint", *(["caption"] if caption else [])):
        told = int((cases.table[f"{column}_origin"] == "narrated").sum())
        given = int(cases.table[column].notna().sum()) - told
        sys.stdout.write(f"{column}: {told} narrated, {given} given before\n")
    for sentence in untold(cases.table):
        sys.stdout.write(f"note: {sentence}\n")
    if "complaint" not in cases:
        sys.stdout.write(f"note: no case has what a complaint is told from: {what_complaints_tell()}.\n")
    sys.stdout.write(f"{len(cases)} cases in {path}\n")
    return 0


def run(arguments: Sequence[str]) -> int:
    """`dermis narrate`"""
    return called(narrate, "narrate", arguments)
