"""ISIC 2018 task 3 in the challenge's layout: three tables, three folders, and lesions from either table of them."""

import pytest

from dermis.cases.catalogue import import_set

HEAD = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"
ROWS = {
    "Training": ["ISIC_1,1.0,0.0,0.0,0.0,0.0,0.0,0.0", "ISIC_2,0,1,0,0,0,0,0", "ISIC_3,0,1,0,0,0,0,0"],
    "Validation": ["ISIC_4,0,0,0,1.0,0,0,0"],
    "Test": ["ISIC_5,0,0,0,0,0,0,1.0", "ISIC_6,0,0,0,0,0,0,0"],
}


@pytest.fixture
def challenge(tmp_path):
    for part, rows in ROWS.items():
        folder = tmp_path / f"ISIC2018_Task3_{part}_GroundTruth"
        folder.mkdir()
        (folder / f"ISIC2018_Task3_{part}_GroundTruth.csv").write_text(HEAD + "\n".join(rows))
        pictures = tmp_path / f"ISIC2018_Task3_{part}_Input"
        pictures.mkdir()
        (pictures / "ATTRIBUTION.txt").write_text("ISIC 2018\n")
        for row in rows:
            (pictures / f"{row.split(',')[0]}.jpg").write_bytes(b"x")
    return tmp_path


def test_three_tables_are_three_sides_of_one_split(challenge):
    (challenge / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text(
        "image,lesion_id,diagnosis_confirm_type\nISIC_1,HAM_1,histopathology\nISIC_2,HAM_2,follow_up\n"
        "ISIC_3,HAM_2,follow_up\n"
    )
    manifest = import_set("isic2018_task3", challenge)
    table = manifest.table.set_index("case_id").loc[[f"ISIC_{i}" for i in range(1, 7)]]
    assert table["diagnosis"].fillna("none").tolist() == [
        "melanoma", "nevus", "nevus", "actinic keratosis", "vascular", "none",
    ]  # fmt: skip
    assert table["split"].tolist() == ["train", "train", "train", "valid", "test", "test"]
    assert table["lesion_id"].fillna("none").tolist() == ["HAM_1", "HAM_2", "HAM_2", "none", "none", "none"]
    assert table["image"]["ISIC_4"] == "ISIC2018_Task3_Validation_Input/ISIC_4.jpg"
    assert manifest.groups().nunique() == 5
    assert not [c for c in table if "confirm" in c]
    (note,) = manifest.notes
    assert note.startswith("pictures are not as many as published: train 3 (published: 10015)")


def test_a_part_alone_and_a_wrong_part(challenge):
    assert import_set("isic2018_task3", challenge, part="validation").table["case_id"].tolist() == ["ISIC_4"]
    with pytest.raises(ValueError, match=r"unknown part 'valid'\. Did you mean 'validation'"):
        import_set("isic2018_task3", challenge, part="valid")
    (challenge / "ISIC2018_Task3_Test_GroundTruth" / "ISIC2018_Task3_Test_GroundTruth.csv").unlink()
    with pytest.raises(ValueError, match="the ground truth of test of ISIC 2018 task 3 is not under"):
        import_set("isic2018_task3", challenge, part="test")


def test_lesions_come_from_ham10000s_table_too_and_its_proxies_do_not(challenge):
    (challenge / "HAM10000_metadata.tab").write_text(
        "lesion_id\timage_id\tdx\tdx_type\tage\tsex\tlocalization\nHAM_9\tISIC_1\tmel\thisto\t50\tmale\tback\n"
    )
    table = import_set("isic2018_task3", challenge).table.set_index("case_id")
    assert table["lesion_id"].dropna().to_dict() == {"ISIC_1": "HAM_9"}
    assert not [c for c in table if c.startswith("patient.")]


def test_a_picture_that_is_missing_is_kept_where_it_would_lie(challenge):
    (challenge / "ISIC2018_Task3_Test_Input" / "ISIC_5.jpg").unlink()
    manifest = import_set("isic2018_task3", challenge)
    assert "ISIC2018_Task3_Test_Input/ISIC_5.jpg" in set(manifest.table["image"])
    assert any("image: 1 of 6 are not under" in note for note in manifest.notes)


def test_another_table_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "ISIC_2019_Training_GroundTruth.csv").write_text("image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\n")
    with pytest.raises(ValueError, match="the ground truth of ISIC 2018 task 3 is not under"):
        import_set("isic2018_task3", tmp_path)
    (tmp_path / "ISIC2018_Task3_Training_GroundTruth.csv").write_text(HEAD + "ISIC_1,1,1,0,0,0,0,0\n")
    with pytest.raises(ValueError, match="claims more than one of"):
        import_set("isic2018_task3", tmp_path)
