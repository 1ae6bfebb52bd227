"""SCIN as its bucket has it: a row per case, up to three pictures, labels as dictionaries, boxes to tick."""

import pandas as pd
import pytest

from dermis.cases.catalogue import import_set

FIRST = {
    "case_id": "-1000600354148496558", "source": "SCIN", "release": "1.0.0", "year": "2023",
    "age_group": "AGE_30_TO_39", "sex_at_birth": "FEMALE", "fitzpatrick_skin_type": "FST2",
    "race_ethnicity_white": "YES", "textures_flat": "YES", "body_parts_arm": "YES", "condition_symptoms_itching": "YES",
    "other_symptoms_no_relevant_symptoms": "YES", "related_category": "RASH",
    "condition_duration": "ONE_TO_FOUR_WEEKS", "image_1_path": "dataset/images/-3205742176803893704.png",
    "image_2_path": "dataset/images/11.png", "image_3_path": "", "image_1_shot_type": "CLOSE_UP",
    "image_2_shot_type": "AT_DISTANCE",
}  # fmt: skip
SECOND = {
    "case_id": "973759811984683137", "age_group": "AGE_UNKNOWN", "sex_at_birth": "OTHER_OR_UNSPECIFIED",
    "fitzpatrick_skin_type": "NONE_IDENTIFIED", "race_ethnicity_two_or_more_after_mitigation": "YES",
    "textures_raised_or_bumpy": "YES", "body_parts_arm": "YES", "body_parts_leg": "YES",
    "image_1_path": "dataset/images/21.png", "image_2_path": "dataset/images/11.png",
}  # fmt: skip
THIRD = {
    "case_id": "3",
    "age_group": "AGE_80_OR_ABOVE",
    "sex_at_birth": "MALE",
    "race_ethnicity_prefer_not_to_answer": "YES",
    "image_1_path": "dataset/images/31.png",
}
LABELS = [
    {"case_id": "-1000600354148496558", "dermatologist_gradable_for_skin_condition_1": "DEFAULT_YES",
     "dermatologist_skin_condition_on_label_name": "['Eczema', \"Grover's disease\"]",
     "dermatologist_skin_condition_confidence": "[4, 3]",
     "weighted_skin_condition_label": "{\"Grover's disease\": 0.33, 'Eczema': 0.67}",
     "dermatologist_fitzpatrick_skin_type_label_1": "FST2", "dermatologist_fitzpatrick_skin_type_label_2": "FST3",
     "monk_skin_tone_label_india": "3.0", "monk_skin_tone_label_us": "4.0"},
    {"case_id": "973759811984683137", "weighted_skin_condition_label": "{'Acne': 0.5, 'Rosacea': 0.5}",
     "dermatologist_fitzpatrick_skin_type_label_1": "FST6"},
    {"case_id": "3", "weighted_skin_condition_label": "{}"},
]  # fmt: skip
PICTURES = ("-3205742176803893704", "11", "21", "31")


def bucket(root, cases=(FIRST, SECOND, THIRD), labels=LABELS):
    (root / "dataset" / "images").mkdir(parents=True, exist_ok=True)
    pd.DataFrame(list(cases)).to_csv(root / "dataset" / "scin_cases.csv", index=False)
    pd.DataFrame(labels).to_csv(root / "dataset" / "scin_labels.csv", index=False)
    for name in PICTURES:
        (root / "dataset" / "images" / f"{name}.png").write_bytes(b"x")
    return root


