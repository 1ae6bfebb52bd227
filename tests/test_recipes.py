"""Every recipe's smoke size runs from files to a report, on the synthetic skin or on the real data it names."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import dermis
from dermis.cli import main
from dermis.evaluation.report import Report
from dermis.model import load

ROOT = Path(__file__).parents[1]
FILES = ("hf:", "teacher:")  # what these name has to be there first
ON_ANY_CASES = sorted(p.stem for p in ROOT.glob("recipes/*.yaml") if not any(word in p.read_text() for word in FILES))


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    dermis.make_cases(folder, patients=40, size=64, seed=3)
    return folder / "cases.parquet"


def status_of(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code


def quick_first(recipe):
    """SLIMP's recipes differ in data set and columns; one of them, and the synthetic one, stand for the others."""
    alike = recipe.startswith("slimp_") and recipe not in ("slimp_isic2024", "slimp_synthetic")
    return pytest.param(recipe, marks=pytest.mark.slow) if alike else recipe


@pytest.mark.parametrize("recipe", [quick_first(name) for name in ON_ANY_CASES])
def test_smoke(recipe, cases, tmp_path):
    run = tmp_path / "run"
    command = ["train", recipe, "--smoke", "--out", str(run), "--data.manifest", str(cases)]
    command += ["--data.cache", str(tmp_path / "cache")]
    assert status_of(command) == 0
    report = Report.read(run / "report" / "report.json")
    stages = sorted(folder.parent.name for folder in run.glob("*/checkpoints"))
    assert {e.model for e in report.entries} == {"untrained", recipe, *(f"{recipe}: {s}" for s in stages[:-1])}
    assert report.synthetic
    assert isinstance(load(run / "model"), torch.nn.Module)
    logs = sorted(run.rglob("log.jsonl"))
    assert len(logs) == max(len(stages), 1)
    assert all(json.loads(line)["loss"] > 0 for log in logs for line in log.read_text().splitlines())

    # the resolved recipe is a recipe, and the same command finds nothing left to do
    again = ["train", str(run / "recipe.yaml"), "--out", str(run)]
    steps = [log.read_text() for log in logs]
    assert status_of(again) == 0
    assert [log.read_text() for log in logs] == steps


def test_a_trained_model_is_evaluated_and_embeds_from_the_command_line(cases, tmp_path, capsys):
    command = ["train", "demo", "--smoke", "--out", str(tmp_path / "run"), "--data.manifest", str(cases)]
    assert status_of([*command, "--data.cache", str(tmp_path / "cache")]) == 0
    model, report = str(tmp_path / "run" / "model"), tmp_path / "report"
    command = ["evaluate", model, str(cases), "--out", str(report), "--cache", str(tmp_path / "cache")]
    assert status_of([*command, "--evaluation.protocols", "prompts", "--evaluation.n-boot", "20"]) == 0
    again = Report.read(report / "report.json").value("prompt classification", "macro AUROC")
    first = Report.read(tmp_path / "run" / "report" / "report.json")
    assert again.value == first.value("prompt classification", "macro AUROC", model="demo").value
    assert status_of(["embed", model, str(cases), "--out", str(tmp_path / "embeddings")]) == 0
    manifest, stored = dermis.Manifest.read(cases), dermis.Embeddings.open(tmp_path / "embeddings")
    assert stored.cases.table["case_id"].tolist() == manifest.table["case_id"].tolist()
    picture = manifest.root / manifest.table["image"][5]
    one = dermis.encode_pictures(load(model), [picture], normalize=False)
    np.testing.assert_allclose(stored.vectors[5], one[0], rtol=1e-4, atol=1e-5)


