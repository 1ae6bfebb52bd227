"""MSID of Islam et al. in the layout of its release: copies and originals, and the other set of that name."""

import zipfile

import pytest

from dermis.cases.catalogue import import_set
from dermis.cases.leakage import leaks
from dermis.cases.split import folds
from tests.cases.catalogue.conftest import tree

ORIGINALS = {"chickenpox": 178, "cowpox": 54, "healthy": 50, "measles": 47, "monkeypox": 117, "smallpox": 358}
COPIES = {"chickenpox": 8722, "cowpox": 2646, "healthy": 2450, "measles": 2303, "monkeypox": 5733, "smallpox": 17542}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All 40,200 pictures, packed."""
    folder = tmp_path_factory.mktemp("msid")
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        for name, number in ORIGINALS.items():
            for i in range(1, number + 1):
                archive.writestr(f"monkeypox dataset/preprocessed_original_images/{name}/{name[:2]}_{i:04}.jpg", b"")
                for copy in range(1, 50):
                    file = f"aug_{name[:2]}_{i:04}_{copy:04}.jpg"
                    archive.writestr(f"monkeypox dataset/augmented_images/{name}/{file}", b"")
    return import_set("msid", folder)


def test_the_whole_release_has_the_published_counts_and_a_group_for_each_original(whole):
    assert whole.notes == ()
    table, copy = whole.table, whole.copies()
    assert (len(table), int(copy.sum())) == (40_200, 39_396)
    assert table["diagnosis"][~copy].value_counts().to_dict() == ORIGINALS
    assert table["diagnosis"][copy].value_counts().to_dict() == COPIES
    assert whole.groups().nunique() == 804
    assert (table["diagnosis"].groupby(whole.groups()).nunique() == 1).all()  # ch_0001 is not co_0001


def test_folds_keep_copies_together_and_classes_even(whole):
    cut = folds(whole, 5)
    assert leaks(cut, "fold").empty
    original = cut.table[~cut.copies()]
    for fold, name in (pair for pair in original.groupby(["fold", "diagnosis"]).groups):
        count = ((original["fold"] == fold) & (original["diagnosis"] == name)).sum()
        assert abs(count - ORIGINALS[name] / 5) <= 1


def test_copies_name_their_original_whatever_its_name(tmp_path):
    copies = ("monkeypox/aug_mo_0001_0007", "monkeypox/aug_mo_0002_0001", "monkeypox/aug_mo_0002_0002")
    names = [f"augmented_images/{name}.jpg" for name in (*copies, "measles/aug_me_0001_0001")]
    tree(tmp_path, *names, "Preprocessed_Original_Images/Monkey Pox/monkeypox1.JPG", "cover.png")
    manifest = import_set("msid", tmp_path)
    origin = manifest.table.set_index("case_id")["origin_id"]
    assert origin["augmented/monkeypox/aug_mo_0001_0007"] == "original/monkeypox/monkeypox1"
    assert origin["augmented/monkeypox/aug_mo_0002_0001"] == origin["augmented/monkeypox/aug_mo_0002_0002"]
    assert manifest.copies().sum() == 1
    assert manifest.groups().nunique() == 3
    assert any("3 augmented copies are without their original" in note for note in manifest.notes)
    assert any("1 pictures are in neither" in note for note in manifest.notes)
    assert any("original monkeypox 1 (published: 117)" in note for note in manifest.notes)


def test_a_part_alone_is_read(tmp_path):
    tree(tmp_path, "preprocessed_original_images/cowpox/co_0001.jpg", "augmented_images/cowpox/aug_co_0001_0001.jpg")
    assert import_set("msid", tmp_path, part="original").table["case_id"].tolist() == ["original/cowpox/co_0001"]
    assert import_set("msid", tmp_path, part="augmented").table["origin_id"].tolist() == ["original/cowpox/co_0001"]
    with pytest.raises(ValueError, match="unknown part 'both'"):
        import_set("msid", tmp_path, part="both")
    with pytest.raises(ValueError, match="there are no augmented pictures"):
        import_set("msid", tree(tmp_path / "o", "original/cowpox/co_1.jpg"), part="augmented")


def test_originals_of_one_number_are_held_together_and_said(tmp_path):
    tree(tmp_path, "original/cowpox/co_0001_0001.jpg", "original/cowpox/co_0001_0002.jpg")
    manifest = import_set("msid", tmp_path)
    assert manifest.groups().nunique() == 1
    assert any("1 originals have the number of another of their class" in note for note in manifest.notes)


def test_pictures_both_loose_and_packed_are_taken_once(tmp_path):
    tree(tmp_path, "augmented_images/cowpox/aug_co_0001_0001.jpg")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("augmented_images/cowpox/aug_co_0001_0001.jpg", b"x")
    manifest = import_set("msid", tmp_path)
    assert manifest.table["image"].tolist() == ["augmented_images/cowpox/aug_co_0001_0001.jpg"]
    assert any("1 pictures lie there twice" in note for note in manifest.notes)


def test_the_other_msid_and_other_folders_are_refused_in_a_sentence(tmp_path):
    bala = [f"Monkeypox Skin Image Dataset/{name}/{name.lower()}1.png" for name in ("Monkeypox", "Normal", "Measles")]
    for name, pictures, sentence in (
        ("bala", bala, r"by Bala et al\. \(770 pictures; .*read it with `folder`"),
        ("other", ["a/b.jpg"], "no pictures of MSID"),
        ("loose", ["b.jpg"], "no pictures of MSID"),
        ("empty", ["notes.txt"], "no pictures of MSID"),
        ("class", ["augmented_images/cowpocks/aug_co_0001_0001.jpg"], "unknown class folder of MSID 'cowpocks'. Did"),
    ):
        with pytest.raises(ValueError, match=sentence) as caught:
            import_set("msid", tree(tmp_path / name, *pictures))
        assert "\n" not in str(caught.value)
