"""ISIC 2020 (SIIM-ISIC) challenge."""

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import readable, sex
from dermis.cases.catalogue.missing import numbers
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import find_table

ROW = (
    "image_name",
    "patient_id",
    "sex",
    "age_approx",
    "anatom_site_general_challenge",
    "diagnosis",
    "benign_malignant",
)


@reader("isic2020")
def isic2020(files: Files, binary: bool = False) -> Reading:
    """ISIC 2020: 33,126 dermoscopic pictures of 2,056 patients, 584 melanomas.

    Source: Rotemberg et al., Scientific Data 8, 34 (2021); challenge2020.isic-archive.com, Kaggle
    siim-isic-melanoma-classification.

    Licence: CC BY-NC 4.0.

    Obtain: download the files of 2020 from challenge.isic-archive.com/data, or join the competition on Kaggle: `kaggle
    competitions download siim-isic-melanoma-classification`. `isic image download --collections 70 FOLDER` brings the
    pictures, with another table than the one that is read here.

    On disk: `train.csv` or `ISIC_2020_Training_GroundTruth[_v2].csv` (v2 adds lesion_id); pictures `train/*.jpg`, or
    `train/*.dcm` with `pip install 'dermis[dicom]'`; where both are there, the JPEGs are taken.

    Columns: diagnosis (`binary=True`: benign or malignant, in every row), finding.malignancy (the same: the challenge's
    target), patient_id, lesion_id, lesion.localization, patient.age, patient.sex.

    Counts: 32,542 benign, 584 malignant; diagnosis known in 6,002 rows (nevus 5193, melanoma 584, seborrheic keratosis
    135, lentigo NOS 44, lichenoid keratosis 37, solar lentigo 7, two single ones), "unknown" in 27,124.

    Group key: patient_id.

    Traps: a diagnosis of "unknown" is null here, though all those rows are benign: `binary=True` is the challenge's
    task. The organisers publish a list of duplicates (ISIC_2020_Training_Duplicates.csv); `dermis check`
    finds near-duplicates across splits. The test set has no labels.
    """
    table = find_table(files, ROW, "ISIC 2020")
    cases = {
        "case_id": table["image_name"],
        "patient_id": table["patient_id"],
        "lesion_id": table.get("lesion_id"),
        "image": files.find_all(table["image_name"], "train/{}.jpg"),
        "modality": "dermoscopic",
        "diagnosis": table["benign_malignant" if binary else "diagnosis"],
        "finding.malignancy": table["benign_malignant"],
        "lesion.localization": readable(table["anatom_site_general_challenge"]),
        "patient.age": numbers(table["age_approx"]),
        "patient.sex": sex(table["sex"]),
        "source": "isic2020",
        "licence": "CC BY-NC 4.0",
    }
    return Reading(pd.DataFrame(cases), [])
