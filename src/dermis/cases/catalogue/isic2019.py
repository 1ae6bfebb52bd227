"""ISIC 2019 challenge."""

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import ISIC_CLASSES, one_hot, readable, sex
from dermis.cases.catalogue.missing import numbers
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import column, find_table, tables_with

LABELS = ("image", "MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
METADATA = ("image", "age_approx", "anatom_site_general", "sex")


@reader("isic2019")
def isic2019(files: Files, part: str | None = None) -> Reading:
    """ISIC 2019: 25,331 dermoscopic pictures, 8 classes (HAM10000, BCN20000 and MSK together).

    Source: Tschandl et al. 2018, Codella et al. 2018 (arXiv:1710.05006), Combalia et al. 2019 (arXiv:1908.02288);
    challenge.isic-archive.com.

    Licence: CC BY-NC 4.0.

    Obtain: download the files of 2019 from challenge.isic-archive.com/data; no account is needed. `isic image download
    --collections 65 FOLDER` (72: test) brings the pictures, without the challenge's tables.

    On disk: `ISIC_2019_Training_GroundTruth.csv`, `ISIC_2019_Training_Metadata.csv`, pictures in
    `ISIC_2019_Training_Input/`; `part="test"` reads the tables with Test in the name.

    Columns: diagnosis (one-hot columns; UNK is null), lesion_id, lesion.localization (anatom_site_general),
    patient.age, patient.sex; source with the collection that the lesion_id names.

    Counts: nevus 12875, melanoma 4522, basal cell carcinoma 3323, benign keratosis 2624, actinic keratosis 867,
    squamous cell carcinoma 628, vascular 253, dermatofibroma 239; 11,847 lesion ids.

    Group key: lesion_id; 2,084 pictures have none and are groups of their own. No patient id.

    Traps: holds all 10,015 pictures of HAM10000: never one for training and the other for testing. 2,074 ids end in
    `_downsampled`, in the table and in the official file names; copies from the ISIC archive lack that ending and are
    found too. The test tables have no lesion_id.
    """
    table = find_table(files, METADATA, "ISIC 2019", part)
    if tables_with(files, LABELS, part):
        labels = find_table(files, LABELS, "ISIC 2019", part)
        table = table.merge(labels, on="image", how="left", validate="one_to_one")
    lesions = column(table, "lesion_id")
    collection = lesions.str.extract(r"^([^_]+)", expand=False).str.casefold()
    folder = "ISIC_2019_Test_Input" if part == "test" else "ISIC_2019_Training_Input"
    found = files.find_all(table["image"])
    short = files.find_all(table["image"].str.removesuffix("_downsampled"))
    cases = {
        "case_id": table["image"],
        "lesion_id": lesions,
        "image": found.fillna(short).fillna(folder + "/" + table["image"] + ".jpg"),
        "modality": "dermoscopic",
        "diagnosis": one_hot(table, ISIC_CLASSES) if "MEL" in table else None,
        "lesion.localization": readable(table["anatom_site_general"]),
        "patient.age": numbers(table["age_approx"]),
        "patient.sex": sex(table["sex"]),
        "source": ("isic2019/" + collection).fillna("isic2019"),
        "licence": "CC BY-NC 4.0",
    }
    return Reading(pd.DataFrame(cases), [])