def test_each_picture_is_a_row_with_what_is_known_of_its_case(tmp_path):
    manifest = import_set("scin", bucket(tmp_path))
    table = manifest.table.set_index("case_id")
    assert table.index.tolist() == [
        "-1000600354148496558_1", "-1000600354148496558_2", "973759811984683137_1", "973759811984683137_2", "3_1",
    ]  # fmt: skip
    first, second, third, _, last = table.to_dict("records")
    assert first["image"] == "dataset/images/-3205742176803893704.png"
    assert (first["lesion.shot_type"], second["lesion.shot_type"]) == ("close up", "at distance")
    assert (first["lesion_id"], second["lesion_id"]) == ("-1000600354148496558",) * 2
    assert (first["diagnosis"], third["diagnosis"]) == ("Eczema", "Acne")
    assert (first["skin_tone"], third["skin_tone"]) == ("3", "6")
    assert (first["lesion.localization"], third["lesion.localization"]) == ("arm", "several")
    assert (first["lesion.duration"], first["lesion.category"]) == ("one to four weeks", "rash")
    assert (first["patient.age"], last["patient.age"]) == (34.5, 80)
    assert (first["patient.sex"], last["patient.sex"]) == ("female", "male")
    assert (first["patient.ethnicity"], third["patient.ethnicity"]) == ("white", "two or more")
    assert (first["patient.fitzpatrick"], first["patient.monk_us"], first["patient.monk_india"]) == (2, 4, 3)
    unknown = ["patient.age", "patient.sex", "patient.fitzpatrick", "patient.monk_us", "lesion.shot_type"]
    assert table.loc["973759811984683137_1", unknown].isna().all()
    assert table.loc["3_1", ["diagnosis", "skin_tone", "lesion.localization", "patient.ethnicity"]].isna().all()
    assert set(table["modality"]) == {"clinical"}
    assert manifest.notes == ("not as many as published: cases 3 (published: 5033), pictures 5 (published: 10407).",)


def test_a_box_that_is_not_ticked_says_no_only_where_the_question_was_answered(tmp_path):
    table = import_set("scin", bucket(tmp_path)).table.set_index("case_id")
    flat, bumpy = table["lesion.texture_flat"], table["lesion.texture_raised_or_bumpy"]
    assert (flat["-1000600354148496558_1"], bumpy["-1000600354148496558_1"]) == ("True", "False")
    assert (flat["973759811984683137_1"], bumpy["973759811984683137_1"]) == ("False", "True")
    assert table.loc["3_1", ["lesion.texture_flat", "lesion.texture_raised_or_bumpy"]].isna().all()
    assert table["lesion.symptom_itching"].fillna("none").tolist() == ["True", "True", "none", "none", "none"]
    assert not [c for c in table if "relevant" in c]


def test_pictures_of_a_case_and_cases_that_share_a_picture_stay_together(tmp_path):
    manifest = import_set("scin", bucket(tmp_path))
    assert manifest.groups().nunique() == 2  # the first two cases share 11.png
    assert not manifest.copies().any()
    assert manifest.table["origin_id"].fillna("none").tolist() == ["none", "11", "none", "11", "none"]


def test_a_diagnosis_may_have_to_weigh_enough(tmp_path):
    table = import_set("scin", bucket(tmp_path), min_weight="0.6").table
    assert table["diagnosis"].fillna("none").tolist() == ["Eczema", "Eczema", "none", "none", "none"]
    with pytest.raises(ValueError, match="min_weight should be a number, not 'much'"):
        import_set("scin", tmp_path, min_weight="much")


def test_how_a_label_was_found_is_not_imported(tmp_path):
    table = import_set("scin", bucket(tmp_path)).table
    assert not [c for c in table if "gradable" in c or "confidence" in c or "dermatologist" in c]


def test_without_labels_and_without_a_picture(tmp_path):
    bucket(tmp_path)
    (tmp_path / "dataset" / "scin_labels.csv").unlink()
    (tmp_path / "dataset" / "images" / "31.png").unlink()
    manifest = import_set("scin", tmp_path)
    assert "diagnosis" not in manifest
    assert manifest.table["image"].tolist()[-1] == "dataset/images/31.png"
    assert any("image: 1 of 5 are not under" in note for note in manifest.notes)


def test_what_is_not_scin_is_refused_in_a_sentence(tmp_path):
    for label in ("Eczema", "['Eczema']", "{'Eczema': 'much'}", "[5]", "__import__('os')"):
        bucket(tmp_path, labels=[{"case_id": "3", "weighted_skin_condition_label": label}])
        with pytest.raises(ValueError, match="weighted_skin_condition_label should be names with weights"):
            import_set("scin", tmp_path)
    bucket(tmp_path, labels=[LABELS[2], LABELS[2]])
    with pytest.raises(ValueError, match="SCIN's labels: case_id '3' occurs more than once"):
        import_set("scin", tmp_path)
    (tmp_path / "dataset" / "scin_cases.csv").write_text("case_id,image_1_path\n3,a.png\n")
    with pytest.raises(ValueError, match="no table of SCIN under"):
        import_set("scin", tmp_path)
