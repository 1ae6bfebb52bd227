"""MSLD 1 in the layout of its release: names, counts, the authors' split, and which copy belongs to whom."""

import zipfile

import numpy as np
import pytest

from dermis.cases.catalogue import import_set
from dermis.cases.leakage import assert_no_leak
from dermis.evaluation.finetune_config import FineTuneConfig
from dermis.evaluation.rounds import rounds_of
from tests.cases.catalogue.conftest import tree

MONKEYPOX = "4211221142111111222221122214222424211223123112133321111"  # pictures of M01, M02, …
TWICE, ABSENT = {15, 33, 41, 45, 47, 54, 55, 56, 57, 58, 91, 98, 99, 101, 103}, {16, 34, 92}
OTHERS = {n: 5 if n == 43 else 1 + (n in TWICE) for n in range(1, 111) if n not in ABSENT}
SIDES = {"M01_01": "Train", "M01_02": "Train", "M02_01": "Val", "NM01_01": "Train", "NM02_01": "Test"}


def release(root):
    """Five originals with two copies each, as Kaggle's archive unpacks, and the authors' fold."""
    names = ["Original Images/Original Images/README.txt"]
    for picture, side in SIDES.items():
        folder, augmented = ("Others", "Others") if picture.startswith("NM") else ("Monkey Pox", "Monkeypox")
        copies = [f"{picture}_{i:02}.jpg" for i in range(2)]
        fold = f"Fold1/Fold1/Fold1/{side}/{augmented}"
        names += [f"Original Images/Original Images/{folder}/{picture}.jpg"]
        names += [f"Augmented Images/Augmented Images/{augmented}_augmented/{copy}" for copy in copies]
        names += [f"{fold}/{picture}.jpg"] if side == "Test" else [f"{fold}/{copy}" for copy in copies]
    tree(root, *names)
    labels = [f"{picture},{int(not picture.startswith('NM'))}" for picture in SIDES]
    (root / "Monkeypox_Dataset_metadata.csv").write_text("\n".join(["ImageID,Label", *labels]))
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All 3,420 pictures, packed and without Fold1."""
    folder = tmp_path_factory.mktemp("msld")
    patients = {f"M{i:02}": int(n) for i, n in enumerate(MONKEYPOX, 1)} | {f"NM{i:02}": n for i, n in OTHERS.items()}
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        for patient, number in patients.items():
            others = patient.startswith("NM")
            for i in range(1, number + 1):
                archive.writestr(f"Original Images/{'Others' if others else 'Monkey Pox'}/{patient}_{i:02}.jpg", b"x")
                for copy in range(14):
                    place = f"Augmented Images/{'Others' if others else 'Monkeypox'}_augmented"
                    archive.writestr(f"{place}/{patient}_{i:02}_{copy:02}.jpg", b"x")
    return import_set("msld", folder)


def test_the_whole_release_has_the_published_counts(whole):
    assert whole.notes == ()
    kind = np.where(whole.copies(), "augmented", "original")
    assert whole.table.groupby([kind, "diagnosis"]).size().to_dict() == {
        ("original", "monkeypox"): 102, ("original", "others"): 126,
        ("augmented", "monkeypox"): 1428, ("augmented", "others"): 1764,
    }  # fmt: skip
    assert whole.groups().nunique() == 55 + 107
    assert whole.table.groupby("origin_id").size().unique().tolist() == [15]


def test_five_folds_score_about_20_and_25_originals_and_learn_from_copies_of_others(whole):
    rounds = rounds_of(whole, FineTuneConfig(folds=5), "all", "diagnosis")
    original = whole.table["origin_id"].to_numpy() == whole.table["case_id"].to_numpy()
    patient = whole.table["patient_id"].to_numpy()
    assert sorted(np.concatenate([r.scored for r in rounds])) == np.flatnonzero(original).tolist()
    for r in rounds:
        counts = whole.table["diagnosis"][r.scored].value_counts()
        assert 19 <= counts["monkeypox"] <= 22
        assert 24 <= counts["others"] <= 27
        assert original[r.choose].all()
        assert len(r.train) == 15 * original[r.train].sum()
        assert not set(patient[r.train]) & set(patient[np.concatenate([r.choose, r.scored])])


def test_the_authors_fold_tests_on_originals_and_trains_on_their_neighbours_copies_too(tmp_path):
    manifest = import_set("msld", release(tmp_path / "Geräte ü"))
    table = manifest.table.set_index("case_id")
    assert table["split"].isna().sum() == 2
    assert table["split"][["NM02_01_00", "NM02_01_01"]].isna().all()  # of the test original: nobody's
    assert table["split"].value_counts().to_dict() == {"train": 9, "valid": 3, "test": 1}
    assert table.loc["M01_02_01", ["patient_id", "origin_id", "split"]].tolist() == ["M01", "M01_02", "train"]
    assert table["image"]["NM02_01"] == "Original Images/Original Images/Others/NM02_01.jpg"
    assert_no_leak(manifest)
    (r,) = rounds_of(manifest, FineTuneConfig(), "test", "diagnosis")
    assert manifest.table["case_id"][r.choose].tolist() == ["M02_01"]
    assert manifest.table["case_id"][r.scored].tolist() == ["NM02_01"]
    assert len(r.train) == 9
    assert [note for note in manifest.notes if "as many as published" not in note] == []


def test_a_part_alone_is_read_and_copies_alone_are_said(tmp_path):
    release(tmp_path)
    originals = import_set("msld", tmp_path, part="original")
    assert sorted(originals.table["case_id"]) == sorted(SIDES)
    copies = import_set("msld", tmp_path, part="augmented")
    assert len(copies) == 10
    assert copies.groups().nunique() == 4
    assert any("10 augmented copies are without their original" in note for note in copies.notes)
    with pytest.raises(ValueError, match=r"unknown part 'originals'\. Did you mean 'original'"):
        import_set("msld", tmp_path, part="originals")


def test_the_fold_alone_is_read(tmp_path):
    (release(tmp_path / "all") / "Fold1").rename(tmp_path / "Fold1")
    manifest = import_set("msld", tmp_path / "Fold1")
    assert len(manifest) == 9


def test_names_in_any_case_and_of_an_older_release(tmp_path):
    tree(
        tmp_path, "ORIGINAL IMAGES/monkeypox/m01_01.JPG", "augmented images/Monkeypox_Augmented/M01_01_00.jpg",
        "Original Images/Non Monkeypox/73_2.jpg", "Augmented Images/Others_augmented/73_2_05.jpg",
    )  # fmt: skip
    manifest = import_set("msld", tmp_path)
    table = manifest.table.set_index("case_id")
    assert table["origin_id"].to_dict() == {
        "M01_01": "M01_01",
        "M01_01_00": "M01_01",
        "73_2": "73_2",
        "73_2_05": "73_2",
    }
    assert table["diagnosis"].to_dict() == {
        "M01_01": "monkeypox", "M01_01_00": "monkeypox", "73_2": "others", "73_2_05": "others",
    }  # fmt: skip
    assert any("2 pictures are not named like M01_02" in note for note in manifest.notes)


def test_the_table_is_compared_with_the_folders(tmp_path):
    release(tmp_path)
    (tmp_path / "Monkeypox_Dataset_metadata.csv").write_text("ImageID,Label\nM01_01,0\nNM01_01,0\nM09_01,1\n")
    notes = import_set("msld", tmp_path).notes
    assert any("gives 1 originals another class" in note for note in notes)
    assert any("lists 1 originals that are not on disk" in note for note in notes)


def test_what_is_not_msld_is_refused_in_a_sentence(tmp_path):
    for name, pictures, sentence in (
        ("other", ["a/b.jpg"], "no pictures of MSLD"),
        ("v2", ["Original Images/FOLDS/fold1/Train/Cowpox/CWP_01_01.jpg"], "pictures of cowpox: it looks like MSLD 2"),
        ("class", ["Original Images/Monkeypax/M01_01.jpg"], "unknown class folder of MSLD 'Monkeypax'. Did you mean"),
        ("both", ["Original Images/Others/M01_01.jpg", "Original Images/Monkey Pox/M01_01.jpg"], "M01_01 lies in the"),
        ("torn", ["Fold1/Train/Others/NM01_01_00.jpg", "Fold1/Test/Others/NM01_01.jpg"], "Fold1 has NM01_01 and its"),
        ("empty", ["Original Images/notes.txt"], "no pictures of MSLD"),
    ):
        with pytest.raises(ValueError, match=sentence) as caught:
            import_set("msld", tree(tmp_path / name, *pictures))
        assert "\n" not in str(caught.value)


def test_pictures_beside_the_three_folders_are_counted(tmp_path):
    notes = import_set("msld", tree(release(tmp_path), "figure.png")).notes
    assert any("1 pictures are in none of MSLD's three folders" in note for note in notes)
