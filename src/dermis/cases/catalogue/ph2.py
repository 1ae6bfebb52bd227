"""PH² (Mendonça et al. 2013)."""

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import named
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.release import unlike_published
from dermis.cases.catalogue.table import read_table

DIAGNOSES = {"0": "common nevus", "1": "atypical nevus", "2": "melanoma"}
COLOURS = {"1": "white", "2": "red", "3": "light-brown", "4": "dark-brown", "5": "blue-gray", "6": "black"}
ASYMMETRY = {"0": "symmetric", "1": "in one axis", "2": "in both axes"}
CODES = {"A": "absent", "P": "present", "T": "typical", "AT": "atypical"}
FINDINGS = {
    "asymmetry": ("asymmetry", ASYMMETRY),
    "pigment network": ("pigment_network", CODES),
    "dots/globules": ("dots_and_globules", CODES),
    "streaks": ("streaks", CODES),
    "regression areas": ("regression_structures", CODES),
    "blue-whitish veil": ("blue_whitish_veil", CODES),
}
"""PH²'s criterion -> the name that it has in Derm7pt, and its codes in words"""
PUBLISHED = {"common nevus": 80, "atypical nevus": 80, "melanoma": 40}
PICTURE = "PH2 Dataset images/{0}/{0}_Dermoscopic_Image/{0}.bmp"


@reader("ph2")
def ph2(files: Files) -> Reading:
    """PH²: 200 dermoscopic pictures of melanocytic lesions, 3 diagnoses, with lesion masks and dermoscopic criteria.

    Source: Mendonça et al., IEEE EMBC 2013, 5437-5440; ADDI project, www.fc.up.pt/addi/ph2 database.html.

    Licence: research and education; no redistribution, no commercial use.

    Obtain: ask for it on the project's page; it is free for research and education.

    On disk: `PH2Dataset/` with `PH2_dataset.txt` or `PH2_dataset.xlsx` (either is enough) and
    `PH2 Dataset images/IMD003/IMD003_Dermoscopic_Image/IMD003.bmp`, the mask `IMD003_lesion/IMD003_lesion.bmp` beside.

    Columns: diagnosis (clinical: common nevus, atypical nevus, melanoma), mask; finding.asymmetry, pigment_network,
    dots_and_globules, streaks, regression_structures (regression areas), blue_whitish_veil; concept.white, red,
    light_brown, dark_brown, blue_gray, black (the colours of the lesion, 0 or 1). The masks of colours (`IMD013_roi`)
    are not read.

    Counts: common nevus 80, atypical nevus 80, melanoma 40.

    Group key: none, each picture is a group of its own; there are neither patient nor lesion ids.

    Traps: findings have Derm7pt's names, not its classes: streaks are absent or present here, regular or irregular
    there, and dots are typical or atypical. The histological diagnosis is given where a lesion was suspicious enough to
    be examined: it is a proxy of the label and is not imported. Skin is of Fitzpatrick type II or III; which, is not
    said. Both tables have other lines above or below the pictures' rows.
    """
    path = next((p for suffix in (".txt", ".csv", ".xlsx") for p in files.tables if is_table(p, suffix)), None)
    if path is None:
        raise ValueError(f"no table of PH² under {files.root}: PH2_dataset.txt or PH2_dataset.xlsx is needed.")
    table = criteria(path)
    colours = {name: colour(table, code, name) for code, name in COLOURS.items()}
    cases = {
        "case_id": table["name"],
        "image": files.find_all(table["name"], PICTURE),
        "mask": files.find_all(table["name"] + "_lesion"),
        "modality": "dermoscopic",
        "diagnosis": diagnosis(table),
        **{f"finding.{ours}": coded(table[theirs], codes) for theirs, (ours, codes) in FINDINGS.items()},
        **{f"concept.{name.replace('-', '_')}": values for name, values in colours.items()},
        "source": "ph2",
        "licence": "research and education only",
    }
    cases = pd.DataFrame(cases)
    found = cases["diagnosis"].value_counts().to_dict()
    return Reading(cases, unlike_published(found, PUBLISHED, "pictures are"))


def is_table(path: Path, suffix: str) -> bool:
    """Is it PH²'s table, in this format?"""
    return path.stem.casefold() == "ph2_dataset" and path.suffix.casefold() == suffix


def criteria(path: Path) -> pd.DataFrame:
    """The rows of the pictures, by the names of the columns in lower case; raises ValueError if there are none."""
    rows = piped(path) if path.suffix.casefold() == ".txt" else cells(path)
    words = [[first_line(cell) for cell in row] for row in rows]
    head = next((i for i, row in enumerate(words) if {"name", "image name"} & set(row)), None)
    if head is None:
        raise ValueError(f"{path} is no table of PH²: no line of it has a column Name or Image Name.")
    columns = ["name" if word == "image name" else word for word in words[head]]
    if lacking := [c for c in ("name", *FINDINGS) if c not in columns]:
        raise ValueError(f"{path} is no table of PH²: it lacks {', '.join(lacking)}.")
    padded = [[*row, *[""] * len(columns)][: len(columns)] for row in rows[head + 1 :]]
    table = pd.DataFrame(padded, columns=columns).astype(str).map(str.strip)
    return table[table["name"].str.fullmatch(r"IMD\d+")].reset_index(drop=True)


def piped(path: Path) -> list[list[str]]:
    """The text table: cells between | and ||, any of them empty; legends below it."""
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    inner = [re.sub(r"^\|\|?|\|\|?$", "", line.strip()) for line in lines if line.strip().startswith("|")]
    return [[cell.strip() for cell in re.split(r"\|\|?", line)] for line in inner]


def cells(path: Path) -> list[list[str]]:
    """The sheet: legends above, then the table, whose header has a second line in some cells."""
    sheet = read_table(path)
    return [list(sheet.columns), *sheet.astype(object).where(sheet.notna(), "").to_numpy().tolist()]


def first_line(cell: str) -> str:
    """``Streaks\\n(A/P)`` -> ``streaks``."""
    return re.split(r"[\n(]", str(cell))[0].strip().casefold()


def diagnosis(table: pd.DataFrame) -> pd.Series:
    """A code in the text table, a cross under one of three names in the sheet."""
    if "clinical diagnosis" in table:
        return named(table["clinical diagnosis"], DIAGNOSES, "diagnosis of PH²")
    crosses = table[list(DIAGNOSES.values())].ne("")
    if (several := crosses.sum(axis=1) != 1).any():
        raise ValueError(f"{table.loc[several.idxmax(), 'name']} has not one cross for its diagnosis in PH²'s sheet.")
    return crosses.idxmax(axis=1).astype(object)


def coded(column: pd.Series, codes: Mapping[str, str]) -> pd.Series:
    """Codes -> words; an empty cell is null; a number may end in .0, as spreadsheets write it."""
    bare = column.str.removesuffix(".0")
    return named(bare.where(bare != "", None), codes, f"{column.name} of PH²")


def colour(table: pd.DataFrame, code: str, name: str) -> pd.Series:
    """Is there this colour? Codes in one cell in the text table, a column of crosses per colour in the sheet."""
    if name in table:
        return table[name].ne("").astype(float)
    return table["colors"].str.split().map(lambda codes: code in codes).astype(float)
