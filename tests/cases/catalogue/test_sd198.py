"""SD-198 and SD-128 in the authors' layout: class folders and five-fold lists."""

import zipfile

import pytest

from dermis.cases.catalogue import import_set
from dermis.language.prompts import class_list

PICTURES = [
    "Acne_Vulgaris/032206VB.jpg", "Acne_Vulgaris/032207VB.jpg", "Beau's_Lines/000190HB.jpg",
    "Actinic_solar_Damage(Actinic_Keratosis)/016300HB.jpg", "Becker's_Nevus/041524HB.jpg",
]  # fmt: skip


@pytest.fixture
def sd(tmp_path):
    """Five pictures, one of them of a class that is too small for SD-128, and two folds."""
    root = tmp_path / "SD-198"
    for name in PICTURES:
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / name).write_bytes(b"x")
    for folder in ("8_2_split", "5_5_split"):
        (root / folder).mkdir()
    for fold, valid in (("0", 0), ("1", 2)):
        lines = [f"{name} {i}" for i, name in enumerate(PICTURES)]
        (root / "8_2_split" / f"val_{fold}.txt").write_text(lines.pop(valid) + "\n")
        (root / "8_2_split" / f"train_{fold}.txt").write_text("\n".join(lines) + "\n")
    (root / "5_5_split" / "train_7.txt").write_text(f"{PICTURES[0]} 0\n")
    (root / "images.txt").write_text("1 Acne_Vulgaris/032206VB.jpg\n")
    return tmp_path


def test_folders_are_classes_of_the_published_list(sd):
    manifest = import_set("sd198", sd)
    table = manifest.table.set_index("case_id")
    assert table["diagnosis"].tolist() == [
        "acne vulgaris", "acne vulgaris", "actinic solar damage(actinic keratosis)", "beau's lines", "becker's nevus",
    ]  # fmt: skip
    assert set(table["diagnosis"]) - {"becker's nevus"} <= set(class_list("sd-128"))
    assert table["image"]["Beau's_Lines/000190HB"] == "SD-198/images/Beau's_Lines/000190HB.jpg"
    assert "split" not in table
    assert manifest.groups().nunique() == 5
    assert manifest.notes == ("not as many as published: pictures 5 (published: 6584), classes 4 (published: 198).",)


def test_sd_128_leaves_out_the_small_classes_and_says_so(sd):
    manifest = import_set("sd128", sd)
    assert "becker's nevus" not in set(manifest.table["diagnosis"])
    assert len(manifest) == 4
    assert set(manifest.table["source"]) == {"sd128"}
    assert manifest.notes == (
        "1 pictures are in none of the 128 classes and are left out.",
        "not as many as published: pictures 4 (published: 5619), classes 3 (published: 128).",
    )


def test_a_fold_gives_its_sides(sd):
    def valid(name, fold):
        table = import_set(name, sd, fold=fold).table.set_index("case_id")
        assert set(table["split"]) == {"train", "valid"}
        return table.index[table["split"] == "valid"].tolist()

    assert valid("sd198", "0") == ["Acne_Vulgaris/032206VB"]
    assert valid("sd198", 1) == valid("sd128", 1) == ["Beau's_Lines/000190HB"]
    with pytest.raises(ValueError, match=r"unknown fold of SD-198 \(in 8_2_split\) '7'.* Allowed: 0, 1\."):
        import_set("sd198", sd, fold="7")


def test_what_a_fold_lacks_is_said_and_a_torn_fold_is_refused(sd):
    lists = sd / "SD-198" / "8_2_split"
    (lists / "val_1.txt").write_text("images/Acne_Vulgaris/032206VB.JPG 0\nAcne_Vulgaris/999999VB.jpg 0\n")
    (lists / "train_1.txt").write_text("\n".join(f"{name} 1" for name in PICTURES[1:4]))
    manifest = import_set("sd198", sd, fold=1)
    assert manifest.table["split"].isna().sum() == 1
    assert "1 pictures are in neither list of fold 1 and have no split." in manifest.notes
    assert "fold 1 lists 1 pictures that are not among the cases." in manifest.notes
    (lists / "train_1.txt").write_text("\n".join(f"{name} 1" for name in PICTURES))
    with pytest.raises(ValueError, match="fold 1 of SD-198 has Acne_Vulgaris/032206VB in train and in val"):
        import_set("sd198", sd, fold=1)
    (lists / "val_1.txt").unlink()
    with pytest.raises(ValueError, match=r"8_2_split has no val_1\.txt under"):
        import_set("sd198", sd, fold=1)


def test_the_whole_of_sd_128_is_read_from_an_archive_without_a_word(tmp_path):
    with zipfile.ZipFile(tmp_path / "SD-128.zip", "w") as archive:
        for number in range(5619):
            folder = class_list("sd-128")[number % 128].title().replace(" ", "_")
            archive.writestr(f"SD-128/images/{folder}/{number:06}VB.jpg", b"")
    manifest = import_set("sd128", tmp_path)
    assert len(manifest) == 5619
    assert manifest.notes == ()


def test_what_lies_twice_is_said_and_other_folders_are_refused(sd, tmp_path):
    with zipfile.ZipFile(sd / "copy.zip", "w") as archive:
        archive.writestr(f"images/{PICTURES[0]}", b"x")
    assert "1 pictures lie there twice; one of each is taken." in import_set("sd198", sd).notes
    (tmp_path / "other" / "acne").mkdir(parents=True)
    (tmp_path / "other" / "acne" / "1.jpg").write_bytes(b"x")
    for name in ("sd198", "sd128"):
        with pytest.raises(ValueError, match=rf"no pictures of {name[:2].upper()}-{name[2:]} under"):
            import_set(name, tmp_path / "other")
