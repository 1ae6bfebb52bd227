"""Settings of fine-tuning: what makes no sense is one sentence, and the rest is as the papers have it."""

import subprocess
import sys
from typing import get_args

import pytest

from dermis.evaluation.finetune_config import FineTuneConfig, FineTuneTraining, Heads
from dermis.recipe import build, to_mapping
from dermis.towers.label_heads import RELATIONS


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"relation": "linear"}, r"unknown finetune\.relation 'linear'.*Allowed: keep, mlp"),
        ({"protocol": "papers"}, r"unknown finetune\.protocol 'papers'\. Did you mean 'paper'"),
        ({"augmentation": "sm4"}, r"unknown augmentation 'sm4'\. Did you mean 'sm3'"),
        ({"targets": ["diagnosis", "diagnosis"]}, "names 'diagnosis' twice"),
        ({"width": 8}, r"finetune\.width has no effect with relation keep"),
        ({"relation": "no_proj", "width": 8}, r"finetune\.width has no effect with relation no_proj"),
        ({"relation": "proj", "dropout": 0.2}, r"finetune\.dropout has no effect with relation proj"),
        ({"relation": "mlp", "width": 0}, "width must be at least 1, not 0"),
        ({"relation": "mlp", "dropout": 1.0}, r"dropout is a probability from 0 to below 1, not 1\.0"),
        ({"layer_decay": 1.0}, r"layer_decay must lie between 0 and 1, or be left out, not 1\.0"),
        ({"lora": 0}, r"finetune\.lora is a rank of 1 or more, not 0"),
        ({"folds": 5, "protocol": "paper"}, "protocol paper has no effect there"),
        ({"folds": 2}, "folds must be 3 or more"),
        ({"seeds": []}, r"seeds are one or more different numbers, 0 or above, not \[\]"),
        ({"seeds": [1, 1]}, "seeds are one or more different numbers"),
        ({"seeds": [-1]}, "seeds are one or more different numbers"),
        ({"patience": 0}, "patience is 1 or more"),
        ({"patience": 50}, "below the 50 epochs of training"),
        ({"training": FineTuneTraining(seed=3)}, r"finetune\.training\.seed has no effect"),
        ({"training": FineTuneTraining(evaluate_epochs=None)}, r"finetune\.training\.evaluate_epochs is needed"),
    ],
)
def test_a_wrong_setting_is_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        FineTuneConfig(**settings)
    assert str(caught.value).count("\n") == 0


def test_the_defaults_are_those_of_sm3s_fine_tuning():
    t = FineTuneConfig().training
    assert (t.epochs, t.batch_size, t.lr, t.weight_decay, t.betas) == (50, 64, 1e-4, 0.01, (0.9, 0.999))
    assert (t.eps, t.warmup, t.schedule, t.clip_norm, t.evaluate_epochs) == (1e-8, 0, "cosine", None, 1)


def test_a_block_of_a_recipe_keeps_the_defaults_that_it_does_not_mention():
    config = build(FineTuneConfig, {"relation": "mlp", "training": {"epochs": 3}}, "finetune")
    assert config == FineTuneConfig(relation="mlp", training=FineTuneTraining(epochs=3))
    assert build(FineTuneConfig, to_mapping(config)) == config


def test_every_relation_of_the_heads_can_be_asked_for():
    assert set(get_args(Heads)) == {"keep", *RELATIONS}


def test_reading_the_settings_loads_nothing_heavy():
    code = (
        "import sys; from dermis.evaluation.finetune_config import FineTuneConfig; "
        "print([m for m in ('torch', 'numpy', 'pandas', 'cv2') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
