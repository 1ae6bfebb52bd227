"""MSLD 2 in the layout of its release: five folds of the same originals, and copies of the train sides."""

import zipfile

import pytest

from dermis.cases.catalogue import import_set
from dermis.cases.leakage import assert_no_leak
from tests.cases.catalogue.conftest import tree

CLASSES = {
    "MKP": ("Monkeypox", "monkeypox", 284), "CHP": ("Chickenpox", "chickenpox", 75),
    "MSL": ("Measles", "measles", 55), "CWP": ("Cowpox", "cowpox", 66),
    "HFMD": ("HFMD", "hand foot and mouth disease", 161), "HEALTHY": ("Healthy", "healthy", 114),
}  # fmt: skip
FOLDS = {
    1: {"MKP_17_01": "Train", "MKP_17_02": "Train", "CHP_01_01": "Valid", "CWP_02_01": "Test", "HFMD_1_1": "Train"},
    2: {"MKP_17_01": "Test", "MKP_17_02": "Test", "CHP_01_01": "Train", "CWP_02_01": "Train", "HFMD_1_1": "Valid"},
}


def original(fold, side, name):
    return f"Original Images/Original Images/FOLDS/fold{fold}/{side}/{CLASSES[name.split('_')[0]][0]}/{name}.jpg"


def copy(fold, name, number):
    folder = CLASSES[name.split("_")[0]][0]
    return f"Augmented Images/Augmented Images/FOLDS_AUG/fold{fold}_AUG/Train/{folder}/{name}_{number:02}.jpg"


@pytest.fixture
def release(tmp_path):
    names = [original(fold, side, name) for fold, sides in FOLDS.items() for name, side in sides.items()]
    copied = [(f, name) for f, sides in FOLDS.items() for name, side in sides.items() if side == "Train"]
    names += [copy(fold, name, number) for fold, name in copied for number in (1, 2)]
    return tree(tmp_path, *names, "datalog.xlsx", "Keywords.jpg")


def test_one_fold_is_read_with_its_own_copies_and_another_is_another(release):
    for fold, train in ((1, ["HFMD_1_1", "MKP_17_01", "MKP_17_02"]), ("2", ["CHP_01_01", "CWP_02_01"])):
        manifest = import_set("msld2", release, fold=fold)
        table = manifest.table.set_index("case_id")
        originals = table[table.index == table["origin_id"]]
        assert originals["split"].to_dict() == {
            name: {"Train": "train", "Valid": "valid", "Test": "test"}[side] for name, side in FOLDS[int(fold)].items()
        }
        copies = table[manifest.copies().to_numpy()]
        assert sorted(copies.index) == sorted(f"AUG/{name}_{n:02}" for name in train for n in (1, 2))
        assert set(copies["split"]) == {"train"}
        assert all(f"fold{fold}_AUG" in image for image in copies["image"])
        assert_no_leak(manifest)
    assert import_set("msld2", release).table["split"].value_counts().to_dict() == {"train": 9, "valid": 1, "test": 1}


def test_patients_and_originals_are_in_the_names(release):
    manifest = import_set("msld2", release)
    table = manifest.table.set_index("case_id")
    columns = ["patient_id", "origin_id", "diagnosis"]
    assert table.loc["AUG/MKP_17_02_01", columns].tolist() == ["MKP_17", "MKP_17_02", "monkeypox"]
    assert table.loc["HFMD_1_1", columns].tolist() == ["HFMD_1", "HFMD_1_1", "hand foot and mouth disease"]
    assert manifest.groups().nunique() == 4


def test_a_part_alone(release):
    assert len(import_set("msld2", release, part="original")) == 5
    copies = import_set("msld2", release, part="augmented", fold=2)
    assert len(copies) == 4
    assert any("4 augmented copies are without their original" in note for note in copies.notes)
    with pytest.raises(ValueError, match=r"unknown part 'copies'"):
        import_set("msld2", release, part="copies")


def test_a_fold_that_tears_a_patient_says_so(release):
    assert not any("tears" in note for note in import_set("msld2", release).notes)
    tree(release, original(1, "Test", "MKP_17_03"))
    assert any("the split tears 1 groups" in note for note in import_set("msld2", release).notes)
    assert not any("tears" in note for note in import_set("msld2", release, fold=2).notes)


def test_the_whole_release_has_the_published_counts(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for fold in range(1, 6):
            for code, (*_, number) in CLASSES.items():
                for i in range(number):
                    side = ("Train", "Train", "Train", "Valid", "Test")[(i + fold) % 5]
                    archive.writestr(original(fold, side, f"{code}_{i:02}_01"), b"")
    manifest = import_set("msld2", tmp_path, fold=5)
    assert manifest.notes == ()
    assert len(manifest) == 755
    assert manifest.table["diagnosis"].value_counts().to_dict() == {name: n for _, name, n in CLASSES.values()}


def test_names_and_folders_at_odds_are_said(tmp_path):
    tree(
        tmp_path, "FOLDS/fold1/Train/Cowpox/MKP_01_01.jpg", "FOLDS/fold1/Train/Cowpox/photo.jpg",
        "FOLDS/fold1/Train/Cowpox/CWP_01_01.jpg",
    )  # fmt: skip
    notes = import_set("msld2", tmp_path).notes
    assert "the names of 1 pictures say another class than their folder, which is taken." in notes
    assert "1 pictures are not named like MKP_17_01 (PHOTO): no patient is known." in notes


def test_what_is_not_a_fold_of_msld_2_is_refused(tmp_path):
    for name, pictures, sentence in (
        ("v1", ["Original Images/Others/NM01_01.jpg"], "no folds of MSLD 2 under"),
        ("v1 fold", ["Fold1/Train/Others/NM01_01_00.jpg"], "unknown class folder of MSLD 2 'Others'"),
        ("fold", [original(2, "Test", "CWP_1_1")], "unknown fold of MSLD 2 1.* Allowed: 2"),
        ("sides", [original(1, s, "CWP_1_1") for s in ("Test", "Valid")], "fold 1 has CWP_1_1 .* one of the sides"),
        ("leak", [original(1, "Test", "CWP_1_1"), copy(1, "CWP_1_1", 1)], "fold 1 has CWP_1_1 and its copies in more"),
        ("classes", [f"fold1/Test/{c}/CWP_1_1.jpg" for c in ("Cowpox", "HFMD")], "more than one of the classes"),
    ):
        with pytest.raises(ValueError, match=sentence) as caught:
            import_set("msld2", tree(tmp_path / name, *pictures))
        assert "\n" not in str(caught.value)
