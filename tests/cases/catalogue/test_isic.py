"""ISIC 2019, 2020, 2024 and MILK10k: the real tables, and their pictures in the documented layouts."""

import h5py
import numpy as np
import pandas as pd
import pytest

from dermis.cases.catalogue import import_set
from dermis.pictures import store


@pytest.mark.data
def test_isic2019_counts_are_the_published_ones(shared_data):
    manifest = import_set("isic2019", shared_data / "isic2019_tables")
    assert manifest.table["diagnosis"].value_counts().to_dict() == {
        "nevus": 12875, "melanoma": 4522, "basal cell carcinoma": 3323, "benign keratosis": 2624,
        "actinic keratosis": 867, "squamous cell carcinoma": 628, "vascular": 253, "dermatofibroma": 239,
    }  # fmt: skip
    assert manifest.table["lesion_id"].nunique() == 11847
    assert manifest.groups().nunique() == 11847 + 2084


@pytest.mark.data
def test_ham10000_is_inside_isic2019_with_the_same_labels(shared_data):
    ham = import_set("ham10000", shared_data / "ham10000_200x150").table.set_index("case_id")["diagnosis"]
    isic = import_set("isic2019", shared_data / "isic2019_tables").table.set_index("case_id")
    both = isic.loc[ham.index]
    assert (both["source"] == "isic2019/ham").all()
    differing = both["diagnosis"][both["diagnosis"] != ham]
    # AKIEC of 2018 was divided into AK and SCC in 2019; nothing else changed
    assert set(differing) <= {"squamous cell carcinoma"}
    assert (ham[differing.index] == "actinic keratosis").all()


def test_isic2019_pictures_with_and_without_downsampled_and_the_test_part(tmp_path):
    (tmp_path / "ISIC_2019_Training_GroundTruth.csv").write_text(
        "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\nISIC_1_downsampled,1.0,0,0,0,0,0,0,0,0\nISIC_2,0,0,0,0,0,0,0,0,1.0\n"
    )
    (tmp_path / "ISIC_2019_Training_Metadata.csv").write_text(
        "image,age_approx,anatom_site_general,lesion_id,sex\nISIC_1_downsampled,55,palms/soles,MSK4_1,female\nISIC_2,,,,\n"
    )
    (tmp_path / "ISIC_2019_Test_Metadata.csv").write_text("image,age_approx,anatom_site_general,sex\nISIC_9,5,,male\n")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "ISIC_1.jpg").write_bytes(b"x")
    manifest = import_set("isic2019", tmp_path)
    assert manifest.table["image"].tolist() == ["pictures/ISIC_1.jpg", "ISIC_2019_Training_Input/ISIC_2.jpg"]
    assert manifest.table["diagnosis"].isna().tolist() == [False, True]
    test = import_set("isic2019", tmp_path, part="test")
    assert test.table["case_id"].tolist() == ["ISIC_9"]
    assert "diagnosis" not in test


def test_isic2019_pictures_that_are_missing_keep_their_official_names_and_lesions_may_all_be_unknown(tmp_path):
    (tmp_path / "ISIC_2019_Training_Metadata.csv").write_text(
        "image,age_approx,anatom_site_general,lesion_id,sex\nISIC_1_downsampled,55,back,,male\n"
    )
    table = import_set("isic2019", tmp_path).table
    assert table["image"].tolist() == ["ISIC_2019_Training_Input/ISIC_1_downsampled.jpg"]
    assert table["source"].tolist() == ["isic2019"]


def test_two_classes_in_one_row_stop(tmp_path):
    (tmp_path / "labels.csv").write_text("image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC\na,1,1,0,0,0,0,0,0\n")
    (tmp_path / "metadata.csv").write_text("image,age_approx,anatom_site_general,sex\na,5,,male\n")
    with pytest.raises(ValueError, match="row 0 of the table of labels claims more than one"):
        import_set("isic2019", tmp_path)


@pytest.mark.data
def test_isic2020_counts_are_the_published_ones(shared_data):
    manifest = import_set("isic2020", shared_data / "isic2020_tables")
    assert manifest.table["patient_id"].nunique() == manifest.groups().nunique() == 2056
    assert manifest.table["finding.malignancy"].value_counts().to_dict() == {"benign": 32542, "malignant": 584}
    assert manifest.table["diagnosis"].notna().sum() == 6002
    assert (manifest.table["diagnosis"] == "melanoma").sum() == 584


