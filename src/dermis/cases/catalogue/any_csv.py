"""Any table with one row per picture, by a map from our columns to its own."""

from collections.abc import Mapping

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.given_split import SPLIT_NAMES
from dermis.cases.catalogue.labels import given, named, sex
from dermis.cases.catalogue.missing import numbers
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import read_table
from dermis.cases.columns import FIXED, PATHS, PREFIXES, TEXT_KINDS, known
from dermis.registry import unknown


@reader("csv")
def any_csv(
    files: Files,
    columns: Mapping[str, str] | None = None,
    missing_words: tuple[str, ...] = (),
    modality: str | None = None,
    source: str | None = None,
    licence: str | None = None,
) -> Reading:
    """Any CSV, TSV or XLSX table with one row per picture, and a map of its columns.

    Source: yours.

    Licence: yours; state it with `--options licence NAME`, or map a column.

    Obtain: it is your own.

    On disk: one table (give the file, or a folder with one table in it) and the pictures anywhere below its folder,
    loose or in zip files; they are found by name, with or without folders and extension, in any case.

    Columns: `--options columns "image=file name, diagnosis=Dx, patient.age=AGE, lesion.thickness=mm"`: our column from
    theirs (in Python a dict as well). Columns that already have one of our names need no entry. Without case_id, the
    file name is the id. lesion., patient. and concept. columns become numbers where every cell is one, else
    categories. sentences is a JSON list. modality, source and licence can be given for all rows. Words for "missing"
    beyond the usual: `missing_words`.

    Counts: those of the table; columns that are not imported are named.

    Group key: patient_id, lesion_id or origin_id, if you map them. Do: without them each picture is a group of its own.

    Traps: what tells the label (biopsied, how it was confirmed, follow-up) must not become a lesion. or patient.
    column.
    """
    if len(files.tables) != 1:
        names = ", ".join(t.name for t in files.tables) or "none"
        raise ValueError(f"give the table itself: {files.root} has {len(files.tables)} tables ({names}).")
    table = read_table(files.tables[0], missing_words)
    mapped = dict(columns or {})
    for ours, theirs in mapped.items():
        if not known(ours):
            raise unknown("manifest column", ours, (*FIXED, *(p + "NAME" for p in PREFIXES)))
        if theirs not in table:
            raise unknown(f"column of {files.tables[0].name}", theirs, table.columns)
    mapped = {**{c: c for c in table if known(c) and c not in mapped.values()}, **mapped}
    if "image" not in mapped:
        there = ", ".join(table)
        raise ValueError(f'say which column holds the pictures: --options columns "image=COLUMN"; there are {there}.')
    cases = pd.DataFrame({ours: tidy(ours, table[theirs]) for ours, theirs in mapped.items()})
    if "case_id" not in cases:
        cases.insert(0, "case_id", cases["image"])
    for path in PATHS:
        if path in cases:
            cases[path] = files.find_all(cases[path], "{}")
    for column, value in (("modality", modality), ("source", source), ("licence", licence)):
        if value is not None:
            cases[column] = cases[column].fillna(value) if column in cases else value
    for text in (t for t in TEXT_KINDS if t in cases and f"{t}_origin" not in cases):
        cases[f"{text}_origin"] = given(cases[text])
    return Reading(cases, _left_out(table, cases, mapped))


def _left_out(table: pd.DataFrame, cases: pd.DataFrame, mapped: Mapping[str, str]) -> list[str]:
    """Notes on their columns that are not mapped, and on ours that stayed empty."""
    notes = []
    if unused := [c for c in table if c not in mapped.values()]:
        how = 'map them with --options columns "OURS=THEIRS, …", OURS such as lesion.NAME or patient.NAME'
        notes.append(f"columns not imported: {', '.join(unused)} ({how}).")
    if empty := [f"{ours} (from {theirs})" for ours, theirs in mapped.items() if cases[ours].isna().all()]:
        notes.append(f"columns left out because no cell has a value that can be read: {', '.join(empty)}.")
    return notes


def tidy(ours: str, column: pd.Series) -> pd.Series:
    """A column of strings as the manifest wants it under the name ``ours``."""
    if ours == "patient.age" or ours.startswith("concept."):
        return numbers(column)
    if ours == "patient.sex":
        return sex(column)
    if ours == "skin_tone":
        return column.str.removesuffix(".0")
    if ours == "split":
        return named(column, SPLIT_NAMES, "split")
    if (
        ours.startswith(("lesion.", "patient."))
        and pd.to_numeric(column, errors="coerce").notna().eq(column.notna()).all()
    ):
        return numbers(column)
    return column
