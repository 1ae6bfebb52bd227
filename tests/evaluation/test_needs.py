"""What protocols need of a model and of cases is told before any picture is opened."""

import pytest
import torch

from dermis.cases.manifest import Manifest
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.needs import measurable


class Texts(torch.nn.Module):
    """With a text tower, as far as is asked before a picture is opened."""

    def project_image(self, pooled_ND):
        return pooled_ND


def config(*protocols, **changes):
    return EvaluationConfig(protocols=list(protocols), n_boot=20, **changes)


def nothing_opened(manifest):
    pytest.fail("a picture was opened")


@pytest.mark.parametrize("protocol", ["prompts", "make", "retrieval", "concepts"])
def test_a_model_of_pictures_alone_is_refused_by_protocols_with_texts(protocol, lesions):
    with pytest.raises(ValueError, match=f"protocol '{protocol}' needs a model with a text tower; .* linear_probe"):
        evaluate(torch.nn.Identity(), lesions, config("knn", protocol), embed=nothing_opened)


def test_the_default_protocols_of_a_model_of_pictures_alone_are_those_without_texts(lesions, vectors):
    found = evaluate(torch.nn.Identity(), lesions, EvaluationConfig(n_boot=20), embed=vectors)
    assert {e.protocol for e in found.entries} == {"kNN", "linear probe"}
    assert found.notes[-1] == "Left out of the default protocols: prompts, retrieval, for the model has no text tower."
    chosen = evaluate(torch.nn.Identity(), lesions, config("knn"), embed=vectors)
    assert not any("default protocols" in note for note in chosen.notes)


@pytest.mark.parametrize(
    ("without", "protocol", "settings", "where"),
    [
        (["train", "valid", "test"], "prompts", {}, "no case of split 'test' has one"),
        (["train", "valid", "test"], "make", {"split": "all"}, "no case has one"),
        (["train"], "knn", {}, "no case of split 'train' has one"),
        (["test"], "similar", {}, "no case of split 'test' has one"),
    ],
)
def test_cases_without_diagnoses_are_told_what_to_do(without, protocol, settings, where, lesions):
    table = lesions.table.copy()
    table.loc[table["split"].isin(without), "diagnosis"] = None
    bare = Manifest.build(table, lesions.root)
    sentence = rf"'{protocol}' needs diagnoses, and {where}: let .* `diagnosis` hold your labels .* such as retrieval"
    with pytest.raises(ValueError, match=sentence):
        evaluate(Texts(), bare, config(protocol, **settings), embed=nothing_opened)


def test_a_run_measures_what_unlabelled_cases_allow_and_says_what_not(lesions):
    bare = Manifest.build(lesions.table.assign(diagnosis=None), lesions.root)
    asked = config("retrieval", "knn", "linear_probe", probe_features="trunk", subgroups=["patient.sex"])
    left, notes = measurable(bare, asked)
    assert left is not None
    assert (left.protocols, left.probe_features, left.n_boot) == (["retrieval"], EvaluationConfig().probe_features, 20)
    assert notes == ["Not measured, for no case of split 'train' has a diagnosis: knn, linear_probe."]
    assert measurable(bare, config("knn")) == (
        None,
        ["Not measured, for no case of split 'train' has a diagnosis: knn."],
    )
    assert measurable(lesions, asked) == (asked, [])
