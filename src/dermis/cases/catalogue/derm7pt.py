"""Derm7pt, the seven-point checklist (Kawahara et al. 2019)."""

from dataclasses import replace

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import named, readable, sex
from dermis.cases.catalogue.missing import numbers
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import column, find_table
from dermis.cases.seven_point import CLASSES as FINDINGS

DIAGNOSES = {
    "basal cell carcinoma": ("basal cell carcinoma",),
    "nevus": (
        "blue nevus", "clark nevus", "combined nevus", "congenital nevus", "dermal nevus", "recurrent nevus",
        "reed or spitz nevus",
    ),
    "melanoma": (
        "melanoma", "melanoma (in situ)", "melanoma (less than 0.76 mm)", "melanoma (0.76 to 1.5 mm)",
        "melanoma (more than 1.5 mm)", "melanoma metastasis",
    ),
    "miscellaneous": ("dermatofibroma", "lentigo", "melanosis", "miscellaneous", "vascular lesion"),
    "seborrheic keratosis": ("seborrheic keratosis",),
}  # fmt: skip
ROW = ("case_num", "diagnosis", "clinic", "derm", "location", "elevation", "sex", *FINDINGS)


@reader("derm7pt")
def derm7pt(files: Files, grouped: bool = True) -> Reading:
    """Derm7pt: 1,011 lesions, each as clinical photograph and dermoscopy, with the seven-point checklist.

    Source: Kawahara et al., IEEE JBHI 23(2), 538-546 (2019); derm.cs.sfu.ca (registration).

    Licence: academic research only, no redistribution.

    Obtain: fill in the form on derm.cs.sfu.ca/Download.html; name and password for the archive come by mail.

    On disk: `release_v0/meta/` with `meta.csv`, `train_indexes.csv`, `valid_indexes.csv`, `test_indexes.csv`, or those
    four beside `images/`; pictures `images/<DIR>/<file>`.

    Columns: image (clinic), dermoscopy (derm), diagnosis, finding.pigment_network, blue_whitish_veil,
    vascular_structures, pigmentation, streaks, dots_and_globules, regression_structures; lesion.localization,
    lesion.elevation; patient.sex; split. `grouped=False` keeps the table's own words (20 diagnoses) instead of the
    authors' groups of 5 diagnoses and 2 or 3 classes per finding.

    Counts: nevus 575, melanoma 252, miscellaneous 97, seborrheic keratosis 45, basal cell carcinoma 42; official split
    413 train, 203 valid, 395 test.

    Group key: the case itself; there are neither patient nor lesion ids (`case_id` is filled in 27 rows only).

    Traps: folder and file prefix differ in case in most rows (`NEL/Nel026.jpg`), 52 files end in .JPG: the lookup
    ignores case. In 9 rows the clinical picture is a second dermoscopy (column notes). seven_point_score is the
    weighted sum of the findings; management and level_of_diagnostic_difficulty were given by somebody who knew the
    diagnosis: none is imported. Split tables hold positions in meta.csv, not case_num. 306 pictures have findings at
    odds with their diagnosis. Pictures have a frame: the literature crops 25 pixels.
    """
    table = find_table(files, ROW, "Derm7pt")
    notes = []
    if replaced := int(column(table, "notes").notna().sum()):
        notes.append(f"{replaced} cases have a dermoscopic picture in place of the clinical one (the table's `notes`).")
    cases = {
        "case_id": "derm7pt_" + table["case_num"].str.zfill(4),
        "image": files.find_all(table["clinic"], "images/{}"),
        "dermoscopy": files.find_all(table["derm"], "images/{}"),
        "modality": "clinical",
        "diagnosis": grouping(table["diagnosis"], DIAGNOSES, grouped),
        **{f"finding.{name}": grouping(table[name], classes, grouped) for name, classes in FINDINGS.items()},
        "lesion.localization": readable(table["location"]),
        "lesion.elevation": table["elevation"],
        "patient.sex": sex(table["sex"]),
        "split": official_split(files, len(table)),
        "source": "derm7pt",
        "licence": "academic research only",
    }
    return Reading(pd.DataFrame(cases), notes)


def grouping(column: pd.Series, groups: dict[str, tuple[str, ...]], grouped: bool) -> pd.Series:
    """The table's words -> the authors' groups (or the words themselves); raises ValueError for an unknown word."""
    kind = f"{column.name} of Derm7pt"
    return named(column, {word: group if grouped else word for group, words in groups.items() for word in words}, kind)


def official_split(files: Files, rows: int) -> pd.Series:
    """train, valid or test per row of meta.csv; null where no split table lies there."""
    split = pd.Series([None] * rows, dtype=object)
    for name in ("train", "valid", "test"):
        for path in (t for t in files.tables if t.stem.casefold() == f"{name}_indexes"):
            table = find_table(replace(files, tables=[path]), ("indexes",), "Derm7pt's split")
            positions = numbers(table["indexes"]).astype(int)
            if positions.max() >= rows or split[positions].notna().any():
                raise ValueError(f"{path} does not fit meta.csv: {rows} rows, indexes up to {positions.max()}.")
            split[positions] = name
    return split
