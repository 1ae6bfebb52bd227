"""The card of a published model: all that is known with its interval and n, and a sentence for what is not."""

import json
import re
import sys
from io import StringIO

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from dermis.evaluation.report import Report
from dermis.model import save
from dermis.model.card import NOT_STATED, Card
from dermis.publish.complete_card import complete
from dermis.publish.origin import licences, of_set, said_by_recipe, started_from
from dermis.publish.publish import publish


@pytest.fixture
def card(folder, tmp_path):
    publish(folder, tmp_path / "dermA", said={"licence": "CC-BY-NC-4.0", "limits": "Not for nails."})
    return (tmp_path / "dermA" / "README.md").read_text()


def section(card, title):
    return re.search(rf"^## {title}\n\n(.*?)(?=^## |\Z)", card, re.MULTILINE | re.DOTALL).group(1)


def test_the_hub_reads_licence_and_results_of_the_trained_model_only(card):
    data = ModelCard(card).data
    assert (data.license, data.library_name, data.pipeline_tag) == (
        "cc-by-nc-4.0", "dermis", "zero-shot-image-classification"
    )  # fmt: skip
    assert "dermatology" in data.tags
    (found,) = data.eval_results
    assert (found.dataset_name, found.dataset_split, found.task_name) == ("HAM10000", "test", "kNN")
    assert (found.metric_name, found.metric_value) == ("accuracy", 0.9123)
    assert found.metric_args == {"n": 2015, "low": 0.9, "high": 0.92}


def test_results_have_their_n_interval_and_protocol(card):
    assert "| clip_small | HAM10000, test | kNN | accuracy | 2015 | 0.912 [0.900, 0.920] |" in section(card, "Results")
    assert "| untrained | HAM10000, test | kNN | accuracy | 2015 | 0.200 [0.100, 0.300] |" in section(card, "Results")
    assert "- **kNN** (clip_small): k = 20." in section(card, "Protocols")


def test_each_group_is_shown_or_said_to_be_unmeasured(card):
    found = section(card, "Results by group")
    assert "By skin tone:\n\n| group" in found
    assert "| 6 | kNN | accuracy | 40 | 0.700 [0.600, 0.800] |" in found
    assert "| 1 minus 6 | kNN | accuracy | 90 | 0.100 [0.000, 0.200] |" in found
    for group in ("sex", "age", "source"):
        assert f"By {group}: not measured; how it serves each group is not known." in found
    assert "0.300" not in found  # of a class


def test_the_decisions_coverage_is_there_for_everybody_and_by_group(card):
    found = section(card, "Calibrated decision")
    assert "| coverage | 500 | 900 | 0.912 [0.900, 0.920] |" in found
    assert "| 6 | decision | coverage | 40 | 0.810 [0.900, 0.920] |" in found
    assert "aps sets that hold 0.9." in found
    assert "- Promised is 0.9 of patients." in found
    assert "feature vectors of training pictures" in found


def test_words_of_people_and_of_the_recipe(card):
    assert "Not a medical device" in card
    assert section(card, "Training data").strip() == "HAM10000, train split."
    assert section(card, "Contact").startswith("jane@clinic.org")
    assert section(card, "Limits").strip() == "Not for nails."
    assert section(card, "Citation").strip() == NOT_STATED
    training = section(card, "Training")
    for line in ("- method: clip", "- cases: cases.parquet", "3 epochs, batch 32", "- data.hold_out: wart"):
        assert line in training
    assert "local-dir:weights" in training
    assert "open_clip:hf-hub:org/repo" in section(card, "Other licences")
    assert "cases of the results (HAM10000): CC BY-NC 4.0" in section(card, "Other licences")


