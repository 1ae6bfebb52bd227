"""Interrupted anywhere and resumed, a run ends bit for bit where the uninterrupted one does."""

import json

import pytest
import torch

from dermis.training.config import TrainingConfig
from dermis.training.loop import quarantined, train
from dermis.training.state import checkpoints

CPU = torch.device("cpu")


@pytest.fixture
def run(twins):
    def train_twins(folder, batches, die_at=None, **changes):
        config = TrainingConfig(epochs=3, batch_size=6, lr=1e-2, checkpoint_steps=1, log_steps=1, ema=0.9, **changes)
        torch.manual_seed(0)
        method = twins(die_at)
        train(method, batches, config, folder, CPU)
        return {name: value.clone() for name, value in method.state_dict().items()}

    return train_twins


# 12 steps: inside the first epoch, just before its end, at it, inside the last
@pytest.mark.parametrize("die_at, workers", [(1, 0), (3, 0), (4, 2), (10, 2)])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_resuming_gives_the_same_bits(run, tmp_path, make_batches, die_at, workers, accumulate):
    whole = run(tmp_path / "whole", make_batches(workers=0), accumulate=accumulate)
    with pytest.raises(InterruptedError):
        run(tmp_path / "cut", make_batches(workers=workers), die_at=die_at, accumulate=accumulate)
    resumed = run(tmp_path / "cut", make_batches(workers=workers), accumulate=accumulate)
    assert whole["epochs_started"] == 3
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_the_log_has_every_step_and_the_bad_picture_is_counted(run, tmp_path, make_batches, photographs):
    run(tmp_path, make_batches())
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert list(quarantined(tmp_path)) == [7]


def test_only_the_newest_checkpoints_are_kept(run, tmp_path, make_batches):
    run(tmp_path, make_batches(), keep=3)
    assert [path.name for path in checkpoints(tmp_path / "checkpoints")] == [f"step-{s:08d}" for s in (10, 11, 12)]


def test_a_broken_newest_checkpoint_is_passed_over(run, tmp_path, make_batches):
    whole = run(tmp_path / "whole", make_batches())
    with pytest.raises(InterruptedError):
        run(tmp_path / "cut", make_batches(), die_at=9)
    newest = checkpoints(tmp_path / "cut" / "checkpoints")[-1]
    weights = newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    resumed = run(tmp_path / "cut", make_batches())
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_another_batch_size_is_refused(run, twins, tmp_path, make_batches):
    with pytest.raises(InterruptedError):
        run(tmp_path, make_batches(), die_at=5)
    config = TrainingConfig(epochs=3, batch_size=5, ema=0.9)
    with pytest.raises(ValueError, match=r"6 cases per step .* this run has 5"):
        train(twins(), make_batches(batch_size=5), config, tmp_path, CPU)


def test_another_model_is_refused_in_one_sentence(run, twins, tmp_path, make_batches):
    with pytest.raises(InterruptedError):
        run(tmp_path, make_batches(), die_at=5)
    other = twins()
    other.tower[1], other.more = torch.nn.Linear(3 * 16 * 16, 12, bias=False), torch.nn.Linear(2, 2)
    config = TrainingConfig(epochs=3, batch_size=6, ema=0.9)
    with pytest.raises(ValueError, match="another model: 3 weights are missing, new or of another shape") as refused:
        train(other, make_batches(), config, tmp_path, CPU)
    assert str(refused.value).count("\n") == 0
    assert "tower.1.bias among them" in str(refused.value)


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_batch(twins, tmp_path, make_batches):
    from safetensors.torch import load_file

    class Breaks(twins):
        def loss(self, embeddings, batch):
            out = super().loss(embeddings, batch)
            return {"loss": out["loss"] * (float("nan") if 7 in batch["row_B"] or 11 in batch["row_B"] else 1.0)}

    with pytest.raises(FloatingPointError, match="its batch is in"):
        train(Breaks(), make_batches(), TrainingConfig(batch_size=6, checkpoint_steps=1), tmp_path, CPU)
    assert {7, 11} & set(load_file(tmp_path / "not-finite.safetensors")["row_B"].tolist())
    for checkpoint in checkpoints(tmp_path / "checkpoints"):
        assert all(v.isfinite().all() for v in load_file(checkpoint / "model.safetensors").values())


@pytest.mark.parametrize("moment", ["save_file", "_sync", "rename"])
def test_dying_while_a_checkpoint_is_written_leaves_the_one_before(run, tmp_path, make_batches, monkeypatch, moment):
    from pathlib import Path

    from dermis.training import state

    home, calls = (Path, []) if moment == "rename" else (state, [])
    real = getattr(home, moment)

    def dies_at_the_third_checkpoint(*arguments):
        calls.append(arguments)
        if len([c for c in calls if "00000003" in str(c)]) == 1 and "00000003" in str(arguments):
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(home, moment, dies_at_the_third_checkpoint)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", make_batches())
    monkeypatch.undo()
    assert checkpoints(tmp_path / "cut" / "checkpoints")[-1].name == "step-00000002"
    resumed = run(tmp_path / "cut", make_batches())
    whole = run(tmp_path / "whole", make_batches())
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_dying_while_the_only_checkpoint_is_written_again_leaves_it(run, tmp_path, make_batches, monkeypatch):
    from pathlib import Path

    real, written = Path.rename, []

    def dies_at_the_end_of_the_epoch(path, target):  # step 4 is saved as a step and as the end of its epoch
        written.extend([path] if path.name == ".writing-step-00000004" else [])
        if len(written) == 2:
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "rename", dies_at_the_end_of_the_epoch)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", make_batches(), keep=1)
    monkeypatch.undo()
    assert len(checkpoints(tmp_path / "cut" / "checkpoints")) == 1
    resumed = run(tmp_path / "cut", make_batches(), keep=1)
    whole = run(tmp_path / "whole", make_batches(), keep=1)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert [path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()] == ["step-00000012"]


@pytest.mark.parametrize("before, after", [(0.9, None), (None, 0.9)])
def test_an_average_cannot_begin_or_end_in_the_middle(twins, tmp_path, make_batches, before, after):
    config = TrainingConfig(epochs=2, batch_size=6, checkpoint_steps=1, ema=before)
    with pytest.raises(InterruptedError):
        train(twins(die_at=3), make_batches(), config, tmp_path, CPU)
    config = TrainingConfig(epochs=2, batch_size=6, ema=after)
    with pytest.raises(ValueError, match=rf"averages \(training\.ema\) of {4 if before else 0} weights, this run of"):
        train(twins(), make_batches(), config, tmp_path, CPU)


def test_a_torn_line_of_the_quarantine_is_named(run, tmp_path, make_batches):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "quarantine.jsonl").write_text('{"row": 3, "reason": "no file"}\n{"row": 4, "rea')
    with pytest.raises(ValueError, match=r"quarantine\.jsonl, line 2, is damaged"):
        run(tmp_path / "run", make_batches())


def test_several_threads_add_up_in_a_fixed_order_while_training():
    from dermis.training.repeatable import repeatable

    rows = torch.randint(0, 300, (20_000,), generator=torch.Generator().manual_seed(0))
    values = torch.randn(300, 64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    weights = torch.randn(20_000, 64, generator=torch.Generator().manual_seed(2))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with repeatable(CPU):
            found = [torch.autograd.grad((values[rows] * weights).sum(), values)[0] for _ in range(5)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0], other) for other in found[1:])
    assert not torch.are_deterministic_algorithms_enabled()
