"""What gives a diagnosis away is known by its name; what patients and lesions are described by is not taken for it."""

import pytest

from dermis.cases.label_proxies import is_label_proxy, refuse_label_proxies

GIVE_AWAY = [
    "dx",
    "dx_type",
    "dxType",
    "DX-type",
    "diagnosis",
    "diagnosis_1",
    "diagnosis_confirm_type",
    "diagnostic",
    "disease",
    "biopsed",
    "biopsy",
    "concomitant_biopsy",
    "histopathology",
    "histology",
    "pathology",
    "benign_malignant",
    "benign_or_malignant",
    "malignant",
    "target",
    "label",
    "iddx",
    "iddx_full",
    "iddx_5",
    "mel_class",
    "mel_thick_mm",
    "mel_mitotic_index",
    "mel_thickness",
    "nevus_type",
    "melanocytic",
    "midas_path",
    "midas_pathreport",
    "midas_melanoma",
    "management",
    "seven_point_score",
    "clinical_impression_1",
    "tbp_lv_dnn_lesion_confidence",
    "icd10",
    "ICD-10-CM",
    "icd_code",
    "icdo3",
]
DESCRIBE = [
    "localization",
    "diameter_1",
    "diameter_mm",
    "elevation",
    "itch",
    "grew",
    "hurt",
    "changed",
    "bleed",
    "dermoscopic_type",
    "image_type",
    "anatom_site_special",
    "thickness",
    "symptoms",
    "tbp_lv_nevi_confidence",
    "tbp_lv_symm_2axis_angle",
    "tbp_lv_color_std_mean",
    "age",
    "sex",
    "skin_cancer_history",
    "cancer_history",
    "family_hx_mm",
    "personal_hx_mm",
    "fitzpatrick",
    "smoke",
    "background_father",
    "nevus_count",
    "duration_months",
]


def test_names_that_give_the_diagnosis_away_are_known_however_they_are_spelt():
    assert [name for name in GIVE_AWAY if not is_label_proxy(f"lesion.{name}")] == []
    with pytest.raises(ValueError, match=r"lesion\.dx gives the diagnosis away.*by name in there\."):
        refuse_label_proxies(["lesion.age", "lesion.dx"], "there")


def test_descriptions_of_lesions_and_patients_are_not_taken_for_it():
    assert [name for name in DESCRIBE if is_label_proxy(f"patient.{name}")] == []
    refuse_label_proxies([f"lesion.{name}" for name in DESCRIBE])
