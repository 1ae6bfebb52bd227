"""Fitzpatrick17k, and the two readers for data of one's own: any CSV, and a folder per class."""

import zipfile

import pytest

from dermis.cases.catalogue import import_set
from dermis.cases.split import split
from tests.cases.catalogue.conftest import tree


@pytest.mark.data
def test_fitzpatrick17k_counts_are_the_published_ones(shared_data):
    manifest = import_set("fitzpatrick17k", shared_data / "fitzpatrick17k_tables")
    table = manifest.table
    assert (len(table), table["diagnosis"].nunique()) == (16577, 114)
    types = {"1": 2947, "2": 4808, "3": 3308, "4": 2781, "5": 1533, "6": 635}
    assert table["skin_tone"].value_counts().to_dict() == types
    assert table["skin_tone"].isna().sum() == 565
    assert (table["source"] == "fitzpatrick17k").sum() == 41
    assert table["finding.three_partition"].value_counts().to_dict() == {
        "non-neoplastic": 12080, "malignant": 2263, "benign": 2234,
    }  # fmt: skip
    assert any("17 pictures are marked as wrongly labelled" in note for note in manifest.notes)


@pytest.fixture
def clinic(tmp_path):
    (tmp_path / "Export 2024.csv").write_text(
        "Foto;Pat-Nr;Dx;AGE;Sex;Thickness;Fitz;Set;Remark;Biopsy\n"
        "IMG_1.JPG;0017;Nevus;45;F;0.5;2.0;Training;n/a;yes\nIMG_2.JPG;0018;Melanoma;;M;;;val;seen twice;no\n",
        encoding="cp1252",
    )
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("2024/img_1.jpg", b"x")
        archive.writestr("2024/IMG_2.jpeg", b"x")
    return tmp_path / "Export 2024.csv"


COLUMNS = {
    "image": "Foto", "patient_id": "Pat-Nr", "diagnosis": "Dx", "patient.age": "AGE", "patient.sex": "Sex",
    "lesion.thickness": "Thickness", "skin_tone": "Fitz", "split": "Set", "caption": "Remark",
}  # fmt: skip


def test_any_table_becomes_a_manifest(clinic):
    manifest = import_set("csv", clinic, columns=COLUMNS, modality="clinical", source="our clinic", licence="internal")
    first, second = manifest.table.to_dict("records")
    assert (first["image"], second["image"]) == ("photos.zip!/2024/img_1.jpg", "photos.zip!/2024/IMG_2.jpeg")
    assert (first["patient_id"], first["patient.sex"], first["skin_tone"]) == ("0017", "female", "2")
    assert (first["lesion.thickness"], first["patient.age"], first["split"]) == (0.5, 45.0, "train")
    assert second["split"] == "valid"
    assert manifest.table["caption_origin"].isna().tolist() == [True, False]
    assert (first["modality"], first["source"], first["licence"]) == ("clinical", "our clinic", "internal")
    (note,) = manifest.notes
    assert note.startswith('columns not imported: Biopsy (map them with --options columns "OURS=THEIRS, …"')


def test_the_map_of_columns_can_be_one_string(clinic):
    text = ", ".join(f"{ours}={theirs}" for ours, theirs in COLUMNS.items())
    assert import_set("csv", clinic, columns=text).table.equals(import_set("csv", clinic, columns=COLUMNS).table)
    with pytest.raises(ValueError, match="'image' has no column to map to"):
        import_set("csv", clinic, columns="image")


def test_a_wrong_column_names_the_nearest_on_either_side(clinic):
    with pytest.raises(ValueError, match=r"unknown column of Export 2024\.csv 'Patnr'. Did you mean 'Pat-Nr'"):
        import_set("csv", clinic, columns={"image": "Foto", "patient_id": "Patnr"})
    with pytest.raises(ValueError, match=r"unknown manifest column 'diagnose'. Did you mean 'diagnosis'"):
        import_set("csv", clinic, columns={"image": "Foto", "diagnose": "Dx"})
    with pytest.raises(
        ValueError, match='say which column holds the pictures: --options columns "image=COLUMN"; there'
    ):
        import_set("csv", clinic, columns={"diagnosis": "Dx"})


def test_a_column_in_which_nothing_is_known_is_said_to_be_left_out(tmp_path):
    (tmp_path / "t.csv").write_text("image,itch,Geschlecht,modality,caption\na.jpg,,weiblich,,\nb.jpg,unknown,,,\n")
    columns = {"lesion.itch": "itch", "patient.sex": "Geschlecht"}
    manifest = import_set("csv", tmp_path / "t.csv", columns=columns, modality="clinical")
    assert manifest.table.columns.tolist() == ["case_id", "image", "modality"]
    assert manifest.notes[0] == (
        "columns left out because no cell has a value that can be read: caption (from caption), lesion.itch (from "
        "itch), patient.sex (from Geschlecht)."
    )