def test_a_bare_model_says_of_everything_that_it_is_not_known(two_tower, tmp_path):
    bare = save(tmp_path / "bare", two_tower)
    text = complete(bare, two_tower, Card(licence="my own terms"), "bare", "bare", None)
    assert section(text, "Results").strip() == "None recorded."
    assert section(text, "Protocols").strip() == "Not recorded."
    assert section(text, "Training").strip() == "Not known: the folder has no recipe."
    assert section(text, "Training data").strip() == NOT_STATED
    assert "weights that it started from: not known" in section(text, "Other licences")
    assert "By skin tone: not measured" in section(text, "Results by group")
    assert section(text, "Calibrated decision").startswith("None is published")
    assert section(text, "ONNX").strip() == "None is published with the model."
    assert section(text, "Contact").startswith(NOT_STATED)
    data = ModelCard(text).data
    assert (data.license, data["license_name"]) == ("other", "my-own-terms")
    assert data.eval_results is None


def test_a_decision_that_nobody_measured_and_synthetic_cases_are_said(folder, report, two_tower):
    (folder / "decision" / "report.json").unlink()
    (folder / "report.json").write_text(json.dumps(json.loads(report.json()) | {"synthetic": True}))
    text = complete(folder, two_tower, Card(licence="MIT"), "x", "x", None)
    assert "how it does was not recorded" in section(text, "Calibrated decision")
    assert "these numbers say nothing about patients" in section(text, "Results")


def test_a_published_card_can_be_published_again(card, tmp_path):
    publish(tmp_path / "dermA", tmp_path / "dermB")
    assert (tmp_path / "dermB" / "README.md").read_text() == card.replace("dermA", "dermB")


@pytest.mark.parametrize("name", ["two_tower", "tower", "branches", "heads_alone"])
def test_the_three_lines_of_the_card_run(name, request, tmp_path, monkeypatch):
    model = request.getfixturevalue("branches" if name == "heads_alone" else name)
    saved = save(tmp_path / "trained", model)
    if name == "heads_alone":  # the same towers without labels
        import dermis

        bare = dermis.load(saved)
        bare.remove("labels")
        save(saved, bare)
    publish(saved, tmp_path / "skin", said={"licence": "MIT"})
    code = re.search(r"```python\n(.*?)```", (tmp_path / "skin" / "README.md").read_text(), re.DOTALL).group(1)
    assert code.count("\n") == 3
    for column in ("photo", "image", "dermoscopy"):
        Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(tmp_path / f"{column}.jpg")
    monkeypatch.chdir(tmp_path)
    said = StringIO()
    monkeypatch.setattr(sys, "stdout", said)
    exec(compile(code, "card", "exec"), {})
    assert ("melanoma" in said.getvalue()) == (name in ("two_tower", "branches"))


def test_what_a_card_says_is_read_back():
    card = Card(
        title="T", description="D\n\nmore", intended_use="I", out_of_scope="O", limits="L", data="X", licence="MIT",
        citation="@article{x,\n y}", contact="C",
    )  # fmt: skip
    from dermis.model.card import page, sections
    from dermis.towers.build import ImageTowerConfig, build_image_tower

    model = build_image_tower(ImageTowerConfig(name="test_vit", size=32), pretrained=False)
    assert Card.read(page({}, "T", sections(model, card, "n"))) == card
    assert Card.read(page({}, "T", sections(model, Card(), "n"))) == Card(title="T")


def test_where_a_model_comes_from():
    assert of_set("HAM10000") == "CC BY-NC 4.0"
    assert of_set("my clinic") is None
    assert of_set("csv") is None
    recipe = {"data": {"reader": "pad-ufes-20"}, "method": {"name": "sm3", "teacher": "hf-hub:a/b"}}
    recipe["training"] = {"contrast": {"epochs": 2}, "labels": {"epochs": 5, "lr": 0.1}}
    assert started_from(recipe) == ["hf-hub:a/b"]
    assert "- training cases (pad-ufes-20): CC BY 4.0" in licences(recipe, None)
    assert "- training (labels): 5 epochs, batch not known, learning rate 0.1, seed not known" in said_by_recipe(recipe)
    assert "random weights" in said_by_recipe({"data": {}})


def test_entries_of_the_run_are_told_from_others(report):
    from dermis.publish.results import own_entries

    assert {e.model for e in own_entries(report, "clip_small")} == {"clip_small"}
    assert {e.model for e in own_entries(report, "renamed")} == {"clip_small"}
    assert isinstance(report, Report)