def test_the_shuffled_control_and_held_out_classes_are_said(cases, tmp_path):
    command = ["train", "demo", "--smoke", "--out", str(tmp_path / "run"), "--data.manifest", str(cases)]
    command += ["--data.shuffle-texts", "--data.hold-out", "melanoma", "--data.cache", str(tmp_path / "cache")]
    command += ["--training.evaluate-epochs", "1"]
    assert status_of(command) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert "prompt classification: macro AUROC" in next(line for line in lines if line["kind"] == "evaluate")
    notes = " ".join(Report.read(tmp_path / "run" / "report" / "report.json").notes)
    assert "texts are shuffled" in notes
    assert "melanoma are held out" in notes


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["train", "clip_smal"], "Did you mean 'clip_small'?"),
        (["train", "clip_small"], "no cases: give --data.manifest"),
        (["train", "clip_small", "--method.name", "clp"], "Did you mean 'clip'?"),
        (["train", "clip_ham10000"], "needs the data set's folder"),
        (["check", "nowhere.parquet"], "no manifest at nowhere.parquet"),
        (["evaluate", "nowhere", "nowhere.parquet"], "no folder at nowhere"),
        (["import", "ham1000", "."], "Did you mean 'ham10000'?"),
        (["list", "method"], "Did you mean 'methods'?"),
        (["trian"], "Did you mean 'train'?"),
    ],
)
def test_wrong_input_is_a_sentence(arguments, sentence, capsys):
    assert status_of(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_the_small_commands(cases, tmp_path, capsys):
    copy = str(tmp_path / "cases.parquet")
    assert status_of(["split", str(cases), "--out", copy, "--stratify", "None"]) == 0
    assert status_of(["check", copy]) == 0
    assert status_of(["list"]) == 0
    assert status_of(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "train" in said
    assert "ham10000" in said
    assert "torch" in said


def test_a_protocol_by_its_short_flag_with_its_own_settings(cases, tmp_path, capsys):
    command = ["train", "simclr", "--smoke", "--out", str(tmp_path / "run"), "--data.manifest", str(cases)]
    assert status_of([*command, "--data.cache", str(tmp_path / "cache")]) == 0
    command = ["evaluate", str(tmp_path / "run" / "model"), str(cases), "--out", str(tmp_path / "report")]
    command += ["--cache", str(tmp_path / "cache"), "--protocol", "finetune", "--evaluation.n-boot", "20"]
    command += [
        "--evaluation.finetune.out",
        str(tmp_path / "tuned"),
        "--evaluation.finetune.freeze",
        "picture_towers.*",
    ]
    command += ["--evaluation.finetune.augmentation", "none", "--evaluation.finetune.targets", "diagnosis"]
    command += ["--evaluation.finetune.training.epochs", "2", "--evaluation.finetune.training.batch-size", "16"]
    command += ["--evaluation.finetune.training.workers", "0"]
    assert status_of(command) == 0
    assert "fine-tuning: macro AUROC" in capsys.readouterr().out
    assert [type(load(folder)).__name__ for folder in tmp_path.glob("tuned/*/seed-0/model")] == ["Branches"]


@pytest.mark.data
def test_smoke_on_ham10000(shared_data, shared_weights, tmp_path):
    """A tenth of the pictures would need minutes to embed, so only that the recipe reads what it names."""
    from dermis.experiment import read_experiment
    from dermis.training_data import cases_of, training_cases

    arguments = ["--data.root", str(shared_data / "ham10000_200x150"), "--data.options", "split"]
    experiment = read_experiment(ROOT / "recipes" / "clip_ham10000.yaml", [*arguments, "split_lesion_grouped.csv"])
    manifest = cases_of(experiment.data, 0)
    cases, _, notes = training_cases(manifest, experiment.data, 0)
    assert (len(manifest), len(manifest.split("test"))) == (10015, 2015)
    assert len(cases) == len(manifest.split("train"))
    assert not notes


def test_every_setting_of_a_block_that_may_be_null_is_a_flag():
    from dermis.experiment import read_experiment

    recipe = ROOT / "recipes" / "clip_ham10000.yaml"
    assert read_experiment(recipe, ["--data.narrate.drop", "0.1"]).data.narrate.drop == 0.1
    assert read_experiment(recipe, ["--method.name", "siglip"]).method.name == "siglip"