@pytest.mark.data
def test_isic2020_as_the_challenge_has_it_is_benign_or_malignant_in_every_row(shared_data):
    table = import_set("isic2020", shared_data / "isic2020_tables", binary="true").table
    assert table["diagnosis"].value_counts().to_dict() == {"benign": 32542, "malignant": 584}
    assert (table["diagnosis"] == table["finding.malignancy"]).all()


def test_isic2020_v1_has_no_lesions_and_pictures_in_train(tmp_path):
    (tmp_path / "train.csv").write_text(
        "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target\n"
        "ISIC_1,IP_1,male,45.0,head/neck,unknown,benign,0\n"
    )
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "ISIC_1.jpg").write_bytes(b"x")
    manifest = import_set("isic2020", tmp_path)
    assert manifest.table["image"].tolist() == ["train/ISIC_1.jpg"]
    assert "diagnosis" not in manifest.table
    assert manifest.notes == ()


@pytest.mark.data
def test_isic2024_sample_from_hdf5(shared_data):
    manifest = import_set("isic2024", shared_data / "isic2024_sample")
    assert manifest.table["case_id"].tolist() == ["ISIC_0015657", "ISIC_0015729", "ISIC_0015740"]
    for image in manifest.table["image"]:
        assert store.read_bytes(manifest.root, image).startswith(b"\xff\xd8")
    # 1 size, 31 measurements, the axis as two; 3 categories and the site
    assert sum(manifest.table[c].dtype == float for c in manifest.table if c.startswith("lesion.")) == 1 + 31 + 2
    assert [c for c in manifest.categories if c.startswith("lesion.")] == [
        "lesion.localization", "lesion.tbp_tile_type", "lesion.tbp_lv_location", "lesion.tbp_lv_location_simple",
    ]  # fmt: skip
    angle = np.deg2rad([40, 50, 220])  # twice 20, 25, 110 degrees
    np.testing.assert_allclose(manifest.table["lesion.tbp_lv_symm_2axis_angle_sin"], np.sin(angle))
    np.testing.assert_allclose(manifest.table["lesion.tbp_lv_symm_2axis_angle_cos"], np.cos(angle))
    with pytest.raises(ValueError, match="no table of ISIC 2024"):
        import_set("isic2024", shared_data / "isic2024_sample", part="train")


@pytest.mark.parametrize("layout", ["folder", "hdf5"])
def test_isic2024_training_table_loses_its_leaky_columns(tmp_path, layout):
    row = {
        "isic_id": "ISIC_1", "target": "1", "patient_id": "IP_1", "age_approx": "", "sex": "male",
        "anatom_site_general": "head/neck", "clin_size_long_diam_mm": "3.1", "image_type": "TBP tile: close-up",
        "tbp_tile_type": "3D: white", "tbp_lv_A": "20.5", "tbp_lv_location": "Head & Neck",
        "tbp_lv_location_simple": "Head & Neck", "tbp_lv_symm_2axis_angle": "0", "attribution": "X",
        "copyright_license": "CC-0", "lesion_id": "IL_1", "iddx_full": "Malignant::Melanoma", "iddx_1": "Malignant",
        "mel_mitotic_index": "2", "mel_thick_mm": "0.8", "tbp_lv_dnn_lesion_confidence": "99.1",
    }  # fmt: skip
    pd.DataFrame([row, {**row, "isic_id": "ISIC_2", "target": "0"}]).to_csv(
        tmp_path / "train-metadata.csv", index=False
    )
    if layout == "folder":
        (tmp_path / "train-image" / "image").mkdir(parents=True)
        for name in ("ISIC_1", "ISIC_2"):
            (tmp_path / "train-image" / "image" / f"{name}.jpg").write_bytes(b"x")
    else:
        with h5py.File(tmp_path / "train-image.hdf5", "w") as file:
            file["ISIC_1"], file["ISIC_2"] = np.void(b"x"), np.void(b"x")
    manifest = import_set("isic2024", tmp_path)
    assert manifest.notes == ()
    assert manifest.table["diagnosis"].tolist() == ["malignant", "benign"]
    assert manifest.table["licence"][0] == "CC BY-NC 4.0 (picture: CC-0)"
    pd.DataFrame([{**row, "isic_id": "ISIC_3"}]).to_csv(tmp_path / "test-metadata.csv", index=False)
    test = import_set("isic2024", tmp_path, part="test")
    assert test.table["image"].tolist() == ["test-image/image/ISIC_3.jpg"]  # where it would lie
    leaky = ("lesion_id", "iddx", "mel_", "confidence", "image_type", "attribution", "target")
    assert not [c for c in manifest.table for word in leaky if word in c]


