"""PAD-UFES-20 (Pacheco et al. 2020)."""

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import fitzpatrick, named, readable, sex
from dermis.cases.catalogue.missing import numbers
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import find_table

CLASSES = {
    "ACK": "actinic keratosis",
    "BCC": "basal cell carcinoma",
    "MEL": "melanoma",
    "NEV": "nevus",
    "SCC": "squamous cell carcinoma",
    "SEK": "seborrheic keratosis",
}
LESION_FLAGS = ("itch", "grew", "hurt", "changed", "bleed", "elevation")
PATIENT_FLAGS = (
    "smoke", "drink", "pesticide", "skin_cancer_history", "cancer_history", "has_piped_water", "has_sewage_system",
)  # fmt: skip
BACKGROUNDS = ("background_father", "background_mother")
DIAMETERS = ("diameter_1", "diameter_2")
ROW = (
    "img_id", "patient_id", "lesion_id", "diagnostic", "region", "age", "gender", "fitspatrick", *DIAMETERS,
    *LESION_FLAGS, *BACKGROUNDS, *PATIENT_FLAGS,
)  # fmt: skip


@reader("pad-ufes-20")
def pad_ufes_20(files: Files) -> Reading:
    """PAD-UFES-20: 2,298 smartphone photographs of lesions with 21 columns of patient and lesion data, 6 classes.

    Source: Pacheco et al., Data in Brief 32, 106221 (2020); Mendeley Data zr7vgbcyr2.

    Licence: CC BY 4.0.

    Obtain: download it from data.mendeley.com/datasets/zr7vgbcyr2; no account is needed.

    On disk: `metadata.csv`; pictures in `imgs_part_1`, `_2`, `_3` or in one folder `images`, as .png or re-encoded.
    Where such folders exist, pictures elsewhere below are not used (re-cut copies carry the same names).

    Columns: diagnosis (diagnostic); lesion.localization (region), lesion.diameter_1, lesion.diameter_2 (mm),
    lesion.itch, grew, hurt, changed, bleed, elevation; patient.age, sex, smoke, drink, background_father,
    background_mother, pesticide, skin_cancer_history, cancer_history, has_piped_water, has_sewage_system,
    fitzpatrick; skin_tone. Yes/no columns hold "True", "False" or null ("UNK", empty).

    Counts: basal cell carcinoma 845, actinic keratosis 730, nevus 244, seborrheic keratosis 235, squamous cell
    carcinoma 192, melanoma 52; 1,373 patients.

    Group key: patient_id.

    Traps: the table's lesion_id is not unique: 250 of its 1,641 values belong to two patients each, with different
    diagnoses, so lesion_id here is patient and lesion together (1,891 lesions). Most patient columns are empty in 804
    rows, all of them actinic keratosis, nevus or seborrheic keratosis: that something is missing tells about the
    label. `biopsed` is a proxy of the label and is not imported. Pen marks surround many biopsied lesions. BRASIL is
    BRAZIL. No split is given.
    """
    table = find_table(files, ROW, "PAD-UFES-20", usually="metadata")
    own_folders = files.within("imgs_part", "images")
    pictures = own_folders if own_folders.pictures else files
    names = table["img_id"]
    cases = {
        "case_id": names.str.rsplit(".", n=1).str[0],
        "patient_id": table["patient_id"],
        "lesion_id": table["patient_id"] + "_" + table["lesion_id"],
        "image": pictures.find_all(names, "{}"),
        "modality": "clinical",
        "diagnosis": named(table["diagnostic"], CLASSES, "diagnosis of PAD-UFES-20"),
        "skin_tone": fitzpatrick(table["fitspatrick"]),
        "lesion.localization": readable(table["region"]),
        **{f"lesion.{c}": numbers(table[c]) for c in DIAMETERS},
        **{f"lesion.{c}": table[c] for c in LESION_FLAGS},
        "patient.age": numbers(table["age"]),
        "patient.sex": sex(table["gender"]),
        **{f"patient.{c}": readable(table[c]).replace("brasil", "brazil") for c in BACKGROUNDS},
        **{f"patient.{c}": table[c] for c in PATIENT_FLAGS},
        "patient.fitzpatrick": numbers(table["fitspatrick"]),
        "source": "pad-ufes-20",
        "licence": "CC BY 4.0",
    }
    return Reading(pd.DataFrame(cases), [])
