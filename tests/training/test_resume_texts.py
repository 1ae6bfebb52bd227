"""Methods that read texts, through batches, towers and loop: interrupted and resumed, the same bits."""

from dataclasses import replace

import pytest
import torch

from dermis.cases.synthetic import make_cases
from dermis.experiment import read_experiment
from dermis.methods import methods
from dermis.recipes import find_recipe
from dermis.run import build_method, with_tokenizer
from dermis.training.loop import train
from dermis.training_data import batches_of, cases_of, texts_read, texts_said, training_cases

SETTINGS = [
    ["--method.ontology", "default", "--training.accumulate", "2"],
    ["--method.as-released"],
    ["--method.name", "coca", "--method.decoder-layers", "1", "--method.queries", "3"],
    ["--method.name", "convirt", "--training.accumulate", "2", "--model.head", "mlp"],
    ["--method.name", "gloria", "--training.accumulate", "2", "--method.chunk", "3"],
    ["m2cg", "--training.accumulate", "2"],
]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    make_cases(folder, cases=40, size=48, seed=5)
    return folder / "cases.parquet"


def run(cases, folder, arguments, die_at=None):
    given = ["--data.manifest", str(cases), "--data.hold-out", "--training.workers", "0", "--training.batch-size", "8"]
    small = ["--model.image.size", "48", "--model.text.layers", "1", "--training.epochs", "2"]
    recipe, flags = ("make_synthetic", arguments) if arguments[0].startswith("--") else (arguments[0], arguments[1:])
    experiment = read_experiment(find_recipe(recipe), [*given, *small, *flags], smoke=recipe == "m2cg")
    newest = die_at - 1 if die_at else None  # before the step in which it dies
    experiment = replace(experiment, training=replace(experiment.training, checkpoint_steps=newest))
    manifest = cases_of(experiment.data, 0)
    whole = getattr(methods()[experiment.method.name], "whole", ())
    chosen, texts, _ = training_cases(manifest, experiment.data, 0, texts_read(experiment), whole)
    experiment = with_tokenizer(experiment, texts_said(texts, len(chosen)), folder)
    method = build_method(experiment)
    batches = batches_of(experiment, method, chosen, texts, experiment.training)
    after_step = getattr(method, "after_step", lambda step: None)

    def die(step):
        after_step(step)
        if step + 1 == die_at:
            raise InterruptedError

    method.after_step = die
    train(method, batches, experiment.training, folder, torch.device("cpu"))
    return {name: value.clone() for name, value in method.state_dict().items()}


@pytest.mark.parametrize("arguments", SETTINGS, ids=lambda a: a[1] if len(a) > 1 else a[0])
def test_resuming_gives_the_same_bits(cases, tmp_path, arguments):
    whole = run(cases, tmp_path / "whole", arguments)
    with pytest.raises(InterruptedError):
        run(cases, tmp_path / "cut", arguments, die_at=4)
    resumed = run(cases, tmp_path / "cut", arguments)
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
