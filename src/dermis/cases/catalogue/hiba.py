"""HIBA: Hospital Italiano de Buenos Aires, Skin Lesions Images (Ricci Lara et al. 2023)."""

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import fitzpatrick, readable, sex
from dermis.cases.catalogue.missing import numbers
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import find_table

HOSPITAL = "Hospital Italiano de Buenos Aires"
ROW = ("isic_id", "patient_id", "lesion_id", "image_type", "fitzpatrick_skin_type", "personal_hx_mm", "family_hx_mm")
NAMES = {
    "solar or actinic keratosis": "actinic keratosis",
    "melanoma, nos": "melanoma",
    "squamous cell carcinoma, nos": "squamous cell carcinoma",
    "lichen planus like keratosis": "lichenoid keratosis",
    "benign soft tissue proliferations - vascular": "vascular",
    "vascular lesion": "vascular",
}
"""the archive's names, of today and of before 2024, in lower case -> those of the published class lists"""


@reader("hiba")
def hiba(files: Files) -> Reading:
    """HIBA: 1,616 dermoscopic and clinical pictures of 623 patients in Argentina, 10 diagnoses.

    Source: Ricci Lara et al., Scientific Data 10, 712 (2023); ISIC archive collection 251, doi 10.34970/587329.

    Licence: CC BY; each picture's own is in the licence column.

    Obtain: `isic image download --collections 251 FOLDER` with the ISIC archive's client, isic-cli; no account is
    needed.

    On disk: `metadata.csv` beside `<isic_id>.jpg`, as `isic image download --collections 251 FOLDER` leaves it, or the
    archive's zip file with its table beside it.

    Columns: diagnosis (diagnosis; in newer tables the finest that diagnosis_2 and diagnosis_3 say), finding.malignancy
    (benign_malignant or diagnosis_1), patient_id, lesion_id, lesion.localization (anatom_site_general; in newer tables
    anatom_site_2, else 1), lesion.anatom_site_special, lesion.dermoscopic_type; patient.age, patient.sex,
    patient.fitzpatrick, patient.personal_hx_mm, patient.family_hx_mm (melanoma in the patient, in the family: True or
    False); skin_tone; modality (dermoscopic or clinical, from image_type).

    Counts: 1,270 dermoscopic pictures, 346 clinical; 1,246 lesion ids, 623 patients. The older collection 175 (doi
    10.34970/559884) has 1,635 pictures, 871 benign and 764 malignant, and is read as well.

    Group key: patient_id.

    Traps: diagnosis_confirm_type and concomitant_biopsy are proxies of the label and are not imported, nor is
    melanocytic. Actinic keratosis was benign in benign_malignant and is indeterminate in diagnosis_1. A photograph and
    a dermoscopy of one lesion are two rows with one lesion_id. Names of sites differ between older tables (posterior
    torso) and newer ones: do not mix them in one training. Of 308 photographed lesions 258 are on Fitzpatrick type II,
    none above III. The older collection holds two pictures twice, as different patients: run `dermis check`.
    """
    table = find_table(files, ROW, "HIBA", usually="metadata")
    skin = fitzpatrick(table["fitzpatrick_skin_type"])
    cases = {
        "case_id": table["isic_id"],
        "patient_id": table["patient_id"],
        "lesion_id": table["lesion_id"],
        "image": files.find_all(table["isic_id"], "{}.jpg"),
        "modality": finest(table, "image_type").map(lambda kind: kind.split(":")[0], na_action="ignore"),
        "diagnosis": finest(table, "diagnosis", "diagnosis_3", "diagnosis_2").replace(NAMES),
        "finding.malignancy": finest(table, "benign_malignant", "diagnosis_1"),
        "skin_tone": skin,
        "lesion.localization": finest(table, "anatom_site_general", "anatom_site_2", "anatom_site_1"),
        "lesion.anatom_site_special": finest(table, "anatom_site_special"),
        "lesion.dermoscopic_type": finest(table, "dermoscopic_type"),
        "patient.age": numbers(finest(table, "age_approx")),
        "patient.sex": sex(finest(table, "sex")),
        "patient.fitzpatrick": numbers(skin),
        "patient.personal_hx_mm": table["personal_hx_mm"].map(str.capitalize, na_action="ignore"),
        "patient.family_hx_mm": table["family_hx_mm"].map(str.capitalize, na_action="ignore"),
        "source": "hiba",
        "licence": table.get("copyright_license", "CC BY"),
    }
    return Reading(pd.DataFrame(cases), others(table))


def finest(table: pd.DataFrame, *columns: str) -> pd.Series:
    """In each row the first of ``columns`` that says something, in lower case; null where the table has none."""
    found = pd.Series([None] * len(table), index=table.index, dtype=object, name=columns[0])
    for column in (c for c in columns if c in table):
        found = found.where(found.notna(), readable(table[column]))
    return found


def others(table: pd.DataFrame) -> list[str]:
    """A note for a table with pictures of somebody else, as a download without a collection has them."""
    if "attribution" not in table:
        return []
    foreign = int((table["attribution"] != HOSPITAL).sum())
    return [f"{foreign} of {len(table)} pictures are not from the {HOSPITAL}, by their attribution."] if foreign else []
