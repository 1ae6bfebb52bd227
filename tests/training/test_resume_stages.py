"""SM3's stages, MoCo's queue and MAE's masks through recipe, batches and loop: cut and resumed, the same bits."""

from dataclasses import replace

import pytest
import torch

from dermis.cases.synthetic import make_cases
from dermis.experiment import read_experiment, stages_of
from dermis.recipes import find_recipe
from dermis.run import build_method
from dermis.training.loop import train
from dermis.training_data import batches_of, cases_of, training_cases

TINY = ["--model.image.size", "32"]
MASKED = ["--model.image.name", "test_vit", "--method.decoder-width", "16", "--method.decoder-layers", "1"]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    make_cases(folder, cases=40, size=32, seed=5)
    return folder / "cases.parquet"


def run(cases, folder, recipe, arguments, die_at=None):
    """``die_at``: (stage, step) after which the process dies; the next call goes on."""
    experiment = read_experiment(find_recipe(recipe), ["--data.manifest", str(cases), *TINY, *arguments])
    method = build_method(experiment)
    chosen, texts, _ = training_cases(cases_of(experiment.data, 0), experiment.data, 0, getattr(method, "texts", ()))
    own_after_step = getattr(method, "after_step", lambda step: None)
    for stage, loop in stages_of(experiment).items():
        if stage:
            method.start_stage(stage)
        newest = die_at[1] - 1 if die_at else 0  # before the step in which it dies
        loop = replace(loop, checkpoint_steps=newest or None, epochs=2, batch_size=8, workers=0)
        batches = batches_of(experiment, method, chosen, texts, loop)

        def die(step, stage=stage):
            own_after_step(step)
            if (stage, step + 1) == die_at:
                raise InterruptedError

        method.after_step = die
        train(method, batches, loop, folder / stage, torch.device("cpu"))
    return {name: value.clone() for name, value in method.state_dict().items()}


@pytest.mark.parametrize(
    ("recipe", "arguments", "die_at"),
    [
        ("sm3_synthetic", [], ("contrast", 2)),
        ("sm3_synthetic", [], ("labels", 1)),
        ("sm3_synthetic", ["--method.as-released", "--method.relation", "te"], ("labels", 4)),
        ("moco", ["--method.queue", "20", "--model.paired"], ("", 3)),
        ("mae", MASKED, ("", 3)),
        ("mae", [*MASKED, "--training.accumulate", "2"], ("", 6)),
    ],
    ids=lambda x: str(x),
)
def test_resuming_gives_the_same_bits(cases, tmp_path, recipe, arguments, die_at):
    whole = run(cases, tmp_path / "whole", recipe, arguments)
    with pytest.raises(InterruptedError):
        run(cases, tmp_path / "cut", recipe, arguments, die_at)
    resumed = run(cases, tmp_path / "cut", recipe, arguments)
    assert resumed.keys() == whole.keys()
    assert [name for name, value in whole.items() if not torch.equal(value, resumed[name])] == []