def test_duplicate_pictures_are_refused_with_the_id(clinic):
    clinic.write_text("image\na.jpg\na.jpg\n")
    with pytest.raises(ValueError, match=r"a\.jpg"):
        import_set("csv", clinic)


def test_texts_split_and_lists_in_a_manifest_like_table(tmp_path):
    (tmp_path / "t.csv").write_text('case_id,image,sentences,concept.scale\nx,a.jpg,"[""One."", ""Two.""]",1\n')
    table = import_set("csv", tmp_path / "t.csv").table
    assert list(table["sentences"][0]) == ["One.", "Two."]
    assert table["concept.scale"][0] == 1.0


def test_folders_are_classes(tmp_path):
    tree(tmp_path, "data/Acne_vulgaris/1.jpg", "data/Acne_vulgaris/sub/1.jpg", "data/Eczema/1.PNG")
    manifest = import_set("folder", tmp_path, source="X", licence="CC0", modality="clinical")
    assert manifest.table["diagnosis"].tolist() == ["Acne vulgaris", "Acne vulgaris", "Eczema"]
    assert "split" not in manifest.table
    assert manifest.notes == ()


def test_split_folders_are_splits_also_in_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "dermnet.zip", "w") as archive:
        for name in ("Train/Acne/1.jpg", "test/Acne/1.jpg", "val/Eczema/2.jpg"):
            archive.writestr(name, b"x")
    table = import_set("folder", tmp_path).table
    assert table[["split", "diagnosis"]].values.tolist() == [["train", "Acne"], ["test", "Acne"], ["valid", "Eczema"]]
    assert table["image"][0] == "dermnet.zip!/Train/Acne/1.jpg"


def test_a_zip_per_side_or_per_class_is_a_folder_of_that_name(tmp_path):
    for side, inner in (("train", ""), ("test", "test/")):
        with zipfile.ZipFile(tmp_path / f"{side}.zip", "w") as archive:
            archive.writestr(f"{inner}Acne/1.jpg", b"x")
    table = import_set("folder", tmp_path).table
    assert table[["split", "diagnosis"]].values.tolist() == [["test", "Acne"], ["train", "Acne"]]
    (tmp_path / "classes").mkdir()
    for name in ("Acne", "Eczema"):
        with zipfile.ZipFile(tmp_path / "classes" / f"{name}.zip", "w") as archive:
            archive.writestr("1.jpg", b"x")
    assert import_set("folder", tmp_path / "classes").table["diagnosis"].tolist() == ["Acne", "Eczema"]


def test_one_class_or_one_split_alone(tmp_path):
    tree(tmp_path, "train/Acne/1.jpg", "train/Acne/2.jpg")
    table = import_set("folder", tmp_path).table
    assert table[["split", "diagnosis"]].drop_duplicates().values.tolist() == [["train", "Acne"]]


def test_pictures_outside_any_class_are_said(tmp_path):
    tree(tmp_path, "loose.jpg", "Acne/1.jpg")
    manifest = import_set("folder", tmp_path)
    assert manifest.table.set_index("image")["diagnosis"].notna().to_dict() == {"loose.jpg": False, "Acne/1.jpg": True}
    assert "1 pictures lie in no class folder and have no diagnosis." in manifest.notes
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="there are no pictures under"):
        import_set("folder", tmp_path / "empty")


def test_a_hospitals_table_of_64_classes_is_split_70_10_20_by_its_column_or_by_patient(tmp_path):
    """As docs/data.md tells it, "A set without a reader"."""
    parts = ["train"] * 7 + ["val"] + ["test"] * 2
    rows = [f"{i:04}.jpg,disease {i % 64},P{i},{parts[i // 64]}" for i in range(640)]
    (tmp_path / "skin64.csv").write_text("\n".join(["file,label,patient,set", *rows]), encoding="utf-8-sig")
    tree(tmp_path, *(f"pictures/{i:04}.jpg" for i in range(640)))
    columns = "image=file, diagnosis=label, patient_id=patient"
    given = import_set("csv", tmp_path / "skin64.csv", columns=f"{columns}, split=set", source="skin64")
    assert given.notes == ()
    assert given.table["split"].value_counts().to_dict() == {"train": 448, "test": 128, "valid": 64}
    assert given.table["diagnosis"].nunique() == 64
    cut = split(import_set("csv", tmp_path / "skin64.csv", columns=columns), valid=0.1, test=0.2)
    counts = cut.table.groupby(["split", "diagnosis"]).size().unstack(fill_value=0)
    assert (counts > 0).all(axis=None)
    assert counts.sum(axis=1).to_dict() == pytest.approx({"train": 448, "test": 128, "valid": 64}, abs=25)
