"""MSLD: Monkeypox Skin Lesion Dataset, version 1 (Ali et al. 2022)."""

import re

import pandas as pd

from dermis.cases.catalogue.augmented import letters, only, parts_unlike_published
from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.given_split import SPLIT_NAMES
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import read_table, tables_with
from dermis.registry import unknown

CLASSES = {
    "monkeypox": "monkeypox", "mpox": "monkeypox", "others": "others", "other": "others", "nonmonkeypox": "others",
    "nonmpox": "others",
}  # fmt: skip
"""a class folder's name, letters only -> class"""
PUBLISHED = {"original": {"monkeypox": 102, "others": 126}, "augmented": {"monkeypox": 1428, "others": 1764}}
VERSION_2 = {"chickenpox", "cowpox", "measles", "healthy", "hfmd"}
PICTURE = re.compile(r"((N?M\d+)_\d+)(?:_.+)?")
"""M01_02 and its copies M01_02_00, M01_02_01, …: the original, its patient"""
PLACES = ("original", "augmented", "fold1")
"""how the names of the release's three folders start; of a picture in several the first counts"""


@reader("msld")
def msld(files: Files, part: str = "all") -> Reading:
    """MSLD, version 1: 228 web-scraped photographs, monkeypox or others, with 3,192 augmented copies.

    Source: Ali et al. 2022 (arXiv:2207.03342); Kaggle nafin59/monkeypox-skin-lesion-dataset.

    Licence: MIT in the authors' repository; the pictures are from news portals, websites and case reports, and belong
    to these.

    Obtain: from Kaggle, `kaggle datasets download nafin59/monkeypox-skin-lesion-dataset` (an account is needed).

    On disk: `Original Images/`, `Augmented Images/` (each with two class folders: `Monkey Pox` and `Others`,
    `Monkeypox_augmented` and `Others_augmented`), `Fold1/` with `Train`, `Val` and `Test` above two class folders;
    loose or in zip files, any of them nested in folders of its own name or missing. Originals are named by patient and
    picture (`M01_02.jpg`, `NM01_01.jpg` of the others), copies by a number more (`M01_02_00.jpg`).
    `Monkeypox_Dataset_metadata.csv` (ImageID, Label: 1 is monkeypox), where it is there, is compared with the folders.

    Columns: diagnosis (the class folder: monkeypox or others), patient_id and origin_id (from the name), split (from
    Fold1, where it is there: the authors' 70:10:20 with no patient on two sides). `part="original"` or
    `part="augmented"` leaves the rest out.

    Counts: originals: monkeypox 102 of 55 patients, others 126 of 107; copies: 1,428 and 1,764, 14 of each original.
    Fold1: 2,142 copies of 153 originals train, 420 of 30 validate, 45 originals test (monkeypox 20, others 25).

    Group key: patient_id; copies carry the patient and, as origin_id, the original's case_id.

    Traps: originals are in train and valid here too, beside their copies. Copies of the test originals, which Fold1
    leaves out, have no split. Folds and fine-tuning learn from copies, and choose and score on originals. Of the
    authors' three folds one is published. M2CG says 3,152 copies; its figures fit five tests of 20 + 25 originals.
    Others are chickenpox and measles; which is which is not said. Version 2.0 (755 pictures, 6 classes) is another
    layout, which `msld2` reads.
    """
    pictures = files.placed()
    folders = pictures["folders"].map(lambda names: [name.casefold() for name in names])
    if found := sorted(VERSION_2 & {name for names in folders for name in names}):
        raise ValueError(
            f"{files.root} has pictures of {', '.join(found)}: it looks like MSLD 2.0 or another set of pox pictures, "
            "and `msld` reads version 1, monkeypox and others. Try `msld2`, or `folder`."
        )
    pictures["place"] = [next((p for p in PLACES if any(n.startswith(p) for n in names)), None) for names in folders]
    elsewhere = int(pictures["place"].isna().sum())
    pictures = pictures[pictures["place"].notna()].sort_values(
        "place", key=lambda p: p.map(PLACES.index), kind="stable"
    )
    if pictures.empty:
        raise ValueError(
            f"no pictures of MSLD under {files.root}: it has `Original Images`, `Augmented Images`, `Fold1`."
        )
    names = pictures["stem"].str.upper()
    parts = names.str.extract(f"^{PICTURE.pattern}$")
    strange = pictures["place"].eq("augmented") & parts[0].isna() & names.str.contains("_")
    origin = parts[0].fillna(names.mask(strange, names.str.rpartition("_")[0]))
    cases = pd.DataFrame(
        {
            "case_id": names,
            "patient_id": parts[1],
            "origin_id": origin,
            "image": pictures["image"],
            "modality": "clinical",
            "diagnosis": pictures["folders"].map(class_of),
            "split": origin.map(fold1(origin, folders[pictures.index])),
            "source": "msld",
            "licence": "MIT (authors' repository)",
        }
    )
    if (several := cases.groupby("case_id")["diagnosis"].nunique().gt(1)).any():
        raise ValueError(f"{several.idxmax()} lies in the folders of both classes.")
    cases = cases.drop_duplicates("case_id").sort_index().reset_index(drop=True)
    cases["split"] = cases["split"].mask(cases["split"].eq("test") & cases["origin_id"].ne(cases["case_id"]), None)
    notes = [f"{elsewhere} pictures are in none of MSLD's three folders and are left out."] if elsewhere else []
    if (nobody := cases["patient_id"].isna()).any():
        example = cases.loc[nobody.idxmax(), "case_id"]
        notes.append(
            f"{int(nobody.sum())} pictures are not named like M01_02 or NM01_01 ({example}): no patient is known."
        )
    notes += [*parts_unlike_published(cases, PUBLISHED), *at_odds(cases, files)]
    cases, more = only(cases, part)
    return Reading(cases, notes + more)


def class_of(folders: list[str]) -> str:
    """The class that the innermost folder names; raises ValueError if it names none."""
    if (name := letters(folders[-1])) not in CLASSES:
        raise unknown("class folder of MSLD", folders[-1], ("Monkey Pox", "Others"))
    return CLASSES[name]


def fold1(origin: pd.Series, folders: pd.Series) -> dict[str, str]:
    """Original -> the side of Fold1 that it or a copy of it lies on; raises ValueError for one on two sides."""
    sides = folders.map(lambda names: next((SPLIT_NAMES[n] for n in names if n in SPLIT_NAMES), None)).dropna()
    several = sides.groupby(origin).nunique()
    if (several > 1).any():
        raise ValueError(f"Fold1 has {several.idxmax()} and its copies in more than one of Train, Val and Test.")
    return sides.groupby(origin).first().to_dict()


def at_odds(cases: pd.DataFrame, files: Files) -> list[str]:
    """A note where the table of labels, if there is one, and the folders of originals disagree."""
    notes = []
    for path in tables_with(files, ("ImageID", "Label"))[:1]:
        table = read_table(path).rename(columns=str.casefold)
        label = (
            table["label"].map({"1": "monkeypox", "0": "others"}).groupby(table["imageid"].str.upper()).first().dropna()
        )
        originals = cases[cases["origin_id"] == cases["case_id"]].set_index("case_id")["diagnosis"]
        both = originals.index.intersection(label.index)
        if wrong := int((originals[both] != label[both]).sum()):
            notes.append(f"{path.name} gives {wrong} originals another class than their folder, which is taken.")
        if absent := len(label.index.difference(originals.index)):
            notes.append(f"{path.name} lists {absent} originals that are not on disk.")
    return notes
