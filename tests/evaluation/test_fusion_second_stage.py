"""FusionM4Net's second stage: what the machines see, the share found by trying everything, metadata that help."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermis.cases.manifest import Manifest
from dermis.evaluation.fusion_second_stage import FirstStage, machine, mixed, one_hot, search_share, second_stage


def made(cases: int, seed: int) -> FirstStage:
    """Two labels of 3 and 2 classes. The first stage guesses label 0 badly, metadata say it; label 1 is the reverse."""
    draws = np.random.default_rng(seed)
    label_NL = np.stack([draws.integers(0, 3, cases), draws.integers(0, 2, cases)], axis=1)
    first = []
    for i, (classes, sure) in enumerate(((3, 0.4), (2, 4.0))):
        logits = draws.normal(size=(cases, classes)) + sure * np.eye(classes)[label_NL[:, i]]
        first.append(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    told = np.where(draws.random(cases) < 0.9, label_NL[:, 0], draws.integers(0, 3, cases))
    label_NL[draws.random(label_NL.shape) < 0.1] = -1
    return FirstStage(first, np.eye(3)[told], label_NL)


def accuracy(said: list[np.ndarray], label_NL: np.ndarray) -> float:
    found = []
    for i, p in enumerate(said):
        known = [n for n in range(len(label_NL)) if label_NL[n, i] >= 0]
        if known:
            found.append(sum(int(p[n].argmax()) == label_NL[n, i] for n in known) / len(known))
    return sum(found) / len(found)


def test_the_share_is_that_of_trying_every_one():
    valid = made(60, 1)
    draws = np.random.default_rng(7)
    second = [draws.dirichlet(np.ones(p.shape[1]), len(p)) for p in valid.probabilities]
    valid.labels[:, 1] = -1  # nobody knows
    shares = [k / 99 for k in range(100)]
    scores = [
        accuracy([s * a + (1 - s) * b for a, b in zip(valid.probabilities, second, strict=True)], valid.labels)
        for s in shares
    ]
    found = search_share(valid.probabilities, second, valid.labels)
    assert found == pytest.approx(shares[scores.index(max(scores))], abs=1e-12)
    assert min(scores) < max(scores)


def test_a_machine_separates_what_a_line_cannot():
    draws = np.random.default_rng(0)
    x, query = draws.normal(size=(200, 2)), draws.normal(size=(300, 2))
    ring, wanted = (np.linalg.norm(points, axis=1) > 1.1 for points in (x, query))
    said = machine(x, ring.astype(int), 2, query)
    np.testing.assert_allclose(said.sum(1), 1)
    assert (said.argmax(1) == wanted).mean() > 0.93
    np.testing.assert_array_equal(said, machine(x, ring.astype(int), 2, query))


def test_a_machine_leaves_out_unknown_labels_and_classes_it_cannot_learn():
    draws = np.random.default_rng(0)
    x = draws.normal(size=(60, 2))
    label = np.where(x[:, 0] > 0, 2, 0)
    label[0] = 3  # one case of a class
    spoilt, with_unknown = np.concatenate([x, x]), np.concatenate([label, np.full(60, -1)])
    said = machine(spoilt, with_unknown, 5, x)
    np.testing.assert_allclose(said, machine(x, label, 5, x))
    assert (said[:, [1, 3, 4]] == 0).all()
    np.testing.assert_allclose(said.sum(1), 1)
    np.testing.assert_array_equal(machine(x, np.full(60, 1), 3, x), np.eye(3)[np.full(60, 1)])
    with pytest.raises(ValueError, match="no class has two cases"):
        machine(x, np.full(60, -1), 3, x)


def test_metadata_beside_the_first_stage_help():
    learn, valid, test = made(150, 2), made(100, 3), made(400, 4)
    found = second_stage(learn, valid, FirstStage(test.probabilities, test.metadata))
    assert [p.shape for p in found.probabilities] == [(400, 3), (400, 2)]
    for p in found.probabilities:
        np.testing.assert_allclose(p.sum(1), 1)
    first, both = (accuracy(said, test.labels) for said in (test.probabilities, found.probabilities))
    assert both > first + 0.1
    assert 0 <= found.share <= 1
    for ours, theirs in zip(found.probabilities, mixed(test.probabilities, found.machines, found.share), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # what a machine sees: the probabilities of all labels, then the metadata
    assert learn.features.shape == (150, 3 + 2 + 3)
    alone = machine(np.hstack([*learn.probabilities, learn.metadata]), learn.labels[:, 0], 3, test.features)
    np.testing.assert_allclose(found.machines[0], alone)


def test_metadata_are_ones_where_a_category_is_and_zeros_where_nothing_is_known():
    table = pd.DataFrame({
        "case_id": ["a", "b", "c"],
        "lesion.elevation": ["flat", None, "nodular"],
        "patient.sex": [None, "male", "female"],
        "patient.age": [40.0, 50.0, None],
        "lesion.grew": [None, None, None],
    })  # fmt: skip
    categories = {
        "lesion.elevation": ["flat", "palpable", "nodular"],
        "patient.sex": ["female", "male"],
        "lesion.grew": ["False", "True"],
    }
    manifest = Manifest(table, Path(), categories)
    expected = [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 1, 1, 0]]
    np.testing.assert_array_equal(one_hot(manifest, ["lesion.elevation", "patient.sex"]), expected)
    np.testing.assert_array_equal(one_hot(manifest), np.hstack([expected, np.zeros((3, 2))]))
    with pytest.raises(ValueError, match=r"Did you mean 'patient\.sex'"):
        one_hot(manifest, ["patient.sexx"])
    with pytest.raises(ValueError, match="no categories"):
        one_hot(Manifest(table, Path(), {}))


def test_what_does_not_fit_is_said():
    good = made(10, 0)
    with pytest.raises(ValueError, match=r"different numbers of cases: \[9, 10\]"):
        FirstStage(good.probabilities, good.metadata[:9], good.labels)
    with pytest.raises(ValueError, match="labels of 2 columns"):
        FirstStage(good.probabilities, good.metadata, good.labels[:, :1])
    with pytest.raises(ValueError, match="needs labels"):
        second_stage(good, FirstStage(good.probabilities, good.metadata), good)
    with pytest.raises(ValueError, match="no label of the validation cases"):
        search_share(good.probabilities, good.probabilities, np.full((10, 2), -1))
