"""Shards hold the pictures byte for byte, and webdataset's own reader opens them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import webdataset

from dermis.cases import shards
from dermis.cases.manifest import Manifest
from dermis.cases.shards import write_shards
from dermis.cli import main
from dermis.pictures.header import FORMATS
from dermis.pictures.store import exists, read_bytes
from dermis.pictures.tar import INDEX

CASES = 23


@pytest.fixture
def files(tmp_path) -> Manifest:
    """23 cases, 11 with a second picture, some with texts; number 4's file is not there."""
    rng, folder = np.random.default_rng(0), tmp_path / "files"
    (folder / "p").mkdir(parents=True)
    rows = []
    for i in range(CASES):
        row = {"case_id": f"case {i}", "image": f"p/{i}.JPG", "diagnosis": "nevus", "patient.age": 50.0 + i}
        row |= {"dermoscopy": f"p/d.{i}.png"} if i % 2 else {}
        row |= {"sentences": ["It is brown.", "It is round."], "caption": "größer"} if i % 3 == 0 else {}
        rows.append(row)
        for column in ("image", "dermoscopy"):
            if column in row and i != 4:
                (folder / row[column]).write_bytes(rng.bytes(int(rng.integers(1, 3000))))
    return Manifest.build(pd.DataFrame(rows), folder)


def status(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_picture_is_there_byte_for_byte_and_every_row_but_for_its_paths(files, tmp_path):
    seen = []
    packed, notes = write_shards(files, tmp_path / "shards", 10, lambda done, total: seen.append((done, total)))
    assert seen == [(10, 23), (20, 23), (23, 23)]
    for column in ("image", "dermoscopy"):
        for before, after in zip(files.table[column], packed.table[column], strict=True):
            if before == "p/4.JPG":
                assert (after, exists(packed.root, after)) == ("shard-00000.tar!/00000004.image.missing", False)
            elif isinstance(before, str):
                assert read_bytes(packed.root, after) == read_bytes(files.root, before)
            else:
                assert pd.isna(after)
    assert packed.table["image"][12] == "shard-00001.tar!/00000012.image.jpg"
    assert notes[0] == "image: 1 of 23 pictures cannot be read and are not in the shards."
    assert notes[1].startswith("the first of them: case 4: '4.JPG' is not in")
    rest = [c for c in files.table if c not in ("image", "dermoscopy")]
    pd.testing.assert_frame_equal(packed.table[rest], files.table[rest])
    assert (packed.root, packed.categories) == (tmp_path / "shards", files.categories)


def test_webdataset_reads_the_same_cases(files, tmp_path):
    write_shards(files, tmp_path / "shards", 10)
    names = [str(path) for path in sorted((tmp_path / "shards").glob("*.tar"))]
    found = list(webdataset.WebDataset(names, shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in found] == [f"{i:08d}" for i in range(CASES)]
    for row, sample in zip(files.table.to_dict("records"), found, strict=True):
        told = json.loads(sample["json"])
        assert (told["case_id"], told["patient.age"]) == (row["case_id"], row["patient.age"])
        assert told.get("sentences") == (row["sentences"] if isinstance(row["sentences"], list) else None)
        assert ("caption" in told) == isinstance(row["caption"], str)
        assert not {"image", "dermoscopy"} & told.keys()
        if row["case_id"] != "case 4":
            assert sample["image.jpg"] == read_bytes(files.root, row["image"])
        assert ("dermoscopy.png" in sample) == isinstance(row["dermoscopy"], str)


@pytest.mark.parametrize("die_at, left", [(0, 34), (14, 34), (15, 19), (29, 19), (30, 4), (33, 4)])
def test_what_was_interrupted_goes_on_and_ends_with_the_same_bytes(files, tmp_path, monkeypatch, die_at, left):
    whole, _ = write_shards(files, tmp_path / "whole", 10)
    reads = []

    def dies(root, path):
        reads.append(path)
        if len(reads) == die_at + 1:
            raise KeyboardInterrupt
        return read_bytes(root, path)

    monkeypatch.setattr(shards, "read_bytes", dies)
    with pytest.raises(KeyboardInterrupt):
        write_shards(files, tmp_path / "again", 10)
    done = contents(tmp_path / "again")
    packed, notes = write_shards(files, tmp_path / "again", 10)
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")
    assert all(contents(tmp_path / "again")[name] == data for name, data in done.items() if name.endswith(INDEX))
    assert len(reads) == die_at + 1 + left  # whole shards are not read again
    pd.testing.assert_frame_equal(packed.table, whole.table)
    assert notes[0].startswith("image: 1 of 23 pictures")


def test_a_folder_with_something_else_is_left_alone(files, tmp_path):
    write_shards(files, tmp_path / "shards", 10)
    before = contents(tmp_path / "shards")
    for cases, size in ((files.select(range(20)), 10), (files, 11)):
        with pytest.raises(ValueError, match="holds shards of other cases, or of another size"):
            write_shards(cases, tmp_path / "shards", size)
    assert contents(tmp_path / "shards") == before
    with pytest.raises(ValueError, match="is not empty and holds no shards"):
        write_shards(files, files.root)


def test_import_writes_shards_and_a_manifest_that_names_them(files, tmp_path, capsys):
    files.write(tmp_path / "cases.parquet")
    out, folder = tmp_path / "sharded.parquet", tmp_path / "shards"
    arguments = ["import", "manifest", str(tmp_path / "cases.parquet"), "--out", str(out), "--shards", str(folder)]
    assert status([*arguments, "--cases-per-shard", "7"]) == 0
    assert "note: image: 1 of 23 pictures cannot be read" in capsys.readouterr().out
    packed = Manifest.read(out)
    assert packed.table["image"][22] == "shard-00003.tar!/00000022.image.jpg"
    assert read_bytes(packed.root, packed.table["image"][22]) == read_bytes(files.root, "p/22.JPG")
    assert status([*arguments[:5], "--cases-per-shard", "7"]) == 2
    assert "--cases-per-shard has no effect without --shards" in capsys.readouterr().err


def test_every_format_that_is_read_has_an_extension_for_pictures_without_a_name():
    assert shards.NAMES.keys() == set(FORMATS)


@pytest.mark.parametrize("name", ["a.dcm", "a.IMA", "IM0001"])
def test_dicom_in_shards_is_said_for_it_names_the_patient(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    cases = Manifest.build(pd.DataFrame({"case_id": ["a"], "image": [name]}), tmp_path)
    packed, notes = write_shards(cases, tmp_path / "shards")
    assert packed.table["image"][0] == "shard-00000.tar!/00000000.image.dcm"
    assert notes == ["the shards hold DICOM files as they were, with what they say of the patient."]
