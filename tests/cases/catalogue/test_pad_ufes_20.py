"""PAD-UFES-20: the real table, and the official layout."""

import pytest

from dermis.cases.catalogue import import_set

HEADER = (
    "patient_id,lesion_id,smoke,drink,background_father,background_mother,age,pesticide,gender,skin_cancer_history,"
    "cancer_history,has_piped_water,has_sewage_system,fitspatrick,region,diameter_1,diameter_2,diagnostic,itch,grew,hurt,"
    "changed,bleed,elevation,img_id,biopsed"
)
ROWS = (
    "PAT_1,7,False,True,UNK,BRASIL,55,False,FEMALE,True,True,True,True,3.0,NECK,6.0,5.0,BCC,True,UNK,False,True,True,True,"
    "PAT_1_7_11.png,True",
    "PAT_2,7,,,,,8,,,,,,,,ARM,,,NEV,False,False,False,False,False,False,PAT_2_7_12.png,False",
)


@pytest.mark.data
def test_counts_are_the_published_ones_and_lesions_belong_to_one_patient(shared_data):
    manifest = import_set("pad-ufes-20", shared_data / "pad_ufes20_subset")
    table = manifest.table
    assert table["diagnosis"].value_counts().to_dict() == {
        "basal cell carcinoma": 845, "actinic keratosis": 730, "nevus": 244, "seborrheic keratosis": 235,
        "squamous cell carcinoma": 192, "melanoma": 52,
    }  # fmt: skip
    assert table["patient_id"].nunique() == 1373
    # the table's own ids are 1,641, but 250 of them are used for two patients
    assert table["lesion_id"].str.rsplit("_", n=1).str[1].nunique() == 1641
    assert table["lesion_id"].nunique() == 1891
    assert table.groupby("lesion_id")["diagnosis"].nunique().max() == 1
    types = {"1": 153, "2": 876, "3": 392, "4": 62, "5": 10, "6": 1}
    assert table["skin_tone"].value_counts().to_dict() == types
    assert table["patient.sex"].isna().sum() == 804
    assert table["lesion.changed"].value_counts().to_dict() == {"False": 1700, "True": 202}


@pytest.mark.data
def test_photographs_are_taken_from_images_not_from_re_cut_copies(shared_data):
    manifest = import_set("pad-ufes-20", shared_data / "pad_ufes20_subset", missing="drop")
    assert manifest.table["image"].str.startswith("images/").all()
    assert manifest.table["diagnosis"].value_counts().to_dict() == {
        "basal cell carcinoma": 95, "nevus": 73, "actinic keratosis": 41, "squamous cell carcinoma": 17,
        "seborrheic keratosis": 9, "melanoma": 4,
    }  # fmt: skip
    assert manifest.table["patient_id"].nunique() == 188
    assert any("2059 of 2298" in note for note in manifest.notes)


@pytest.mark.data
def test_the_published_linear_probe_split_tears_patients_apart(shared_data):
    split = shared_data / "benchmark_splits_magen" / "PAD-LP.csv"
    manifest = import_set("pad-ufes-20", shared_data / "pad_ufes20_subset", split=split)
    assert manifest.table["split"].value_counts().to_dict() == {"train": 1493, "test": 461, "valid": 344}
    assert any("leaks" in note for note in manifest.notes)


def test_the_official_layout(tmp_path):
    (tmp_path / "metadata.csv").write_text("\n".join([HEADER, *ROWS]))
    for part, name in (("1", "PAT_1_7_11"), ("3", "PAT_2_7_12")):
        (tmp_path / "images" / f"imgs_part_{part}").mkdir(parents=True)
        (tmp_path / "images" / f"imgs_part_{part}" / f"{name}.png").write_bytes(b"x")
    manifest = import_set("pad-ufes-20", tmp_path)
    first, second = manifest.table.to_dict("records")
    assert first["image"] == "images/imgs_part_1/PAT_1_7_11.png"
    assert second["image"] == "images/imgs_part_3/PAT_2_7_12.png"
    assert (first["case_id"], first["lesion_id"], second["lesion_id"]) == ("PAT_1_7_11", "PAT_1_7", "PAT_2_7")
    assert (first["skin_tone"], first["lesion.localization"], first["lesion.itch"]) == ("3", "neck", "True")
    assert manifest.table["lesion.grew"].isna().tolist() == [True, False]
    assert manifest.table["patient.background_mother"].dropna().tolist() == ["brazil"]
    assert "patient.background_father" not in manifest.table
    assert not [c for c in manifest.table if "biops" in c]
    assert manifest.notes == ()
