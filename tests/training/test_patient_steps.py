"""SLIMP's batches of patients through the loop: resumed inside an epoch, cut in slices, shared by two ranks."""

from pathlib import Path

import pytest
import torch

import dermis
from dermis.batch.loader import Batches
from dermis.cases.manifest import Manifest
from dermis.distributed import world_size
from dermis.experiment import read_experiment
from dermis.recipes import find_recipe
from dermis.run import build_method, with_tables
from dermis.training.config import TrainingConfig
from dermis.training.loop import quarantined, train
from dermis.training_data import batches_of, training_cases

# 28 patients train, 8 a step; eps well above the gradients' rounding, by whose size AdamW divides
SETTINGS = ["--model.image.name", "test_vit", "--model.image.size", "32", "--method.width", "16", "--data.lesions", "3"]
SETTINGS += ["--data.corruption", "0.3", "--training.epochs", "2", "--training.lr", "1e-2", "--training.eps", "1e-3"]
SETTINGS += ["--training.checkpoint-steps", "1", "--training.log-steps", "1"]


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Manifest:
    """Patients with 1 to 4 lesions, one of whose pictures cannot be opened."""
    manifest = dermis.make_cases(tmp_path_factory.mktemp("cases"), patients=40, size=32, seed=5)
    bad = manifest.split("train").table["image"].iloc[0]
    (Path(manifest.root) / bad).write_bytes(b"not a picture")
    return manifest


def prepared(cases: Manifest, *flags: str) -> tuple[torch.nn.Module, Batches, TrainingConfig]:
    size = ["--training.batch-size", str(8 // world_size())]
    experiment = with_tables(read_experiment(find_recipe("slimp_synthetic"), [*SETTINGS, *size, *flags]), cases)
    method = build_method(experiment)
    chosen, _, _ = training_cases(cases, experiment.data, 0, ())
    return method, batches_of(experiment, method, chosen, None, experiment.training), experiment.training


def run(cases: Manifest, folder: Path, *flags: str, die_at: int | None = None) -> dict[str, torch.Tensor]:
    """The trained weights. ``die_at``: the step after which the run dies."""
    method, batches, config = prepared(cases, *flags)

    def after_step(step: int) -> None:
        if step + 1 == die_at:
            raise InterruptedError

    method.after_step = after_step  # type: ignore[assignment]
    train(method, batches, config, folder, torch.device("cpu"))
    return {name: value.clone() for name, value in method.state_dict().items()}


@pytest.fixture(scope="module")
def whole(cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    weights = run(cases, folder)
    assert len((folder / "log.jsonl").read_text().splitlines()) == 6
    assert list(quarantined(folder)) == [0]
    return weights


def test_an_unreadable_lesion_is_left_out_of_its_patient(cases):
    _, batches, _ = prepared(cases)
    left_out = 0
    for batches.order.epoch in range(3):
        for keys, batch in zip(list(batches.order), batches, strict=True):
            assert batch["row_B"].tolist() == [row for _, row in keys if row != 0]
            left_out += len(keys) - len(batch["row_B"])
    assert left_out > 0


@pytest.mark.parametrize(("die_at", "workers"), [(2, "0"), (4, "2"), (5, "0")])
def test_resuming_inside_an_epoch_gives_the_same_bits(cases, whole, tmp_path, die_at, workers):
    with pytest.raises(InterruptedError):
        run(cases, tmp_path, "--training.workers", workers, die_at=die_at)
    resumed = run(cases, tmp_path, "--training.workers", workers)
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def assert_close(found, whole):
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_slices_that_tear_patients_apart_take_the_whole_batchs_steps(cases, whole, tmp_path):
    assert_close(run(cases, tmp_path, "--training.accumulate", "2"), whole)


def _worker(number, cases, folder):
    return run(cases, folder)


def test_two_ranks_with_four_patients_each_end_where_one_with_eight_does(cases, whole, tmp_path, two_ranks):
    for found in two_ranks(_worker, cases, tmp_path / "run"):
        assert_close(found, whole)
