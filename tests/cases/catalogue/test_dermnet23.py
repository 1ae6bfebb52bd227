"""DermNet23 in Kaggle's layout: the official split, a share of train as valid, and names in both."""

import zipfile

import pytest

from dermis.cases.catalogue import import_set
from tests.cases.catalogue.conftest import tree


@pytest.fixture
def atlas(tmp_path):
    """100 training pictures of acne, 40 of eczema, 10 tested of each; one name in both."""
    names = [f"train/Acne and Rosacea Photos/acne-cystic-{i}.jpg" for i in range(100)]
    names += [f"train/Eczema Photos/eczema-lids-{i}.jpg" for i in range(40)]
    names += [f"test/Acne and Rosacea Photos/acne-cystic-{i}.jpg" for i in range(99, 109)]
    names += [f"test/Eczema Photos/eczema-lids-{i}.JPG" for i in range(40, 50)]
    return tree(tmp_path, *(f"dermnet/{name}" for name in names))


def test_a_tenth_of_train_becomes_valid_of_each_class_alike_and_test_stays(atlas):
    manifest = import_set("dermnet23", atlas)
    counts = manifest.table.groupby(["split", "diagnosis"]).size()
    assert counts["valid"].to_dict() == {"Acne and Rosacea Photos": 10, "Eczema Photos": 4}
    assert counts["test"].to_dict() == {"Acne and Rosacea Photos": 10, "Eczema Photos": 10}
    on_disk = manifest.table["image"].str.split("/").str[1]
    assert (on_disk.eq("test") == manifest.table["split"].eq("test")).all()
    assert any("14 of 140 training pictures are `valid` (seed 0); valid=0 leaves them" in n for n in manifest.notes)


def test_the_seed_decides_who_and_the_options_may_be_strings(atlas):
    def drawn(**options):
        table = import_set("dermnet23", atlas, **options).table
        return set(table["case_id"][table["split"] == "valid"])

    assert drawn() == drawn(seed="0", valid="0.1")
    assert drawn() != drawn(seed=1)
    assert len(drawn(valid=0.25)) == 35
    assert drawn(valid="0") == set()
    with pytest.raises(ValueError, match="valid should be a number, not 'tenth'"):
        drawn(valid="tenth")
    with pytest.raises(ValueError, match=r"seed should be a whole number, not '1\.5'"):
        drawn(seed="1.5")
    with pytest.raises(ValueError, match=r"valid=1\.5 and test=0 must be shares"):
        drawn(valid="1.5")


def test_names_in_both_folders_are_counted_and_stems_are_no_group(atlas):
    manifest = import_set("dermnet23", atlas)
    assert any("1 file names are in test and in train, acne-cystic-99.jpg for one" in note for note in manifest.notes)
    assert manifest.groups().nunique() == len(manifest) == 160
    assert any("train 140" in n or "not as many as published" in n for n in manifest.notes)


def test_the_whole_set_is_read_without_a_word_but_on_valid(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for side, number in (("train", 15557), ("test", 4002)):
            for i in range(number):
                archive.writestr(f"{side}/class {i % 23}/{side}-{i}.jpg", b"")
    manifest = import_set("dermnet23", tmp_path)
    counts = manifest.table["split"].value_counts()
    assert (counts["test"], counts["train"] + counts["valid"]) == (4002, 15557)
    assert abs(counts["valid"] - 1556) < 12  # 23 roundings
    assert len(manifest.notes) == 1


def test_a_valid_folder_on_disk_is_taken_and_what_lies_twice_or_elsewhere_is_said(tmp_path):
    tree(
        tmp_path, "Train/Acne/1.jpg", "Train/Acne/2.jpg", "VAL/Acne/3.jpg", "Test/Acne/4.jpg", "cover.png", "Test/x.jpg"
    )
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("train/Acne/1.jpg", b"x")
    manifest = import_set("dermnet23", tmp_path)
    assert manifest.table["split"].value_counts().to_dict() == {"train": 2, "valid": 1, "test": 1}
    assert any("2 pictures lie in no class folder" in note for note in manifest.notes)
    assert any("1 pictures lie there twice" in note for note in manifest.notes)


def test_another_layout_is_refused_in_a_sentence(tmp_path):
    for name, picture in (("flat", "Acne/1.jpg"), ("loose", "train/1.jpg"), ("empty", "notes.txt")):
        with pytest.raises(ValueError, match="no pictures of DermNet23 under") as caught:
            import_set("dermnet23", tree(tmp_path / name, picture))
        assert "\n" not in str(caught.value)
