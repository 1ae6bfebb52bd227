"""Files are there whole or as they were; and those who write over what they read use that."""

import gzip
import json
import os
from pathlib import Path

import pandas as pd
import pytest

from dermis.cases.exported import write_rows
from dermis.cases.manifest import Manifest, sidecar_of
from dermis.cases.shards import write_shards
from dermis.cases.whole_files import written_whole
from dermis.commands import corpus, knowledge

FULL = OSError(28, "No space left on device")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def fill_disk(monkeypatch):
    """From its call on tables are written by half."""

    def half(self, path, **_):
        Path(path).write_bytes(b"half")
        raise FULL

    def fill():
        monkeypatch.setattr(pd.DataFrame, "to_parquet", half)
        monkeypatch.setattr(pd.DataFrame, "to_csv", half)

    return fill


def cases(folder: Path, **columns) -> Manifest:
    table = {"case_id": ["a", "b"], "image": ["a.jpg", "b.jpg"], "caption": ["A red papule.", "A plaque."]}
    return Manifest.build(pd.DataFrame(table | columns), folder)


def interrupted(*paths: Path) -> None:
    with written_whole(*paths) as scratches:
        for scratch in scratches:
            scratch.write_text("other")
        raise KeyboardInterrupt


def test_files_take_their_places_together_and_after_an_error_nothing_has_changed(tmp_path):
    a, b = tmp_path / "new" / "a", tmp_path / "b"
    with written_whole(a, b) as (one, two):
        one.write_text("a")
        two.write_text("b")
        assert not a.exists()
    assert (a.read_text(), b.read_text()) == ("a", "b")
    with pytest.raises(KeyboardInterrupt):
        interrupted(a, b)
    assert contents(a.parent) | contents(tmp_path) == {"a": b"a", "b": b"b"}


def test_a_link_stays_a_link_and_a_file_keeps_its_permissions(tmp_path):
    (tmp_path / "far").mkdir()
    place, link = tmp_path / "far" / "place", tmp_path / "link"
    place.write_text("before")
    place.chmod(0o640)
    link.symlink_to(Path("far") / "place")
    with written_whole(link) as (scratch,):
        scratch.write_text("after")
    assert link.is_symlink()
    assert (place.read_text(), place.stat().st_mode & 0o777) == ("after", 0o640)
    assert len([*tmp_path.rglob("*")]) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path):
    (tmp_path / "a").write_text("before")
    (tmp_path / "a").chmod(0o440)
    with pytest.raises(PermissionError), written_whole(tmp_path / "a") as (scratch,):
        scratch.write_text("after")
    assert contents(tmp_path) == {"a": b"before"}


def test_what_is_no_file_is_written_where_it_is(tmp_path):
    write_rows(pd.DataFrame({"a": [1]}), "/dev/null")
    assert Path("/dev/null").is_char_device()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        write_rows(pd.DataFrame({"a": [1]}), tmp_path / "folder.csv")
    write_rows(pd.DataFrame({"a": [1]}), tmp_path / "a.csv.gz")
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == b"a\n1\n"


@pytest.mark.parametrize("name", ["cases.parquet", "cases.csv"])
def test_a_failed_write_leaves_the_older_manifest(tmp_path, fill_disk, name):
    path = cases(tmp_path).write(tmp_path / name)
    fill_disk()
    before = contents(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        cases(tmp_path / "pictures", **{"lesion.site": "arm"}).write(path)
    assert contents(tmp_path) == before
    assert Manifest.read(path).root == tmp_path


def test_a_manifest_that_is_a_link_stays_one(tmp_path):
    path = cases(tmp_path).write(tmp_path / "shared" / "cases.parquet")
    link = tmp_path / "cases.parquet"
    link.symlink_to(path)
    cases(tmp_path, split="train").write(link)
    assert link.is_symlink()
    assert Manifest.read(path).table["split"].tolist() == ["train"] * 2
    assert sidecar_of(link).is_file()


def test_a_failed_export_and_a_failed_corpus_leave_the_older_files(tmp_path, fill_disk):
    fill_disk()
    for name in ("make.csv", "clean.dropped.parquet", "clean.report.md"):
        (tmp_path / name).write_bytes(b"older")
    before = contents(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        write_rows(pd.DataFrame({"a": [1]}), tmp_path / "make.csv")
    assert contents(tmp_path) == before
    (tmp_path / "cases.csv").write_text("case_id,image,caption\na,a.jpg,A red papule on an arm.\n")
    before = contents(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        corpus.run([str(tmp_path / "cases.csv"), "--out", str(tmp_path / "clean.parquet"), "--no-pictures"])
    assert contents(tmp_path) == before


def test_records_that_fail_half_way_leave_the_older_ones(tmp_path, monkeypatch):
    records = tmp_path / "a.jsonl"
    records.write_text('{"caption": "A red papule."}\n{"caption": "A plaque."}\n')
    before = contents(tmp_path)

    def tired(asked, texts):
        yield None
        raise FULL

    monkeypatch.setattr(knowledge, "_answers", tired)
    with pytest.raises(OSError, match="No space left"):
        knowledge.run([str(records), "--out", str(records)])
    assert contents(tmp_path) == before


def test_shards_that_could_not_be_begun_can_be_begun_again(tmp_path, monkeypatch):
    files = cases(tmp_path)

    def half(self, text, **_):
        self.write_bytes(b"{")
        raise FULL

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", half)
        with pytest.raises(OSError, match="No space left"):
            write_shards(files, tmp_path / "shards")
    write_shards(files, tmp_path / "shards")
    assert json.loads((tmp_path / "shards" / "shards.json").read_text())["cases"] == 2
