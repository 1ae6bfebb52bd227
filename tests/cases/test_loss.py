"""What would be lost where one manifest is written over another, and the import that asks first."""

import pandas as pd
import pytest

from dermis.cases.loss import what_is_lost
from dermis.cases.manifest import Manifest
from dermis.cli import main


def cases(**columns) -> Manifest:
    table = {"case_id": ["a", "b", "c"], "image": ["1.jpg", "2.jpg", "3.jpg"]}
    return Manifest.build(pd.DataFrame(table | {n.replace("__", "."): v for n, v in columns.items()}), ".")


FULL = {
    "sentences": [["One.", "Two."], None, []],
    "caption": ["x", None, "y"],
    "caption_origin": ["given", None, "given"],
    "lesion__size": [1.0, None, 2.0],
    "lesion__site": ["arm", None, "leg"],
}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_nothing_is_lost_by_the_same_again_by_more_or_by_other_places_of_pictures(tmp_path, suffix):
    before = Manifest.read(cases(**FULL).write(tmp_path / f"cases.{suffix}"))
    assert what_is_lost(before, cases(**FULL)) == []
    assert what_is_lost(before, cases(**FULL).select([2, 0, 1])) == []
    assert what_is_lost(before, cases(**FULL | {"caption": ["x", "new", "y"], "diagnosis": "nevus"})) == []
    assert what_is_lost(before, cases(**FULL, split=None)) == []
    assert what_is_lost(before, cases(**FULL | {"image": "p/1.jpg", "caption_origin": "narrated"})) == []


def test_columns_values_and_cases_are_lost():
    before = cases(**FULL, split=["train", "valid", "test"], fold=None)
    assert what_is_lost(before, cases(**FULL)) == ["the column(s) split"]
    assert what_is_lost(before, cases(**FULL, split=None)) == ["the column(s) split"]
    assert what_is_lost(before, cases(split=["train", "test", None])) == [
        "the column(s) sentences, caption, lesion.size, lesion.site", "other values in split (2 case(s))"
    ]  # fmt: skip
    other = FULL | {"sentences": [["One.", "2."], None, []], "lesion__size": ["1", "big", "2"], "split": "train"}
    assert what_is_lost(before, cases(**other).select([0, 2])) == [
        "other values in sentences (1 case(s))", "other values in lesion.size (2 case(s))",
        "other values in split (1 case(s))", "1 other case(s)",
    ]  # fmt: skip


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A table of one's own, and the import of it with these columns: the exit status."""
    rows = [f"{i}.jpg,{'nevus' if i % 2 else 'melanoma'},p{i},A papule {i}." for i in range(20)]
    (tmp_path / "own.csv").write_text("\n".join(["file,label,patient,text", *rows]))
    monkeypatch.chdir(tmp_path)

    def run(columns, *more):
        return status("import", "csv", "own.csv", "--out", "cases.parquet", *more, "--options", "columns", columns)

    return run


def status(*arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code


ALL = "image=file, diagnosis=label, patient_id=patient, caption=text"


def test_an_import_loses_nothing_of_an_older_one_unless_told_to(own, tmp_path, capsys):
    assert own("image=file, diagnosis=label") == 0
    assert own("image=file, diagnosis=label") == 0
    assert own(ALL) == 0
    assert status("split", "cases.parquet") == 0
    before = (tmp_path / "cases.parquet").read_bytes()
    capsys.readouterr()
    assert own("image=file, diagnosis=text") == 2
    assert capsys.readouterr().err == (
        "dermis import: cases.parquet is there, with the column(s) patient_id, caption, split and other values in "
        "diagnosis (20 case(s)) that this import has not: --replace writes over it, another --out keeps it.\n"
    )
    assert (tmp_path / "cases.parquet").read_bytes() == before
    assert own(ALL, "--replace") == 0
    assert "split" not in Manifest.read("cases.parquet").table


def test_an_import_asks_before_it_writes_over_what_it_cannot_read_and_never_over_its_own_table(own, tmp_path, capsys):
    (tmp_path / "cases.parquet").write_bytes(b"half")
    assert own(ALL) == 2
    assert "cases.parquet is there and is no manifest that can be read: --replace" in capsys.readouterr().err
    assert own(ALL, "--replace") == 0
    before = (tmp_path / "own.csv").read_bytes()
    for more in ((), ("--replace",)):
        assert status("import", "csv", "own.csv", "--out", "own.csv", *more, "--options", "columns", ALL) == 2
        assert "own.csv is the table that is read" in capsys.readouterr().err
    assert (tmp_path / "own.csv").read_bytes() == before


def test_shards_may_take_the_place_of_files_in_the_same_manifest(own, tmp_path):
    assert own(ALL) == 0
    assert own(ALL, "--shards", "shards") == 0
    assert own(ALL, "--shards", "shards") == 0
    assert status("import", "manifest", "cases.parquet", "--shards", "again") == 0
    assert own(ALL) == 0
