"""MSLD, version 2: Mpox Skin Lesion Dataset (Ali et al. 2024)."""

import re

import pandas as pd

from dermis.cases.catalogue.augmented import letters, only, parts_unlike_published
from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.given_split import SPLIT_NAMES
from dermis.cases.catalogue.reader import Reading, reader
from dermis.registry import unknown

CLASSES = {
    "monkeypox": "monkeypox", "mpox": "monkeypox", "chickenpox": "chickenpox", "cowpox": "cowpox",
    "measles": "measles", "hfmd": "hand foot and mouth disease", "healthy": "healthy",
}  # fmt: skip
"""a class folder's name, letters only -> class"""
CODES = {
    "MKP": "monkeypox", "CHP": "chickenpox", "CWP": "cowpox", "MSL": "measles", "HFMD": "hand foot and mouth disease",
    "HEALTHY": "healthy",
}  # fmt: skip
"""what a picture's name starts with -> class"""
PICTURE = re.compile(r"((([A-Z]+)_\d+)_\d+)(?:_.+)?")
"""MKP_17_01 and its copies MKP_17_01_…: the original, its patient, the class"""
FOLDER = re.compile(r"fold[ _]?(\d+)(?:_aug)?")
AUGMENTED = re.compile(r"augmented.*|.*_aug")
"""folders of copies: Augmented Images, FOLDS_AUG, fold1_AUG"""
PUBLISHED = {
    "monkeypox": 284, "hand foot and mouth disease": 161, "healthy": 114, "chickenpox": 75, "cowpox": 66, "measles": 55,
}  # fmt: skip


@reader("msld2")
def msld2(files: Files, fold: int = 1, part: str = "all") -> Reading:
    """MSLD, version 2: 755 web-scraped photographs of 541 patients, 5 diseases and healthy skin, with copies.

    Source: Ali et al., Biomedical Signal Processing and Control 98, 106742 (2024), arXiv:2306.14169;
    github.com/mHealthBuet/Mpox-Skin-Lesion-Dataset-v2 @ 136f1d2.

    Licence: the authors' README shows a Creative Commons badge and does not say which; the pictures are from news
    portals, websites and journals, and belong to these.

    Obtain: from Kaggle, `kaggle datasets download joydippaul/mpox-skin-lesion-dataset-version-20-msld-v20` (an account
    is needed), or from the Google Drive that the README names.

    On disk: `Original Images/FOLDS/fold<k>/{Train,Valid,Test}/<class>` and `Augmented Images/FOLDS_AUG/fold<k>_AUG/
    Train/<class>`, k from 1 to 5; loose or in zip files, any of them nested in folders of its own name. Pictures are
    named by class, patient and number (`MKP_17_01.jpg`).

    Columns: diagnosis (the class folder), patient_id and origin_id (from the name), split (the side of the fold).
    `fold=2` reads another fold, its originals and its copies; `part="original"` or `part="augmented"` leaves the rest
    out.

    Counts: originals and patients: monkeypox 284 of 143, hand foot and mouth disease 161 of 144, healthy 114 of 105,
    chickenpox 75 of 62, cowpox 66 of 41, measles 55 of 46; about 14 copies of each original of a train side.

    Group key: patient_id (class and number); copies carry the patient and, as origin_id, the original's case_id.

    Traps: every original lies there five times, once a fold, so all folders together are no data set: one fold is
    read. Copies of a fold are of its own train side; those of another fold would leak. Whether the folds keep patients
    together is not said; a note says so if one tears a patient apart. Numbers of patients start anew in each class.
    How copies are named is not said: what follows the original's name is taken for the copy's. Version 2 grew out of
    version 1: look for overlap before testing one on the other. `datalog.xlsx`, the folds' lists, is not read.
    """
    pictures = files.placed()
    folds = pictures["folders"].map(fold_of)
    if not (there := sorted(set(folds.dropna()))):
        raise ValueError(
            f"no folds of MSLD 2 under {files.root}: it has `FOLDS/fold1` and `FOLDS_AUG/fold1_AUG` with the folders "
            "Train, Valid and Test. Version 1 is read by `msld`."
        )
    if str(fold) not in there:
        raise unknown("fold of MSLD 2", fold, there)
    pictures = pictures[folds == str(fold)]
    copy = pictures["folders"].map(lambda names: any(AUGMENTED.fullmatch(name.casefold()) for name in names))
    names = pictures["stem"].str.upper()
    parts = names.str.extract(f"^{PICTURE.pattern}$")
    origin = parts[0].fillna(names)
    cases = pd.DataFrame(
        {
            "case_id": names.mask(copy, "AUG/" + names),
            "patient_id": parts[1],
            "origin_id": origin,
            "image": pictures["image"],
            "modality": "clinical",
            "diagnosis": pictures["folders"].map(class_of),
            "split": pictures["folders"].map(side_of),
            "source": "msld2",
            "licence": "Creative Commons, which is not known",
        }
    )
    cases = cases.drop_duplicates(["case_id", "split", "diagnosis"]).reset_index(drop=True)
    for column, where in (("diagnosis", "classes"), ("split", "sides")):
        if (several := cases.groupby("origin_id")[column].nunique().gt(1)).any():
            raise ValueError(f"fold {fold} has {several.idxmax()} and its copies in more than one of the {where}.")
    notes = []
    if (nobody := cases["patient_id"].isna()).any():
        example = cases.loc[nobody.idxmax(), "case_id"]
        notes.append(f"{int(nobody.sum())} pictures are not named like MKP_17_01 ({example}): no patient is known.")
    told = cases["patient_id"].str.split("_").str[0].map(CODES)
    if odd := int((told.notna() & told.ne(cases["diagnosis"])).sum()):
        notes.append(f"the names of {odd} pictures say another class than their folder, which is taken.")
    notes += parts_unlike_published(cases, {"original": PUBLISHED})
    cases, more = only(cases, part)
    return Reading(cases, notes + more)


def fold_of(folders: list[str]) -> str | None:
    """The number of the innermost folder that is a fold; None where none is."""
    return next((match[1] for name in reversed(folders) if (match := FOLDER.fullmatch(name.casefold()))), None)


def side_of(folders: list[str]) -> str | None:
    """train, valid or test, by the last folder that says so; None if none does."""
    return next((SPLIT_NAMES[n] for n in map(str.casefold, reversed(folders)) if n in SPLIT_NAMES), None)


def class_of(folders: list[str]) -> str:
    """The class of the innermost folder; raises ValueError if that is none."""
    if (name := letters(folders[-1])) not in CLASSES:
        raise unknown("class folder of MSLD 2", folders[-1], CLASSES)
    return CLASSES[name]
