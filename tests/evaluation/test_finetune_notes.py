"""What a report says of the model that fine-tuning started from: labels it may know, parts that are not used."""

import pytest

from dermis.evaluation.finetune import as_branches, notes_on
from dermis.evaluation.finetune_config import FineTuneConfig
from dermis.towers.build import (
    BranchesConfig,
    ImageTowerConfig,
    TextTowerConfig,
    TwoTowerConfig,
    build_branches,
    build_image_tower,
    build_two_tower,
)

TAUGHT = {"finding.x": ["absent", "present"], "diagnosis": ["melanoma", "nevus"]}
TOWER = ImageTowerConfig(name="test_vit", size=32)


def with_parts(**parts):
    model = build_branches(BranchesConfig(image=TOWER), 3)
    for name, settings in parts.items():
        model.add(name, **settings)
    return model


def two_tower():
    return build_two_tower(TwoTowerConfig(image=TOWER, text=TextTowerConfig(width=32, layers=1, heads=2)))


LABELS = "finding.x, diagnosis"


@pytest.mark.parametrize(
    "build, taught",
    [
        (lambda: with_parts(labels={"classes": TAUGHT, "relation": "no_proj"}), LABELS),
        (lambda: with_parts(fusion={"classes": TAUGHT}), LABELS),
        (lambda: with_parts(combinations={"classes": TAUGHT}), LABELS),
        (two_tower, "texts"),
        (lambda: with_parts(labels={"classes": [3, 2], "relation": "no_proj"}), None),  # clusters, as SM3's
        (lambda: with_parts(), None),
        (lambda: build_image_tower(TOWER), None),
    ],
)
def test_folds_say_what_the_model_was_taught_before(build, taught):
    def of_answers(config):
        return [note for note in notes_on(build(), config) if "has seen their answers" in note]

    assert of_answers(FineTuneConfig(folds=3)) == ([] if taught is None else [
        f"The model was taught {taught} before, and folds score every case: if it learned from any of these cases, it "
        "has seen their answers, and the figures are too good."
    ])  # fmt: skip
    assert of_answers(FineTuneConfig()) == []  # `test` is not what it was trained on


def test_parts_beside_the_label_heads_are_named_and_left_out():
    model = with_parts(
        fusion={"classes": TAUGHT}, pair={"width": 8, "shared": False}, labels={"classes": [3], "relation": "no_proj"}
    )
    assert notes_on(model, FineTuneConfig()) == [
        "The model's fusion and pair heads are left out: fine-tuned are its towers and label heads."
    ]
    start = as_branches(model)
    assert list(start.parts) == list(start.settings) == ["labels"]
    assert list(model.parts) == list(model.settings) == ["fusion", "pair", "labels"]
    assert notes_on(start, FineTuneConfig()) == []
