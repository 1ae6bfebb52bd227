"""A patient on both sides of a split stops what learns from it; a published split is scored as it is, and says so."""

from types import SimpleNamespace

import numpy as np
import pytest

from dermis.cases.manifest import Manifest
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.setting import Setting
from dermis.evaluation.target_classes import TARGETS
from dermis.evaluation.torn_split import refuse_torn_split

SMALL = {"few_shot": {"shots": [1], "shot_seeds": 2}, "low_shot": {"low_shot_fractions": [1.0], "shot_seeds": 2}}
LEARNING = ["knn", "linear_probe", "panderm", "few_shot", "low_shot", "similar"]


def config(*protocols):
    settings = {name: value for protocol in protocols for name, value in SMALL.get(protocol, {}).items()}
    settings |= {"probe_features": "trunk"} if set(protocols) & set(LEARNING) else {}
    return EvaluationConfig(protocols=list(protocols), n_boot=3, subgroups=[], pictures=0, **settings)


@pytest.fixture
def torn(lesions):
    """Cases 1, 3 and 5 are tested, whose patients' other cases are trained on."""
    table = lesions.table.copy()
    table.loc[[1, 3, 5], "split"] = "test"
    return Manifest.build(table, lesions.root)


@pytest.mark.parametrize("protocol", LEARNING)
def test_what_learns_from_a_torn_split_stops_before_a_picture_is_opened(protocol, torn):
    def never(_):
        raise AssertionError

    with pytest.raises(ValueError, match=r"3 patient_id stand in more than one split \(3 in train and test\)"):
        evaluate(None, torn, config(protocol), embed=never)


@pytest.mark.parametrize("protocol", LEARNING)
def test_an_official_split_is_scored_and_said_to_be_torn(protocol, torn, lesions, vectors):
    found = evaluate(None, torn, config(protocol), embed=vectors, official_split=True)
    assert found.entries
    said = [note for note in found.notes if "official split" in note]
    assert said == [
        "The official split tears 3 of 75 groups of cases with a patient, lesion or original in common: "
        f"`{protocol}` may know from training what is scored."
    ]
    whole = evaluate(None, lesions, config(protocol), embed=vectors, official_split=True)
    assert not [note for note in whole.notes if "official split" in note]


def test_what_learns_nothing_has_no_use_for_the_split(torn, branches, vectors):
    model = branches("lesion", "patient")
    for official in (False, True):
        found = evaluate(model, torn, config("table_retrieval"), embed=vectors, official_split=official)
        assert found.entries
        assert not found.notes


def test_eight_labels_are_refused_where_they_are_learnt_only(lesions, torn, vectors):
    with pytest.raises(ValueError, match="3 patient_id stand in more than one split"):
        evaluate(None, torn, config("derm7pt"), embed=vectors)
    with pytest.raises(ValueError, match="protocol derm7pt needs the column"):
        evaluate(None, lesions, config("derm7pt"), embed=vectors)


def test_only_labels_that_the_model_was_not_taught_are_learnt(torn, vectors):
    def setting(protocol, *taught):
        model = SimpleNamespace(predicting=SimpleNamespace(classes=dict.fromkeys(taught)))
        return Setting(model, torn, config(protocol), vectors, None)

    eight = [target.column for target in TARGETS]
    refuse_torn_split(setting("derm7pt", *eight))
    refuse_torn_split(setting("labels", *eight))
    for learning in (setting("derm7pt", *eight[1:]), setting("second_stage", *eight)):
        with pytest.raises(ValueError, match="3 patient_id stand in more than one split"):
            refuse_torn_split(learning)


def test_case_ids_alone_are_torn_by_nothing(torn, vectors):
    alone = Manifest.build(torn.table.drop(columns="patient_id"), torn.root)
    found = evaluate(None, alone, config("knn"), embed=vectors)
    assert np.isfinite(found.value("kNN", "accuracy").value)
