"""SNU-134: the clinical photographs of Seoul National University that the zero-shot benchmarks test on."""

import re
from functools import cache
from pathlib import Path, PurePosixPath

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.given_split import SPLIT_NAMES
from dermis.cases.catalogue.labels import named
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.release import once, unlike_published
from dermis.cases.catalogue.table import read_table, tables_with
from dermis.language.prompts import class_list

NAME = re.compile(r"([a-z]+)_(\d+)")
"""epidermalcyst_11: the condition, a running number"""
SHORT = {
    "abnom": "abnormal", "subungalhematoma": "subungual hematoma",
    "confluentreticulatedpapillomatosis": "confluent and reticulated papillomatosis",
}  # fmt: skip
"""conditions that file names spell unlike the class list; the other 131 are the class's letters"""
PATHS = ("image_path", "filename")
PUBLISHED = {"pictures": 2101, "classes": 134}


@reader("snu134")
def snu134(files: Files) -> Reading:
    """SNU-134: 2,101 clinical photographs, 134 conditions, 10 to 63 of each.

    Source: Seoul National University, by way of the benchmarks of MAKE (github.com/SiyuanYan1/MAKE) and O-MAKE
    (github.com/XiejiLi/MAGEN-O-MAKE @ 92ece17, `meta/downstream/SNU-LP.csv`, where names, classes and split are from).
    Who first published the whole set, and where, is not known here: the authors' own list has 240 of its test pictures
    (figshare 6454973).

    Licence: not known.

    Obtain: with the data of the benchmarks, to which MAKE's README links (Google Drive); the table with the split is in
    O-MAKE's repository.

    On disk: pictures `<condition>_<number>.jpg` (`epidermalcyst_11.jpg`) in one folder or in many, and, where it is
    there, a table with `image_path` (O-MAKE) or `filename` (MAKE), whose rows are then the cases. Of several tables the
    one with the most of these names is taken, one with a split before one without.

    Columns: diagnosis (the condition in the file's name, as the class list `snu-134` calls it), split (the table's, if
    it has one: 1,470 train, 210 valid, 421 test in SNU-LP.csv).

    Counts: melanocytic nevus 63, actinic keratosis 50, seborrheic keratosis 50, malignant melanoma 49, dermatofibroma
    46, ...; 10 is the least; numbers run from 0 without gaps.

    Group key: none, each picture is a group of its own: the running number is within the condition, and nothing tells
    the patient.

    Traps: benchmarks test on all 2,101 pictures, and so include those that SNU-LP.csv trains on. "abnormal" is a class
    and no disease. The folder does not tell the class, the file's name does: do not rename files.
    """
    tables = [of_table(path, column) for column in PATHS for path in tables_with(files, (column,))]
    listed = [table for table in tables if table["known"].any()]
    table = max(listed, key=lambda t: (t["known"].sum(), t["split"].notna().any()), default=of_names(files.pictures))
    stems, of_set = table["stem"], table["stem"].str.fullmatch(NAME.pattern).astype(bool)
    if not of_set.any():
        raise ValueError(f"nothing of SNU-134 under {files.root}: its pictures are named like epidermalcyst_11.jpg.")
    stems, table = stems[of_set], table[of_set]
    cases = pd.DataFrame(
        {
            "case_id": stems,
            "image": files.find_all(table["path"].str.rsplit("/", n=1).str[-1], "{}"),
            "modality": "clinical",
            "diagnosis": named(stems.str.rpartition("_")[0], conditions(), "condition in a file name of SNU-134"),
            "split": named(table["split"], SPLIT_NAMES, "split of SNU-134"),
            "source": "snu134",
            "licence": "not known",
        }
    )
    cases, twice = once(cases)
    other = int((~of_set).sum())
    notes = [f"{other} pictures are not named like epidermalcyst_11 and are left out."] if other else []
    found = {"pictures": len(cases), "classes": cases["diagnosis"].nunique()}
    return Reading(cases, notes + twice + unlike_published(found, PUBLISHED))


def of_table(path: Path, column: str) -> pd.DataFrame:
    """``of_names`` of a table's column, with its split."""
    table = read_table(path).rename(columns=str.casefold).dropna(subset=column)
    return of_names(table[column].to_list(), table["split"].to_list() if "split" in table else None)


def of_names(paths: list[str], split: list[str] | None = None) -> pd.DataFrame:
    """Per path its name without extension, in lower case (``stem``), and whether it begins with a known condition."""
    stems = [PurePosixPath(path.replace("\\", "/")).stem.casefold() for path in paths]
    known = [stem.rpartition("_")[0] in conditions() for stem in stems]
    return pd.DataFrame({"path": paths, "stem": stems, "known": known, "split": split}).astype({"split": object})


@cache
def conditions() -> dict[str, str]:
    """Condition in a file's name -> class of the list."""
    return {re.sub("[^a-z]", "", name): name for name in class_list("snu-134")} | SHORT
