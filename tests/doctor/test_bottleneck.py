"""A real measurement on a tiny manifest: by the real loader and the real loop, in bounded time, without a trace."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import dermis
from dermis.cases.manifest import Manifest
from dermis.doctor import choice, step
from dermis.doctor.bottleneck import measure
from dermis.doctor.choice import chosen, recipe_of
from dermis.doctor.machine import machine
from dermis.doctor.prepare import prepare
from dermis.doctor.step import steps
from dermis.doctor.verdict import workers
from dermis.training.loop import Interrupted


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """The path of a manifest of synthetic cases, about 50 of them to train on."""
    folder = tmp_path_factory.mktemp("cases")
    dermis.make_cases(folder, patients=30, size=48, seed=5)
    return folder / "cases.parquet"


def silent(_: str) -> None:
    """Nobody is watching."""


SMALL_TEXT = ["--model.text.width", "32", "--model.text.layers", "1"]


@pytest.mark.parametrize(
    ("recipe", "arguments"), [("simclr", []), ("demo", SMALL_TEXT), ("slimp_synthetic", []), ("sm3", [])]
)
def test_pictures_texts_patients_with_tables_and_pairs_are_measured(cases, recipe, arguments):
    said = []
    experiment = chosen(cases, recipe, None, arguments, smoke=True)
    found = measure(experiment, 0.05, machine(), said.append)
    rates = found.rates
    assert min(rates.reading, rates.decoding, rates.alone, rates.step, rates.loading or 0) > 0
    assert rates.reading > rates.alone
    assert rates.unit == ("cases" if recipe == "sm3" else "pictures")
    assert found.stage == ("contrast" if recipe == "sm3" else "")
    assert said == ["building the towers", "reading", "decoding", "loading without workers",
                    f"loading with {workers(rates.workers)}", "training steps on cpu"]  # fmt: skip


def test_the_loop_trains_on_one_batch_and_leaves_the_weights_as_they_were(cases, tmp_path, monkeypatch, capsys):
    ready = prepare(chosen(cases, "simclr", None, [], smoke=True), tmp_path)
    real = ready.batches(ready.loop)
    batch = next(iter(real))
    before = {name: p.detach().clone() for name, p in ready.method.named_parameters()}
    seen = []
    monkeypatch.setattr(ready.method, "forward", lambda b, f=ready.method.forward: seen.append(b) or f(b))
    began = time.monotonic()
    pace = steps(ready, real, batch, 0.3, torch.device("cpu"))
    assert len(seen) == pace.laps >= 2
    assert all(torch.equal(b["image_BVCHW"], batch["image_BVCHW"]) for b in seen)
    assert pace.rate * (time.monotonic() - began) > pace.cases  # the first step is not counted
    assert all(torch.equal(before[name], p) for name, p in ready.method.named_parameters())
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "measured"), [(10, 8), (30, 32), (300, 128)])
def test_a_step_that_takes_long_is_judged_by_a_part_of_the_batch(monkeypatch, seconds, measured):
    def paced(_, __, batch, *___):
        cases = len(batch["row_B"])
        return SimpleNamespace(rate=cases / (1 + 0.1 * cases))

    monkeypatch.setattr(step, "steps", paced)
    batch = {"row_B": torch.arange(128), "quarantined": []}
    rate, tried = step.step_rate(None, None, batch, seconds, torch.device("cpu"))
    assert tried == measured
    assert rate == pytest.approx(8 / 1.8 if measured == 8 else 128 / 13.8)


@pytest.mark.parametrize(
    ("raised", "becomes"), [(Interrupted(2, None), KeyboardInterrupt), (torch.OutOfMemoryError(), ValueError)]
)
def test_ctrl_c_ends_it_and_too_little_memory_is_a_sentence(cases, tmp_path, monkeypatch, raised, becomes):
    ready = prepare(chosen(cases, "simclr", None, [], smoke=True), tmp_path)
    real = ready.batches(ready.loop)

    def fails(*_):
        raise raised

    monkeypatch.setattr(step, "train", fails)
    with pytest.raises(becomes, match=None if becomes is KeyboardInterrupt else r"16 cases does not fit .*accumulate"):
        steps(ready, real, next(iter(real)), 0.1, torch.device("cpu"))


def test_too_little_shared_memory_is_broken_and_no_worker_is_started(cases):
    full = replace(machine(), shared_free=1000)
    experiment = chosen(cases, "simclr", None, ["--training.workers", "2"], smoke=True)
    found = measure(experiment, 0.05, full, silent)
    assert found.rates.loading is None
    [note] = found.notes
    assert note.level == "broken"
    assert "2 workers would keep 6 MB of batches in /dev/shm, where 0 MB are free" in note.sentence


def test_unreadable_pictures_are_counted_and_too_many_are_a_sentence(cases, tmp_path):
    manifest = Manifest.read(cases)
    table = manifest.table.copy()
    table.loc[table.index[:20], "image"] = "gone.jpg"
    Manifest.build(table, manifest.root).write(tmp_path / "some.parquet")
    found = measure(chosen(tmp_path / "some.parquet", "simclr", None, [], smoke=True), 0.5, machine(), silent)
    assert 0 < found.unreadable <= 20
    Manifest.build(table.assign(image="gone.jpg"), manifest.root).write(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match=r"none of \d+ training pictures can be read"):
        measure(chosen(tmp_path / "none.parquet", "simclr", None, [], smoke=True), 0.1, machine(), silent)


@pytest.mark.parametrize(
    ("recipe", "arguments", "sentence"),
    [
        ("clip_small", ["--data.augmentation", "stored", "--model.image.freeze"], "no loader opens it"),
        ("sm3", ["--training.contrast.epochs", "0"], "looks at every case before its first step"),
        ("simclr", ["--training.batch-size", "5000"], "do not fill one batch of 5000"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(cases, recipe, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        measure(chosen(cases, recipe, None, arguments, smoke=True), 0.02, machine(), silent)


def test_the_recipe_of_a_method_is_its_own_before_others(tmp_path, monkeypatch):
    assert recipe_of("slimp").stem == "slimp"
    assert recipe_of("clip").stem == "clip_small"
    monkeypatch.setattr(choice, "recipes_folder", lambda: tmp_path)
    for name in ("clip_small", "another", "clip"):
        (tmp_path / f"{name}.yaml").write_text("method: {name: clip}")
    assert recipe_of("clip").stem == "clip"
    with pytest.raises(ValueError, match="Did you mean 'simclr'"):
        recipe_of("simclt")
    with pytest.raises(ValueError, match="no recipe that came with dermis is for 'coca'"):
        recipe_of("coca")


def test_without_recipe_captions_decide(cases, tmp_path):
    assert chosen(cases, None, None, []).name == "clip_small"
    manifest = Manifest.read(cases)
    Manifest.build(manifest.table.drop(columns="caption"), manifest.root).write(tmp_path / "plain.parquet")
    assert chosen(tmp_path / "plain.parquet", None, None, []).name == "simclr"


def test_the_manifest_stands_in_for_a_recipes_reader(cases):
    data = chosen(cases, "clip_ham10000", None, []).data
    assert (data.manifest, data.reader, data.options) == (cases, None, {})
