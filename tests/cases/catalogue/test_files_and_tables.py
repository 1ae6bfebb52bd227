"""Finding pictures and reading tables, whatever they are called and however they were written."""

import io
import tarfile
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.table import find_table, read_table


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_a_picture_is_found_without_regard_to_case_folder_and_extension(tmp_path):
    touch(tmp_path, "release_v0/images/nel/NEL026.JPG", "release_v0/images/FBL/Nel027.jpeg")
    files = Files.below(tmp_path)
    assert files.find("NEL/Nel026.jpg") == "release_v0/images/nel/NEL026.JPG"
    assert files.find("nel026") == "release_v0/images/nel/NEL026.JPG"
    assert files.find("NEL/Nel027.jpg") is None  # same name in another folder is another picture


def test_a_name_is_not_found_by_its_ending_alone(tmp_path):
    touch(tmp_path, "a/xISIC_1.jpg")
    assert Files.below(tmp_path).find("ISIC_1") is None


def test_members_of_archives_are_pictures_and_loose_files_come_first(tmp_path):
    with zipfile.ZipFile(tmp_path / "part_1.zip", "w") as archive:
        archive.writestr("images/one.jpg", b"x")
        archive.writestr("images/two.jpg", b"x")
        archive.writestr("__MACOSX/images/._one.jpg", b"x")
        archive.writestr("images/readme.txt", b"x")
    with h5py.File(tmp_path / "train-image.hdf5", "w") as file:
        file["ISIC_7"] = np.void(b"x")
    touch(tmp_path, "loose/two.jpg")
    files = Files.below(tmp_path)
    members = ["part_1.zip!/images/one.jpg", "part_1.zip!/images/two.jpg", "train-image.hdf5!/ISIC_7"]
    assert files.pictures == ["loose/two.jpg", *members]
    assert files.find("two") == "loose/two.jpg"
    assert files.find("part_1/images/one.png") == "part_1.zip!/images/one.jpg"
    assert files.find("ISIC_7") == "train-image.hdf5!/ISIC_7"


def test_a_tar_is_read_as_it_is_and_any_archive_is_a_folder(tmp_path):
    with tarfile.open(tmp_path / "part.tar", "w") as archive:
        for name in ("nevi/one.jpg", "nevi/._one.jpg", "nevi/readme.txt"):
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
    files = Files.below(tmp_path)
    assert files.pictures == ["part.tar!/nevi/one.jpg"]
    assert files.find("part/nevi/one") == "part.tar!/nevi/one.jpg"
    assert files.placed()["folders"].tolist() == [["part", "nevi"]]
    touch(tmp_path, "part.tar.npy")
    assert Files.below(tmp_path).pictures == []  # a shard that `dermis import --shards` wrote there


def test_a_broken_archive_is_one_sentence(tmp_path):
    (tmp_path / "images.zip").write_bytes(b"PK truncated")
    with pytest.raises(ValueError, match=r"images\.zip cannot be opened .* is the download complete"):
        Files.below(tmp_path)


@pytest.mark.parametrize("name, encoding, separator", [
    ("t.csv", "utf-8-sig", ","), ("t.tab", "utf-8", "\t"), ("t.csv", "cp1252", ";"), ("t", "utf-16", "|"),
])  # fmt: skip
def test_encoding_and_delimiter_are_recognised(tmp_path, name, encoding, separator):
    rows = [["id", "Größe", "note"], ["1", "ü", '"two\nlines"'], ["2", "unknown", "NaN"]]
    text = "\r\n".join(separator.join(row) for row in rows)
    (tmp_path / name).write_bytes(text.encode(encoding))
    table = read_table(tmp_path / name)
    assert table.columns.tolist() == ["id", "Größe", "note"]
    assert table["Größe"].fillna("missing").tolist() == ["ü", "missing"]
    assert table["note"].tolist()[0].splitlines() == ["two", "lines"]
    assert table["note"].isna().tolist()[1]


def test_excel_without_openpyxl_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    touch(tmp_path, "t.xlsx")
    with pytest.raises(ValueError, match="needs openpyxl"):
        read_table(tmp_path / "t.xlsx")


def test_a_workbook_that_cannot_be_read_stops_only_who_needs_it(tmp_path, monkeypatch):
    touch(tmp_path, "~$credits.xlsx", "broken.xlsx")
    with pytest.raises(ValueError, match=r"broken\.xlsx is not a workbook that can be read"):
        find_table(Files.below(tmp_path), ("image",), "some set")
    (tmp_path / "labels.csv").write_text("image\na\n")
    assert find_table(Files.below(tmp_path), ("image",), "some set")["image"].tolist() == ["a"]
    (tmp_path / "broken.xlsx").unlink()
    pd.DataFrame({"age": ["5"]}).to_excel(tmp_path / "more.xlsx", index=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_table(Files.below(tmp_path), ("image",), "some set")["image"].tolist() == ["a"]
    with pytest.raises(ValueError, match=r"more\.xlsx needs openpyxl"):
        find_table(Files.below(tmp_path), ("age",), "some set")


def test_bytes_of_no_encoding_are_one_sentence(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n\x81,2\n")
    with pytest.raises(ValueError, match=r"t\.csv is not a table that can be read: it is no text"):
        read_table(tmp_path / "t.csv")


def test_a_table_is_known_by_its_header_in_any_case(tmp_path):
    (tmp_path / "labels.csv").write_text("Image,MEL\na,1\n")
    (tmp_path / "data.csv").write_text("IMAGE,Age\na,50\n")
    table = find_table(Files.below(tmp_path), ("image", "age"), "some set")
    assert table.columns.tolist() == ["image", "age"]
    assert table["age"].tolist() == ["50"]


def test_a_missing_column_is_named_with_the_nearest_one(tmp_path):
    (tmp_path / "meta.csv").write_text("image_id,lesionid,dx\na,b,c\n")
    with pytest.raises(ValueError, match=r"meta\.csv comes nearest but lacks lesion_id \(is it 'lesionid'\?\)"):
        find_table(Files.below(tmp_path), ("image_id", "lesion_id", "dx"), "HAM10000")


def test_no_table_at_all_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"no table of HAM10000 under .* Tables there: none"):
        find_table(Files.below(tmp_path), ("image_id",), "HAM10000")


def test_a_part_that_is_not_there_is_not_replaced_by_another(tmp_path):
    (tmp_path / "train-metadata.csv").write_text("isic_id\na\n")
    with pytest.raises(ValueError, match="no table of ISIC"):
        find_table(Files.below(tmp_path), ("isic_id",), "ISIC", part="test")
    with pytest.raises(ValueError, match=r"unknown part 'tset'. Did you mean 'test'"):
        find_table(Files.below(tmp_path), ("isic_id",), "ISIC", part="tset")


def test_ragged_rows_are_one_sentence(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n1,2,3,4\n")
    with pytest.raises(ValueError, match=r"t\.csv is not a table that can be read"):
        read_table(tmp_path / "t.csv")