@pytest.mark.data
def test_milk10k_is_one_case_per_lesion_with_both_pictures(shared_data):
    manifest = import_set("milk10k", shared_data / "milk10k_tables")
    table = manifest.table
    assert len(table) == table["lesion_id"].nunique() == 5240
    assert table["diagnosis"].value_counts().to_dict() == {
        "basal cell carcinoma": 2522, "nevus": 746, "benign keratosis": 544, "squamous cell carcinoma": 473,
        "melanoma": 450, "actinic keratosis": 303, "dermatofibroma": 52, "inflammatory or infectious condition": 50,
        "vascular": 47, "other benign proliferation": 44, "other malignant proliferation": 9,
    }  # fmt: skip
    raw = pd.read_csv(shared_data / "milk10k_tables" / "MILK10k_Training_Metadata.csv").set_index("isic_id")
    for column, kind, prefix in (("image", "clinical: close-up", ""), ("dermoscopy", "dermoscopic", "dermoscopy_")):
        rows = raw.loc[table[column].str.extract(r"(ISIC_\d+)", expand=False)]
        assert (rows["image_type"] == kind).all()
        assert (rows["lesion_id"].to_numpy() == table["lesion_id"].to_numpy()).all()
        np.testing.assert_array_equal(rows["MONET_hair"], table[f"concept.{prefix}hair"])
    assert "skin_tone" not in table  # its classes run the other way and are not Fitzpatrick's
    assert table["patient.skin_tone_class"].value_counts()[3.0] == 3174


@pytest.mark.data
def test_milk10k_fine_labels_and_test_part(shared_data):
    fine = import_set("milk10k", shared_data / "milk10k_tables", fine="true")
    assert fine.table["diagnosis"].nunique() == 48
    test = import_set("milk10k", shared_data / "milk10k_tables", part="test")
    assert len(test) == 479
    assert "diagnosis" not in test


def test_milk10k_finds_pictures_in_lesion_folders(tmp_path):
    (tmp_path / "MILK10k_Training_Metadata.csv").write_text(
        "lesion_id,image_type,isic_id,age_approx,sex,skin_tone_class,site,MONET_hair\n"
        "IL_1,dermoscopic,ISIC_2,70,male,1,head_neck_face,0.2\n"
        "IL_1,clinical: close-up,ISIC_1,70,male,1,head_neck_face,0.1\n"
    )
    (tmp_path / "MILK10k_Test_Metadata.csv").write_text(
        "lesion_id,image_type,isic_id,age_approx,sex,skin_tone_class,site\n"
        "IL_2,clinical: close-up,ISIC_3,70,male,1,back\nIL_3,dermoscopic,ISIC_4,70,male,1,back\n"
    )
    alone = import_set("milk10k", tmp_path, part="test")
    assert alone.table["case_id"].tolist() == ["IL_2"]
    assert "1 lesions have a dermoscopy and no clinical picture and are left out." in alone.notes
    folder = tmp_path / "MILK10k_Training_Input" / "IL_1"
    folder.mkdir(parents=True)
    for name in ("ISIC_1", "ISIC_2"):
        (folder / f"{name}.jpg").write_bytes(b"x")
    manifest = import_set("milk10k", tmp_path)
    row = manifest.table.iloc[0]
    assert row["image"].endswith("IL_1/ISIC_1.jpg")
    assert row["dermoscopy"].endswith("IL_1/ISIC_2.jpg")
    assert (row["concept.hair"], row["concept.dermoscopy_hair"]) == (0.1, 0.2)
    assert manifest.notes == ()
