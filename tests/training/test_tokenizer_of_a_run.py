"""A text tower on a tokenizer of its own: learnt from the training cases' texts, in the run and in the model folder."""

import json
from dataclasses import replace

import pytest

from dermis.cases.manifest import Manifest
from dermis.cases.synthetic import make_cases
from dermis.cli import main
from dermis.experiment import read_experiment
from dermis.model import load
from dermis.recipes import find_recipe
from dermis.run import with_tokenizer
from dermis.towers.trained_tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    make_cases(folder, cases=40, size=48, seed=5)
    flags = ["--data.manifest", folder / "cases.parquet", "--data.cache", folder / "cache", "--out", folder / "run"]
    with pytest.raises(SystemExit) as done:
        main(["train", "m2cg", "--smoke", *map(str, flags)])
    assert done.value.code == 0
    return folder


def test_it_is_that_of_the_training_texts(run):
    train = Manifest.read(run / "cases.parquet").split("train").table.dropna(subset=["dialogue", "complaint"])
    texts = sorted({*train["dialogue"], *train["complaint"]})
    learnt = (run / "run" / "tokenizer.json").read_text()
    assert learnt == train_tokenizer(texts, vocabulary=300)
    assert (run / "run" / "model" / "text" / "tokenizer.json").read_text() == learnt


def test_the_model_folder_moves_without_the_run(run, tmp_path):
    (run / "run" / "model").rename(tmp_path / "elsewhere")
    (run / "run" / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    model = load(tmp_path / "elsewhere")
    settings = json.loads((tmp_path / "elsewhere" / "dermis.json").read_text())
    assert settings["config"]["text"]["tokenizer"] == "text/tokenizer.json"
    assert settings["generator"] == model.generator.settings
    assert model.text.tokenizer.text(model.text.tokenizer(["it itches"])[0]) == "it itches"


def test_what_cannot_be_is_a_sentence(run, tmp_path, capsys):
    cases = ["--data.manifest", str(run / "cases.parquet"), "--out", str(tmp_path / "run")]
    gone = ["--model.text.tokenizer", str(tmp_path / "gone.json"), "--model.text.vocabulary", "None"]
    with pytest.raises(SystemExit):
        main(["train", "m2cg", "--smoke", *cases, *gone])
    assert f"no tokenizer at {tmp_path / 'gone.json'}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "m2cg", "--smoke", *cases, *gone[:2]])
    assert "vocabulary has an effect for a tokenizer that is yet to be made only" in capsys.readouterr().err
    experiment = read_experiment(find_recipe("m2cg"), cases[:2], smoke=True)
    with pytest.raises(ValueError, match="this method reads none"):
        with_tokenizer(experiment, None, tmp_path)
    small = replace(experiment, model=replace(experiment.model, text=replace(experiment.model.text, name="small")))
    assert with_tokenizer(small, None, tmp_path) is small
