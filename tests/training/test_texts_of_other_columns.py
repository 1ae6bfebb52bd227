"""A method of captions on a manifest that has none: the recipe says which columns are its texts."""

import pytest

from dermis.cases.manifest import Manifest
from dermis.cases.synthetic import make_cases
from dermis.cli import main


def test_consultations_stand_for_captions(tmp_path):
    make_cases(tmp_path / "cases", cases=24, size=48, seed=5)
    cases = Manifest.read(tmp_path / "cases" / "cases.parquet")
    Manifest.build(cases.table.drop(columns="caption"), cases.root).write(tmp_path / "bare.parquet")
    flags = [
        "--data.manifest",
        tmp_path / "bare.parquet",
        "--data.cache",
        tmp_path / "cache",
        "--out",
        tmp_path / "run",
    ]
    with pytest.raises(SystemExit) as done:
        main(["train", "convirt", "--smoke", *map(str, flags)])
    assert done.value.code == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
