"""ISIC 2018 challenge, task 3: diagnosis."""

from dataclasses import replace

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import ISIC_CLASSES, one_hot
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.release import unlike_published
from dermis.cases.catalogue.table import find_table, read_table, tables_with
from dermis.registry import unknown

LABELS = ("image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
PARTS = {"training": "train", "validation": "valid", "test": "test"}
"""what the tables' names say -> split"""
PUBLISHED = {"train": 10015, "valid": 193, "test": 1512}


@reader("isic2018_task3")
def isic2018_task3(files: Files, part: str = "all") -> Reading:
    """ISIC 2018, task 3: HAM10000 as the challenge has it, with its validation and test pictures, 7 classes.

    Source: Codella et al. 2019 (arXiv:1902.03368), Tschandl et al., Scientific Data 5, 180161 (2018);
    challenge.isic-archive.com.

    Licence: CC BY-NC 4.0.

    Obtain: download the task 3 files of 2018 from challenge.isic-archive.com/data; no account is needed. The lesion
    ids are a file of their own there, "Lesion Groupings". `isic image download --collections 66 FOLDER` (67: test, 73:
    validation) brings the pictures, with a table that this reader does not take.

    On disk: `ISIC2018_Task3_Training_GroundTruth.csv`, `_Validation_` and `_Test_` (any of them), pictures in
    `ISIC2018_Task3_Training_Input/`, `_Validation_`, `_Test_`; `ISIC2018_Task3_Training_LesionGroupings.csv` or
    HAM10000's metadata, where one of them is there.

    Columns: diagnosis (one-hot columns), lesion_id, split (training, validation or test, from the table's name).
    `part="training"`, `"validation"` or `"test"` reads one table only.

    Counts: 10,015 train (as HAM10000), 193 valid, 1,512 test (nevus 909, benign keratosis 217, melanoma 171, basal cell
    carcinoma 93, dermatofibroma 44, actinic keratosis 43, vascular 35); valid by class is not known.

    Group key: lesion_id; without a table of lesions, as for validation and test, each picture is a group of its own.

    Traps: training is HAM10000, picture by picture, and all of it is in ISIC 2019: never train on one and test on the
    other. Whether a lesion of training is in validation or test, too, the files do not say. A split of training into
    8,012 and 2,003 pictures that is going round tears 725 lesions apart. diagnosis_confirm_type in the table of lesions
    is a proxy of the label and is not imported. Age, sex and site are in HAM10000's own table (`ham10000`).
    """
    if part not in ("all", *PARTS):
        raise unknown("part", part, ("all", *PARTS))
    tables = {}
    for path in tables_with(files, LABELS):
        side = next((p for p in PARTS if p in path.name.casefold()), None)
        if part in ("all", side):
            tables.setdefault(side, find_table(replace(files, tables=[path]), LABELS, "ISIC 2018 task 3"))
    if not tables:
        wanted = "the ground truth" if part == "all" else f"the ground truth of {part}"
        raise ValueError(
            f"{wanted} of ISIC 2018 task 3 is not under {files.root}: a table with the columns {', '.join(LABELS)}."
        )
    table = pd.concat([labels.assign(split=PARTS.get(side)) for side, labels in tables.items()], ignore_index=True)
    folder = table["split"].map({split: f"ISIC2018_Task3_{p.title()}_Input" for p, split in PARTS.items()})
    usual = folder.fillna("images") + "/" + table["image"] + ".jpg"
    cases = {
        "case_id": table["image"],
        "lesion_id": table["image"].map(lesions(files)),
        "image": files.find_all(table["image"]).fillna(usual),
        "modality": "dermoscopic",
        "diagnosis": one_hot(table, ISIC_CLASSES),
        "split": table["split"],
        "source": "isic2018_task3",
        "licence": "CC BY-NC 4.0",
    }
    found = table["split"].value_counts().to_dict()
    published = {side: PUBLISHED[side] for side in found}
    return Reading(pd.DataFrame(cases), unlike_published(found, published, "pictures are"))


def lesions(files: Files) -> dict[str, str]:
    """Picture -> lesion, from the challenge's table of lesions and from HAM10000's own, as far as they are there."""
    known: dict[str, str] = {}
    for column in ("image", "image_id"):
        for path in tables_with(files, (column, "lesion_id")):
            table = read_table(path).rename(columns=str.casefold)
            known |= dict(zip(table[column], table["lesion_id"], strict=True))
    return known
