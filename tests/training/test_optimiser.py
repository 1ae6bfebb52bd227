"""Groups, the learning rate's course, and settings that cannot work."""

import math

import pytest
import torch
from torch import nn

from dermis.training.config import TrainingConfig
from dermis.training.optimiser import adamw, lr_factor, parameter_groups, set_lr
from dermis.training.precision import choose


def test_vectors_do_not_decay_and_frozen_weights_do_not_train():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    model[2].requires_grad_(False)
    decayed, plain = parameter_groups(model, 0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3)]
    assert sorted(tuple(p.shape) for p in plain["params"]) == [(4,), (4,), (4,)]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)


def test_nothing_to_train_is_an_error():
    with pytest.raises(ValueError, match="every parameter is frozen"):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False), 0.1)


def test_the_rate_equals_torchs_own_schedulers():
    steps, warmup = 50, 10
    weight = nn.Parameter(torch.zeros(2, 2))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    rising = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / warmup, 1.0, warmup - 1)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps - warmup)
    theirs = torch.optim.lr_scheduler.SequentialLR(optimiser, [rising, falling], [warmup])
    for step in range(steps):
        assert lr_factor(step, steps, warmup / steps, "cosine") == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        optimiser.step()
        theirs.step()


def test_a_methods_own_groups_keep_their_factor():
    class Method(nn.Linear):
        def param_groups(self):
            return [{"params": [self.weight], "lr_factor": 0.1}, {"params": [self.bias]}]

    optimiser = adamw(Method(2, 2), TrainingConfig())
    set_lr(optimiser, 1e-3)
    assert [g["lr"] for g in optimiser.param_groups] == pytest.approx([1e-4, 1e-3])
    assert math.isclose(lr_factor(0, 10, 0.0, "constant"), 1.0)


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"accumulate": 99}, "exceeds the batch"),
        ({"warmup": 1.5}, "share of all steps"),
        ({"ema": 1.0}, "between 0 and 1"),
        ({"seed": -1}, "training.seed must be at least 0, not -1"),
        ({"workers": -1}, "training.workers must be at least 0, not -1"),
        ({"lr": -1e-4}, "training.lr must be at least 0, not -0.0001"),
        ({"lr": float("nan")}, "training.lr must be at least 0, not nan"),
        ({"clip_norm": -1.0}, "training.clip_norm must be above 0, or null for no clipping, not -1"),  # would climb
        ({"clip_norm": 0.0}, "training.clip_norm must be above 0"),
        ({"compile": True, "accumulate": 2}, "training.compile has no effect with training.accumulate above 1"),
        ({"betas": (1.5, 0.9)}, r"decay rates, 0 to below 1, not \(1.5, 0.9\)"),
    ],
)
def test_settings_that_cannot_work_stop(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        TrainingConfig(**wrong)


def test_half_precision_without_units_for_it_is_refused():
    assert choose("auto", torch.device("cpu"))[0] == torch.float32
    with pytest.raises(ValueError, match="emulated on this CPU"):
        choose("fp16", torch.device("cpu"))
