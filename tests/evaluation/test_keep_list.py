"""Lists of cases to keep: matched by name, counted, and only of the split that is scored."""

import pandas as pd
import pytest

from dermis.cases.manifest import Manifest
from dermis.evaluation.keep_list import keep_listed


def manifest(images, **columns):
    table = pd.DataFrame({"case_id": [f"c{i}" for i in range(len(images))], "image": images} | columns)
    return Manifest.build(table, ".")


def listed(tmp_path, text):
    (tmp_path / "list.csv").write_text(text)
    return tmp_path / "list.csv"


@pytest.mark.parametrize("column", ["image_path", "filename", "image"])
def test_folders_extension_and_case_do_not_count(column, tmp_path):
    path = listed(tmp_path, f"{column},label\ndata/PAD/images/PAT_1.png,0\nPAT_3.JPG,1\nelsewhere.png,1\n")
    kept, note = keep_listed(manifest(["a/pat_1.jpg", "a/PAT_2.jpg", "x.zip!/b/PAT_3.jpg"]), path)
    assert kept.table["case_id"].tolist() == ["c0", "c2"]
    assert note == "2 of 3 cases are on the list list.csv; 1 of its pictures are not in the manifest."


def test_equal_names_are_told_apart_by_their_folders(tmp_path):
    path = listed(tmp_path, "filename\nSD-128/acne/1.jpg\n")
    kept, _ = keep_listed(manifest(["images/wart/1.jpg", "images/acne/1.jpg", "images/acne/2.jpg"]), path)
    assert kept.table["case_id"].tolist() == ["c1"]
    with pytest.raises(ValueError, match="cannot be told apart"):
        keep_listed(manifest(["acne/1.jpg", "acne/1.png"]), path)


def test_training_cases_stay(tmp_path):
    cases = manifest(["1.jpg", "2.jpg", "3.jpg"], split=["train", "test", "test"])
    kept, note = keep_listed(cases, listed(tmp_path, "image\n3.jpg\n"), "test")
    assert kept.table["case_id"].tolist() == ["c0", "c2"]
    assert note.startswith("1 of 2 cases")
    with pytest.raises(ValueError, match="lists none of the 2 cases"):
        keep_listed(cases, listed(tmp_path, "image\n1.jpg\n"), "test")


def test_a_table_without_pictures_is_answered_with_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="none of the columns image_path, filename, image; it has name, label"):
        keep_listed(manifest(["1.jpg"]), listed(tmp_path, "name,label\n1.jpg,0\n"))


def test_a_split_or_a_list_that_is_not_there_is_answered_with_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="the manifest has no column `split`"):
        keep_listed(manifest(["1.jpg"]), listed(tmp_path, "image\n1.jpg\n"), "test")
    with pytest.raises(ValueError, match=r"there is no list at .*absent\.csv"):
        keep_listed(manifest(["1.jpg"]), tmp_path / "absent.csv")
