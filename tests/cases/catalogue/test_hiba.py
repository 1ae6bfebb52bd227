"""HIBA as the ISIC archive's client leaves it on disk, with the column names of before and after 2024."""

import pandas as pd
import pytest

from dermis.cases.catalogue import import_set

BOTH = {
    "attribution": "Hospital Italiano de Buenos Aires", "copyright_license": "CC-BY", "age_approx": "50",
    "concomitant_biopsy": "True", "dermoscopic_type": "contact polarized", "diagnosis_confirm_type": "histopathology",
    "family_hx_mm": "False", "fitzpatrick_skin_type": "II", "image_type": "dermoscopic", "lesion_id": "IL_1",
    "patient_id": "IP_1", "personal_hx_mm": "True", "sex": "female",
}  # fmt: skip
OLD = {"anatom_site_general": "posterior torso", "melanocytic": "False"}
NEW = {"anatom_site_1": "Trunk", "anatom_site_2": "Posterior trunk", "anatom_site_special": ""}
# the archive's own renaming: diagnosis, benign_malignant | diagnosis_1, diagnosis_2, diagnosis_3; and our name
SAME = [
    ("nevus", "benign", "Benign", "Benign melanocytic proliferations", "Nevus", "nevus"),
    ("melanoma", "malignant", "Malignant", "Malignant melanocytic proliferations (Melanoma)", "Melanoma, NOS",
     "melanoma"),
    ("squamous cell carcinoma", "malignant", "Malignant", "Malignant epidermal proliferations",
     "Squamous cell carcinoma, NOS", "squamous cell carcinoma"),
    ("actinic keratosis", "benign", "Indeterminate", "Indeterminate epidermal proliferations",
     "Solar or actinic keratosis", "actinic keratosis"),
    ("lichenoid keratosis", "benign", "Benign", "Benign epidermal proliferations", "Lichen planus like keratosis",
     "lichenoid keratosis"),
    ("vascular lesion", "benign", "Benign", "Benign soft tissue proliferations - Vascular", "", "vascular"),
]  # fmt: skip


def downloaded(folder, rows):
    """metadata.csv, attribution and licence texts, and the pictures beside them."""
    (folder / "licenses").mkdir(parents=True)
    (folder / "licenses" / "CC-BY.txt").write_text("Creative Commons\n")
    (folder / "attribution.txt").write_text("Hospital Italiano de Buenos Aires\n")
    table = pd.DataFrame([{"isic_id": f"ISIC_{i}", **row} for i, row in enumerate(rows)])
    table.to_csv(folder / "metadata.csv", index=False)
    for name in table["isic_id"]:
        (folder / f"{name}.jpg").write_bytes(b"x")
    return folder


def test_old_and_new_tables_say_the_same_diagnoses(tmp_path):
    old = [{**BOTH, **OLD, "diagnosis": was, "benign_malignant": kind} for was, kind, *_ in SAME]
    new = [{**BOTH, **NEW, "diagnosis_1": a, "diagnosis_2": b, "diagnosis_3": c} for _, _, a, b, c, _ in SAME]
    old = import_set("hiba", downloaded(tmp_path / "old", old))
    new = import_set("hiba", downloaded(tmp_path / "new", new))
    names = [row[-1] for row in SAME]
    assert old.table["diagnosis"].tolist() == new.table["diagnosis"].tolist() == names
    assert old.table["finding.malignancy"].tolist() == [kind for _, kind, *_ in SAME]
    assert new.table["finding.malignancy"].tolist() == [kind.lower() for _, _, kind, *_ in SAME]
    assert set(old.table["lesion.localization"]) == {"posterior torso"}
    assert set(new.table["lesion.localization"]) == {"posterior trunk"}
    for manifest in (old, new):
        assert manifest.notes == ()
        assert manifest.groups().nunique() == 1


def test_columns_of_lesion_and_patient_without_proxies_of_the_label(tmp_path):
    rows = [
        {**BOTH, **OLD, **NEW, "diagnosis": "nevus", "diagnosis_1": "Benign"},
        {**BOTH, **OLD, "diagnosis": "nevus", "diagnosis_1": "Benign", "image_type": "clinical: overview",
         "dermoscopic_type": "", "fitzpatrick_skin_type": "", "personal_hx_mm": "", "age_approx": "", "sex": "",
         "anatom_site_general": ""},
    ]  # fmt: skip
    table = import_set("hiba", downloaded(tmp_path / "hiba", rows)).table
    assert table["modality"].tolist() == ["dermoscopic", "clinical"]
    assert [c for c in table if c.startswith(("lesion.", "patient."))] == [
        "lesion.localization", "lesion.dermoscopic_type", "patient.age", "patient.sex", "patient.fitzpatrick",
        "patient.personal_hx_mm", "patient.family_hx_mm",
    ]  # fmt: skip
    known = table.iloc[0]
    assert (known["skin_tone"], known["patient.fitzpatrick"], known["patient.age"]) == ("2", 2.0, 50.0)
    assert (known["patient.personal_hx_mm"], known["patient.family_hx_mm"]) == ("True", "False")
    unknown = ["skin_tone", "lesion.localization", "lesion.dermoscopic_type", "patient.age", "patient.sex"]
    assert table.loc[1, [*unknown, "patient.fitzpatrick", "patient.personal_hx_mm"]].isna().all()


def test_pictures_of_others_are_said_and_another_table_is_refused(tmp_path):
    rows = [{**BOTH, **OLD, "diagnosis": "nevus"}, {**BOTH, **OLD, "diagnosis": "nevus", "attribution": "Anonymous"}]
    notes = import_set("hiba", downloaded(tmp_path / "mixed", rows)).notes
    assert "1 of 2 pictures are not from the Hospital Italiano de Buenos Aires" in notes[0]
    (tmp_path / "metadata.csv").write_text("isic_id,patient_id,lesion_id,image_type\nISIC_1,IP_1,IL_1,dermoscopic\n")
    with pytest.raises(ValueError, match="no table of HIBA"):
        import_set("hiba", tmp_path / "metadata.csv")
