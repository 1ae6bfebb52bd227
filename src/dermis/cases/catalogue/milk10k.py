"""MILK10k (ISIC 2025)."""

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import ISIC_CLASSES, one_hot, readable, sex
from dermis.cases.catalogue.missing import numbers
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import by_id, find_table, tables_with

CLASSES = {
    **{code: ISIC_CLASSES[code] for code in ("AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "VASC")},
    "SCCKA": "squamous cell carcinoma",
    "INF": "inflammatory or infectious condition",
    "BEN_OTH": "other benign proliferation",
    "MAL_OTH": "other malignant proliferation",
}
ROW = ("lesion_id", "image_type", "isic_id", "age_approx", "sex", "skin_tone_class", "site")


@reader("milk10k")
def milk10k(files: Files, part: str | None = None, fine: bool = False) -> Reading:
    """MILK10k: 5,240 lesions, each as one clinical close-up and one dermoscopy, 11 classes.

    Source: MILK study team, ISIC 2025; challenge.isic-archive.com/landing/milk10k.

    Licence: CC BY-NC (column copyright_license).

    Obtain: download the files of MILK10k from challenge.isic-archive.com/landing/milk10k; no account is needed.

    On disk: `MILK10k_Training_Metadata.csv` (two rows per lesion), `MILK10k_Training_GroundTruth.csv`,
    `MILK10k_Training_Supplement.csv`, pictures `MILK10k_Training_Input/<lesion_id>/<isic_id>.jpg`. `part="test"`
    reads the 479 lesions of `MILK10k_Test_Metadata.csv`, which have no labels.

    Columns: one case per lesion: image (clinical), dermoscopy, diagnosis (`fine=True`: diagnosis_full of the
    supplement, 48 names), lesion.localization (site), patient.age, patient.sex, patient.skin_tone_class;
    concept.NAME: the MONET model's score of the clinical picture, concept.dermoscopy_NAME: of the dermoscopy.

    Counts: basal cell carcinoma 2522, nevus 746, benign keratosis 544, squamous cell carcinoma 473, melanoma 450,
    actinic keratosis 303, dermatofibroma 52, inflammatory or infectious condition 50, vascular 47, other benign
    proliferation 44, other malignant proliferation 9; test 479 lesions.

    Group key: lesion_id; there is no patient id.

    Traps: concept scores are a model's output, not an annotation. skin_tone_class runs from 0 (very dark) to 5 (very
    light), the other way round than Fitzpatrick and made not to be confused with it, so skin_tone stays empty.
    diagnosis_confirm_type and invasion_thickness_interval are proxies of the label and are not imported. AKIEC
    includes intraepidermal carcinoma, SCCKA keratoacanthoma. 335 pictures are marked as altered (image_manipulation).
    """
    table = find_table(files, ROW, "MILK10k", part)
    folder = "MILK10k_Test_Input" if part == "test" else "MILK10k_Training_Input"
    dermoscopic = table["image_type"].str.casefold().str.startswith("dermoscop").fillna(False).astype(bool)
    by_lesion = [by_id(t, "lesion_id", "MILK10k") for t in (table[~dermoscopic], table[dermoscopic])]
    clinical, dermoscopy = by_lesion[0], by_lesion[1].reindex(by_lesion[0].index)
    lesions = clinical.index.to_series()
    concepts = [c for c in table if c.startswith("MONET_")]
    cases = {
        "case_id": lesions,
        "lesion_id": lesions,
        "image": files.find_all(clinical["isic_id"]).fillna(
            folder + "/" + lesions + "/" + clinical["isic_id"] + ".jpg"
        ),
        "dermoscopy": files.find_all(dermoscopy["isic_id"]).fillna(
            folder + "/" + lesions + "/" + dermoscopy["isic_id"] + ".jpg"
        ),
        "modality": "clinical",
        "diagnosis": diagnoses(files, clinical, fine),
        **{f"concept.{c.removeprefix('MONET_')}": numbers(clinical[c]) for c in concepts},
        **{f"concept.dermoscopy_{c.removeprefix('MONET_')}": numbers(dermoscopy[c]) for c in concepts},
        "lesion.localization": readable(clinical["site"]),
        "patient.age": numbers(clinical["age_approx"]),
        "patient.sex": sex(clinical["sex"]),
        "patient.skin_tone_class": numbers(clinical["skin_tone_class"]),
        "source": "milk10k",
        "licence": "CC BY-NC",
    }
    alone = int((~by_lesion[1].index.isin(lesions)).sum())
    notes = [f"{alone} lesions have a dermoscopy and no clinical picture and are left out."] if alone else []
    return Reading(pd.DataFrame(cases), notes)


def diagnoses(files: Files, clinical: pd.DataFrame, fine: bool) -> pd.Series | None:
    """The diagnosis per lesion, or None where the label tables are not there or speak of other lesions."""
    if fine:
        supplement = by_id(find_table(files, ("isic_id", "diagnosis_full"), "MILK10k"), "isic_id", "MILK10k")
        return clinical["isic_id"].map(supplement["diagnosis_full"]).str.casefold()
    if not tables_with(files, ("lesion_id", "SCCKA")):
        return None
    labels = by_id(find_table(files, ("lesion_id", "SCCKA"), "MILK10k"), "lesion_id", "MILK10k")
    return one_hot(labels.reindex(clinical.index), CLASSES)
