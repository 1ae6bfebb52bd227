"""SNU-134 by the names of its pictures, and by the benchmark's table."""

import pandas as pd
import pytest

from dermis.cases.catalogue import import_set
from dermis.language.prompts import class_list
from tests.cases.catalogue.conftest import tree

NAMES = {
    "epidermalcyst_11": "epidermal cyst", "abnom_0": "abnormal", "subungalhematoma_3": "subungual hematoma",
    "confluentreticulatedpapillomatosis_2": "confluent and reticulated papillomatosis", "acne_12": "acne",
}  # fmt: skip
HEADER = "image_path,diag,split,label\n"


def test_the_name_tells_the_class(tmp_path):
    tree(tmp_path, *(f"SNU/images/{name}.jpg" for name in NAMES))
    manifest = import_set("snu134", tmp_path)
    table = manifest.table.set_index("case_id")
    assert table["diagnosis"].to_dict() == NAMES
    assert table["image"]["acne_12"] == "SNU/images/acne_12.jpg"
    assert "split" not in table
    assert manifest.groups().nunique() == 5
    assert manifest.notes == ("not as many as published: pictures 5 (published: 2101), classes 5 (published: 134).",)


def test_every_class_of_the_list_is_named(tmp_path):
    letters = {name: "".join(filter(str.isalpha, name)) for name in class_list("snu-134")}
    tree(tmp_path, *(f"{prefix}_{i}.JPG" for prefix in letters.values() for i in range(15)), "abnormal_90.jpg")
    manifest = import_set("snu134", tmp_path)
    assert set(manifest.table["diagnosis"]) == set(letters)
    assert manifest.notes == ("not as many as published: pictures 2011 (published: 2101).",)


def test_rows_of_the_benchmarks_table_are_the_cases_and_bring_its_split(tmp_path):
    rows = [
        "data/downstream/SNU/images/epidermalcyst_11.jpg,epidermal cyst,train,0",
        "data/downstream/SNU/images/acne_12.jpg,acne,test,1", "data/downstream/SNU/images/acne_3.jpg,acne,val,1",
    ]  # fmt: skip
    (tmp_path / "SNU-LP.csv").write_text(HEADER + "\n".join(rows))
    tree(tmp_path, "pictures/acne_12.jpg", "pictures/acne_99.jpg")
    manifest = import_set("snu134", tmp_path)
    assert manifest.table["split"].tolist() == ["train", "test", "valid"]
    assert manifest.table["diagnosis"].tolist() == ["epidermal cyst", "acne", "acne"]
    assert manifest.table["image"].tolist() == ["epidermalcyst_11.jpg", "pictures/acne_12.jpg", "acne_3.jpg"]
    assert any("image: 2 of 3 are not under" in note for note in manifest.notes)
    (tmp_path / "SNU-LP.csv").write_text(HEADER + rows[0].replace("train", "trian"))
    with pytest.raises(ValueError, match=r"unknown split of SNU-134 'trian'\. Did you mean 'train'"):
        import_set("snu134", tmp_path)


def test_the_table_of_the_set_is_found_among_those_of_others(tmp_path):
    (tmp_path / "SNU" / "images").mkdir(parents=True)
    (tmp_path / "MAKE_PAD.csv").write_text("filename,label\nPAT_46_881_14.png,7\nPAT_1_2_3.png,1\nPAT_1_2_4.png,1\n")
    (tmp_path / "SNU" / "MAKE_SNU_tails.csv").write_text("filename,label\nabnom_0.jpg,0\n")
    (tmp_path / "SNU" / "MAKE_SNU.csv").write_text("filename,label\nacne_12.jpg,7\nabnom_0.jpg,130\n")
    table = import_set("snu134", tmp_path).table
    assert table["diagnosis"].tolist() == ["acne", "abnormal"]
    assert "split" not in table
    (tmp_path / "SNU" / "MAKE_SNU_LP.csv").write_text("filename,split\nacne_12.jpg,test\nabnom_0.jpg,train\n")
    assert import_set("snu134", tmp_path).table["split"].tolist() == ["test", "train"]


@pytest.mark.data
def test_the_published_table_tells_the_classes_that_the_names_tell(shared_data):
    folder = shared_data / "benchmark_splits_magen"
    manifest = import_set("snu134", folder)
    told = pd.read_csv(folder / "SNU-LP.csv")["diag"]
    assert manifest.table["diagnosis"].tolist() == told.tolist()
    assert manifest.table["split"].value_counts().to_dict() == {"train": 1470, "test": 421, "valid": 210}
    assert [note for note in manifest.notes if not note.startswith("image:")] == []


def test_what_lies_twice_or_is_named_otherwise_is_said(tmp_path):
    tree(tmp_path, "a/acne_1.jpg", "b/acne_1.jpg", "a/cover.jpg")
    manifest = import_set("snu134", tmp_path)
    assert len(manifest) == 1
    assert manifest.notes[:2] == (
        "1 pictures are not named like epidermalcyst_11 and are left out.",
        "1 pictures lie there twice; one of each is taken.",
    )


def test_other_pictures_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"unknown condition in a file name of SNU-134 'acnee'\. Did you mean 'acne'"):
        import_set("snu134", tree(tmp_path / "misspelt", "acnee_1.jpg"))
    with pytest.raises(ValueError, match="nothing of SNU-134 under"):
        import_set("snu134", tree(tmp_path / "other", "acne/1.jpg"))
