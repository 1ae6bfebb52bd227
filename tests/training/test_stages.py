"""A recipe with stages, a loop that may end early, and batches in the manifest's order."""

from pathlib import Path

import pytest
import torch

from dermis.experiment import experiment_of, read_experiment, seed_of, stages_of
from dermis.recipe import to_mapping
from dermis.recipes import find_recipe
from dermis.training.config import StageConfig, TrainingConfig
from dermis.training.loop import train

SM3 = find_recipe("sm3_synthetic")


def test_each_stage_has_flags_and_a_block_of_its_own():
    flags = [
        "--training.contrast.epochs",
        "3",
        "--training.labels.lr",
        "0.5",
        "--training.labels.augmentation",
        "light",
    ]
    experiment = read_experiment(SM3, flags)
    stages = stages_of(experiment)
    assert list(stages) == ["contrast", "labels"]
    assert (stages["contrast"].epochs, stages["labels"].lr, stages["labels"].augmentation) == (3, 0.5, "light")
    assert stages["contrast"].augmentation is None
    assert to_mapping(experiment_of(to_mapping(experiment))) == to_mapping(experiment)


def test_a_stage_of_no_epochs_is_left_out_but_not_all():
    one = read_experiment(SM3, ["--training.contrast.epochs", "0", "--training.labels.seed", "4"])
    assert list(stages_of(one)) == ["labels"]
    assert seed_of(one) == 4
    none = read_experiment(SM3, ["--training.contrast.epochs", "0", "--training.labels.epochs", "0"])
    with pytest.raises(ValueError, match=r"leaves out every stage \(contrast, labels\)"):
        stages_of(none)
    assert StageConfig(epochs=0).epochs == 0
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        TrainingConfig(epochs=0)


def test_a_method_without_stages_has_one_loop():
    experiment = read_experiment(find_recipe("clip_small"))
    assert list(stages_of(experiment)) == [""]


def test_a_wrong_stage_or_towers_of_another_method_are_named(tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        "name: x\nmodel: {image: {name: resnet10t}}\nmethod: {name: sm3}\ntraining: {contrats: {epochs: 1}}"
    )
    with pytest.raises(ValueError, match="Did you mean 'contrast'"):
        read_experiment(wrong)
    wrong.write_text("name: x\nmodel: {image: {name: resnet10t}, embed_dim: 4}\nmethod: {name: sm3}")
    with pytest.raises(ValueError, match="unknown key in model 'embed_dim'"):
        read_experiment(wrong)


class Watch:
    """Satisfied after its second look."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self, method: torch.nn.Module) -> dict[str, float]:
        self.looks += 1
        return {"looks": float(self.looks)}

    @property
    def finished(self) -> bool:
        return self.looks == 2


def test_training_ends_once_the_evaluation_is_satisfied(twins, make_batches, tmp_path: Path):
    watch = Watch()
    config = TrainingConfig(epochs=9, batch_size=6, workers=0, evaluate_epochs=1)
    train(twins(), make_batches(), config, tmp_path, torch.device("cpu"), watch)
    assert watch.looks == 2
    assert len([line for line in (tmp_path / "log.jsonl").read_text().splitlines() if '"evaluate"' in line]) == 2


def test_every_case_once_in_order_also_those_that_fill_no_batch(make_batches):
    batches = make_batches(6)
    batches.order.epoch = 2
    seen = list(batches.in_order())
    rows = torch.cat([batch["row_B"] for batch in seen])
    bad = [row for batch in seen for row, _ in batch["quarantined"]]
    assert bad == [7]
    assert [int(row) for row in rows if row != rows[7]] == [i for i in range(26) if i not in (7, int(rows[7]))]
    assert [len(batch["row_B"]) for batch in seen] == [6, 6, 6, 6, 2]
    # augmented as the epoch's own batches are
    own = {int(row): view for batch in batches for row, view in zip(batch["row_B"], batch["image_BVCHW"], strict=True)}
    torch.testing.assert_close(seen[0]["image_BVCHW"][3], own[3])
