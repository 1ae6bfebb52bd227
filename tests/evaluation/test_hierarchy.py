"""Accuracy by level and distance of errors: counted by hand, and case by case on random predictions."""

import numpy as np
import pytest

from dermis.evaluation.bootstrap import intervals
from dermis.evaluation.hierarchy import class_places, hierarchy_metrics
from dermis.language.ontology import Ontology, default_ontology
from dermis.language.ontology_files import Entry
from dermis.language.prompts import class_list

SKIN = Ontology(
    [
        Entry("neoplasm"),
        Entry("benign", ("neoplasm",)),
        Entry("nevus", ("benign",), ("mole",)),
        Entry("cyst", ("benign",)),
        Entry("malignant", ("neoplasm",)),
        Entry("melanoma", ("malignant",)),
        Entry("eczema"),
    ]
)
CLASSES = ["mole", "cyst", "melanoma", "eczema", "abnormal"]


@pytest.fixture
def places():
    return class_places(CLASSES, SKIN)


def test_places_by_hand(places):
    assert places.unplaced == ("abnormal",)
    groups = [[column.tolist().index(value) for value in column] for column in places.ancestors.T]
    assert groups == [[0, 0, 0, 3, 4], [0, 0, 2, 3, 4], [0, 1, 2, 3, 4]]  # by the first class of the same group
    assert places.distances.tolist() == [
        [0, 2, 4, 4, 4],
        [2, 0, 4, 4, 4],
        [4, 4, 0, 4, 4],
        [4, 4, 4, 0, 2],
        [4, 4, 4, 2, 0],
    ]


def test_metrics_by_hand(places):
    label, predicted = np.array([0, 0, 0, 3, 2]), np.array([0, 1, 2, 3, 4])
    values = {name: value.tolist() for name, value in hierarchy_metrics(places, label, predicted).items()}
    assert values == {
        "accuracy at level 1": [4 / 5],
        "accuracy at level 2": [3 / 5],
        "accuracy at level 3": [2 / 5],
        "distance of errors": [(2 + 4 + 4) / 3],
    }


def test_weights_are_copies_of_cases(places):
    rng = np.random.default_rng(0)
    label, predicted = rng.integers(0, 5, (2, 40))
    weight_RN = rng.integers(0, 3, (3, 40)).astype(float)
    weighted = hierarchy_metrics(places, label, predicted, weight_RN)
    for draw, weight in enumerate(weight_RN.astype(int)):
        copied = hierarchy_metrics(places, label.repeat(weight), predicted.repeat(weight))
        for name, value in copied.items():
            assert weighted[name][draw] == pytest.approx(value[0], abs=1e-12)


def test_the_last_level_is_accuracy_and_the_levels_only_get_harder():
    classes = class_list("sd-128")
    places = class_places(classes, default_ontology())
    assert places.unplaced == ()
    rng = np.random.default_rng(1)
    label, predicted = rng.integers(0, len(classes), (2, 3000))
    values = hierarchy_metrics(places, label, predicted)
    accuracy = [value[0] for name, value in values.items() if name.startswith("accuracy")]
    assert accuracy == sorted(accuracy, reverse=True)
    node = [default_ontology().node(name) for name in classes]
    assert accuracy[-1] == np.mean([node[i] == node[j] for i, j in zip(label, predicted, strict=True)])
    top = [default_ontology().lineage(name)[0] for name in node]
    assert accuracy[0] == np.mean([top[i] == top[j] for i, j in zip(label, predicted, strict=True)])


def test_without_an_error_there_is_no_distance(places):
    assert np.isnan(hierarchy_metrics(places, np.array([1]), np.array([1]))["distance of errors"][0])


def test_a_bootstrap_takes_them(places):
    label, predicted = np.array([0, 0, 1, 2, 2, 3]), np.array([0, 1, 1, 0, 2, 3])
    found = intervals(lambda weight: hierarchy_metrics(places, label, predicted, weight), np.arange(6), seed=0)
    assert found["accuracy at level 3"].value == pytest.approx(4 / 6)
    assert found["accuracy at level 3"].low < 4 / 6 < found["accuracy at level 3"].high


@pytest.mark.parametrize(
    ("label", "predicted", "sentence"),
    [
        ([0], [0, 1], "must both be"),
        ([], [], "no case"),
        ([0], [5], r"must lie in 0 … 4; got 0 … 5"),
        ([-1], [0], "-1"),
    ],
)
def test_wrong_input_is_explained(places, label, predicted, sentence):
    with pytest.raises(ValueError, match=sentence):
        hierarchy_metrics(places, np.array(label), np.array(predicted))
