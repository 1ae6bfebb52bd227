"""A folder that holds a run goes on with that run's settings and no others, and says what differs."""

import json
from dataclasses import replace

import pytest

from dermis import run as runs
from dermis.cases.synthetic import make_cases
from dermis.cli import main
from dermis.experiment import read_experiment
from dermis.recipes import find_recipe
from dermis.run import cases_of, refuse_another_run, start, with_tables


def status(*arguments):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, arguments)))
    return end.value.code


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The flags of a run that is done, and its folder."""
    folder = tmp_path_factory.mktemp("trained")
    make_cases(folder, patients=30, size=32, seed=1)
    (folder / "copy.parquet").write_bytes((folder / "cases.parquet").read_bytes())
    (folder / "copy.schema.json").write_bytes((folder / "cases.schema.json").read_bytes())
    flags = ["--data.manifest", folder / "cases.parquet", "--data.cache", folder / "cache", "--no-untrained"]
    flags += ["--smoke", "--model.image.size", "32", "--evaluation.protocols", "knn", "--out", folder / "run"]
    assert status("train", "simclr", *flags) == 0
    return flags, folder / "run"


@pytest.mark.parametrize(
    ("recipe", "arguments", "sentence"),
    [
        ("simclr", ["--training.lr", "0.5"], "holds a run with other training.lr (0.001 there, 0.5 here): choose"),
        ("simclr", ["--training.seed", "7"], "other training.seed (0 there, 7 here): choose another folder (--out)"),
        ("simclr", ["--training.epochs", "2"], "training.epochs (1 there, 2 here)"),
        ("simclr", ["--training.batch-size", "8"], "16 cases per step (batch_size x ranks); this run has 8"),
        ("simclr", ["--data.manifest", "copy.parquet"], "other data.manifest ("),
        ("clip_small", [], 'holds a run with other method.name ("simclr" there, "clip" here): choose'),
    ],
)
def test_other_settings_are_refused_and_named(trained, capsys, recipe, arguments, sentence):
    flags, folder = trained
    arguments = [folder.parent / word if word == "copy.parquet" else word for word in arguments]
    held = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert status("train", recipe, *flags, *arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said) < 1000
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == held


def test_what_changes_nothing_of_the_training_may_differ_and_the_runs_own_recipe_goes_on(trained, capsys):
    flags, folder = trained
    machine = ["--training.workers", "1", "--training.keep", "5", "--training.evaluate-epochs", "3"]
    assert status("train", "simclr", *flags, *machine, "--evaluation.neighbours", "3", "--name", "other") == 0
    assert status("train", folder / "model" / "recipe.yaml", "--out", folder) == 0
    assert capsys.readouterr().err.count("resumed at step") == 2


def begin(experiment, folder, *stages):
    """A run's folder as it is after the first checkpoint of these stages."""
    start(experiment, folder, "a test")
    for stage in stages:
        newest = folder / stage / "checkpoints" / "step-00000001"
        newest.mkdir(parents=True)
        (newest / "state.json").write_text(json.dumps({"cases_per_step": 12}))


def test_a_stage_that_has_not_begun_may_still_be_changed(tmp_path):
    def asked(*flags):
        sizes = [f"--training.{stage}.batch-size=12" for stage in ("contrast", "labels")]
        return read_experiment(find_recipe("sm3_synthetic"), [*sizes, *flags])

    begin(asked("--training.labels.epochs", "0"), tmp_path, "contrast")
    refuse_another_run(asked("--training.labels.lr", "0.5", "--training.labels.batch-size", "7"), tmp_path)
    with pytest.raises(ValueError, match=r"other training\.contrast\.lr \("):
        refuse_another_run(asked("--training.contrast.lr", "0.5"), tmp_path)
    with pytest.raises(ValueError, match=r"other training\.contrast\.epochs \("):
        refuse_another_run(asked("--training.contrast.epochs", "0"), tmp_path)
    begin(asked(), tmp_path, "labels")
    refuse_another_run(asked(), tmp_path)
    with pytest.raises(ValueError, match=r"other training\.labels\.lr \("):
        refuse_another_run(asked("--training.labels.lr", "0.5"), tmp_path)


def test_another_number_of_ranks_goes_on_with_as_many_cases_a_step(tmp_path, monkeypatch):
    def asked(size):
        return read_experiment(find_recipe("simclr"), ["--training.batch-size", str(size)])

    begin(asked(12), tmp_path, "")
    monkeypatch.setattr(runs, "world_size", lambda: 2)
    refuse_another_run(asked(6), tmp_path)
    with pytest.raises(ValueError, match=r"12 cases per step .* this run has 24"):
        refuse_another_run(asked(12), tmp_path)


def test_a_run_that_failed_before_its_first_checkpoint_is_no_run(tmp_path):
    experiment = read_experiment(find_recipe("simclr"))
    start(experiment, tmp_path, "a test")
    refuse_another_run(replace(experiment, training=replace(experiment.training, lr=0.5)), tmp_path)


def test_what_was_learnt_from_the_cases_is_the_same_when_learnt_again(tmp_path):
    make_cases(tmp_path / "cases", patients=20, size=16, seed=1)
    flags = ["--data.manifest", str(tmp_path / "cases" / "cases.parquet"), "--training.batch-size", "12"]
    slimp = read_experiment(find_recipe("slimp_synthetic"), flags)
    manifest = cases_of(slimp.data, 0)
    begin(with_tables(slimp, manifest), tmp_path / "run", "")
    refuse_another_run(with_tables(slimp, manifest), tmp_path / "run")
    fewer = with_tables(slimp, manifest.select(manifest.table.index < 30))
    with pytest.raises(ValueError, match=r"other method\.tables\."):
        refuse_another_run(fewer, tmp_path / "run")


def test_a_tokenizer_that_is_yet_to_be_learnt_is_not_compared(tmp_path):
    asked = read_experiment(find_recipe("m2cg"), ["--training.batch-size", "12"])
    learnt = replace(asked.model.text, tokenizer="tokenizer.json", vocabulary=None, characters=None)
    begin(replace(asked, model=replace(asked.model, text=learnt)), tmp_path, "")
    refuse_another_run(asked, tmp_path)
