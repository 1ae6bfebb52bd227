"""HAM10000 (Tschandl et al. 2018)."""

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import ISIC_CLASSES, named, readable, sex
from dermis.cases.catalogue.missing import numbers
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import column, find_table


@reader("ham10000")
def ham10000(files: Files) -> Reading:
    """HAM10000: 10,015 dermoscopic pictures of pigmented lesions, 7 classes.

    Source: Tschandl, Rosendahl & Kittler, Scientific Data 5, 180161 (2018); Harvard Dataverse DBW86T, Kaggle.

    Licence: CC BY-NC 4.0.

    Obtain: from Harvard Dataverse, doi 10.7910/DVN/DBW86T, or Kaggle, `kaggle datasets download
    kmader/skin-cancer-mnist-ham10000`. `isic image download --collections 212 FOLDER` brings the pictures, with another
    table than the one that is read here.

    On disk: `HAM10000_metadata` (.csv, .tab or no extension; with or without the column `dataset`); pictures in
    `HAM10000_images_part_1` and `_part_2`, in one folder, or in zip files left as they are; masks
    `<image_id>_segmentation.png` anywhere below, where there are any.

    Columns: diagnosis (dx), lesion_id, lesion.localization, patient.age (5-year steps), patient.sex, mask, source
    (with `dataset` where the table has it).

    Counts: nevus 6705, melanoma 1113, benign keratosis 1099, basal cell carcinoma 514, actinic keratosis 327,
    vascular 142, dermatofibroma 115; 7,470 lesions, 1,956 of them with two or more pictures; sex unknown 57, age 57,
    localization 234.

    Group key: lesion_id; there is no patient id.

    Traps: `dx_type` (how the diagnosis was confirmed) is a proxy of the label and is not imported. The published ISIC
    2018 train/valid split tears 725 lesions apart. All of HAM10000 is inside ISIC 2018 and ISIC 2019. Near-duplicates
    across lesion ids remain. No split is given; pass one with `split=` (its `val` becomes `valid`).
    """
    table = find_table(
        files, ("image_id", "lesion_id", "dx", "age", "sex", "localization"), "HAM10000", usually="metadata"
    )
    ids = table["image_id"]
    cases = {
        "case_id": ids,
        "lesion_id": table["lesion_id"],
        "image": files.find_all(ids, "{}.jpg"),
        "mask": files.find_all(ids + "_segmentation"),
        "modality": "dermoscopic",
        "diagnosis": named(table["dx"], ISIC_CLASSES, "diagnosis of HAM10000"),
        "lesion.localization": readable(table["localization"]),
        "patient.age": numbers(table["age"]),
        "patient.sex": sex(table["sex"]),
        "source": ("ham10000/" + column(table, "dataset")).fillna("ham10000"),
        "licence": "CC BY-NC 4.0",
    }
    return Reading(pd.DataFrame(cases), [])
