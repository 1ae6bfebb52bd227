"""From Derm7pt as it lies on disk to Table I: the real tables, drawn pictures in their place, the command line."""

import importlib.util
import re
from pathlib import Path

import pandas as pd
import pytest

from dermis.cli import main
from dermis.evaluation.report import Report

ROOT = Path(__file__).parents[1]


def dermis(*arguments: object) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    assert end.value.code == 0


@pytest.fixture(scope="module")
def derm7pt(shared_data, tmp_path_factory) -> Path:
    """The manifest of a tree in the official layout."""
    found = importlib.util.spec_from_file_location("stand_in", ROOT / "examples" / "derm7pt_stand_in.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("derm7pt")
    module.stand_in(shared_data / "derm7pt_tables", folder, 32)
    dermis("import", "derm7pt", folder, "--out", folder / "derm7pt.parquet")
    return folder / "derm7pt.parquet"


@pytest.mark.data
def test_from_the_official_layout_to_table_one(derm7pt, tmp_path, capsys):
    run, cache = tmp_path / "run", ["--data.cache", tmp_path / "cache"]
    short = ["--training.contrast.batch-size", 64, "--training.labels.batch-size", 128, "--model.image.size", 32]
    dermis("train", "sm3", "--smoke", "--out", run, "--data.manifest", derm7pt, *cache, *short)
    report = Report.read(run / "report" / "report.json")
    assert (report.cases, report.split) == (395, "test")
    assert {e.model for e in report.entries} == {"untrained", "sm3: contrast", "sm3"}
    table_three = [e for e in report.entries if e.split == "train" and e.protocol.endswith("clinical, features")]
    assert {e.n for e in table_three} == {413}

    capsys.readouterr()
    evaluate = ["evaluate", run / "model", derm7pt, "--out", tmp_path / "report", "--cache", tmp_path / "cache"]
    dermis(*evaluate, "--protocol", "derm7pt", "--evaluation.n-boot", 50)
    said = capsys.readouterr().out
    (header,) = re.findall(r"\| \| (BWV present .* AVG) \|", said)
    assert header.split(" | ")[:2] == ["BWV present", "DaG irregular"]
    row = re.findall(r"^\| AUC \| (.*) \|$", said, flags=re.MULTILINE)[0].split(" | ")
    assert len(row) == 9
    # the pictures know nothing of the labels
    assert all(re.fullmatch(r"\d+\.\d \[\d+\.\d, \d+\.\d\]", cell) for cell in row)
    assert 40 < float(row[-1].split()[0]) < 60
    each = pd.read_csv(tmp_path / "report" / "run-derm7pt-linear-probes.csv")
    assert len(each) == 395
    assert {"score", "expected score", "deviation of the score", "probability of a score from 3"} <= set(each)


@pytest.mark.data
@pytest.mark.slow
def test_the_published_tables_and_the_supervised_rows(derm7pt, tmp_path, capsys):
    sets, cache = derm7pt.parent, ["--data.cache", tmp_path / "cache"]
    dermis("train", "fusionm4net", "--smoke", "--out", tmp_path / "fm4", "--data.manifest", derm7pt, *cache)
    dermis("evaluate", tmp_path / "fm4" / "model", derm7pt, "--protocol", "labels", "second_stage",
           "--out", tmp_path / "second", "--cache", tmp_path / "cache")  # fmt: skip
    assert "second stage with metadata" in capsys.readouterr().out
    for table in ("sm3-1", "sm3-2", "sm3-3"):
        dermis("evaluate", tmp_path / "fm4" / "model", "--table", table, "--sets", sets, "--out", tmp_path / table,
               "--cache", tmp_path / "cache", "--evaluation.n-boot", 20)  # fmt: skip
        page = (tmp_path / table / "table.md").read_text()
        assert "derm7pt" in page.lower()
        assert "\\*" not in page  # measured on as many cases as published
