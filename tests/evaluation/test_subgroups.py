"""Subgroups against the same metric on the subset alone, and gaps that were put in by hand."""

import numpy as np
import pandas as pd
import pytest

from dermis.cases.manifest import Manifest
from dermis.evaluation.metrics import classification_metrics
from dermis.evaluation.subgroups import AT_LEAST, METRICS, attribute, by_subgroup

C = 3


def graded(group_N, skill, seed=0):
    """Probabilities whose knowledge of the truth depends on the group, and the labels."""
    rng = np.random.default_rng(seed)
    label_N = rng.integers(C, size=len(group_N))
    strength_N = np.array([skill[g] for g in group_N])
    logit_NC = rng.normal(size=(len(group_N), C)) + strength_N[:, None] * np.eye(C)[label_N]
    return np.exp(logit_NC) / np.exp(logit_NC).sum(axis=1, keepdims=True), label_N


def run(group_N, score_NC, label_N, patients=None):
    patients = np.arange(len(label_N)) if patients is None else patients
    groups, gaps = by_subgroup(
        score_NC, label_N, pd.Series(group_N, dtype="string"), pd.Series(patients), name="x", n_boot=300, seed=0
    )
    return {g.name: g for g in groups}, {g.metric: g for g in gaps}


def test_a_groups_numbers_are_those_of_its_cases_alone():
    group_N = np.repeat(["a", "b"], [80, 120])
    score_NC, label_N = graded(group_N, {"a": 1, "b": 2})
    groups, _ = run(group_N, score_NC, label_N)
    for name in "ab":
        alone = classification_metrics(score_NC[group_N == name], label_N[group_N == name])
        for metric in METRICS:
            assert groups[name].metrics[metric].value == pytest.approx(alone[metric][0], abs=1e-12)
            assert groups[name].metrics[metric].low < alone[metric][0] < groups[name].metrics[metric].high


def test_a_planted_gap_is_found_with_its_size_and_direction():
    group_N = np.repeat(["dark", "light", "middle"], 150)
    score_NC, label_N = graded(group_N, {"dark": 0.0, "light": 4.0, "middle": 1.5})
    groups, gaps = run(group_N, score_NC, label_N)
    for metric in METRICS:
        assert (gaps[metric].best, gaps[metric].worst) == ("light", "dark")
        expected = groups["light"].metrics[metric].value - groups["dark"].metrics[metric].value
        assert gaps[metric].difference.value == pytest.approx(expected, abs=1e-12)
        assert gaps[metric].difference.low > 0
        assert gaps[metric].cases == 300


def test_equal_groups_have_a_gap_that_holds_zero():
    group_N = np.tile(["a", "b"], 200)
    score_NC, label_N = graded(group_N, {"a": 1, "b": 1}, seed=3)
    _, gaps = run(group_N, score_NC, label_N)
    assert gaps["accuracy"].difference.low < 0 < gaps["accuracy"].difference.high


def test_a_gap_compares_only_classes_that_both_have():
    """Group b alone has class 2, which nobody can tell; on classes 0 and 1 the groups are alike."""
    score = {0: [0.8, 0.1, 0.1], 1: [0.1, 0.8, 0.1], 2: [0.5, 0.4, 0.1]}
    label_N = np.r_[np.tile([0, 1], 30), np.tile([0, 1, 2], 30)]
    group_N = np.repeat(["a", "b"], [60, 90])
    groups, gaps = run(group_N, np.array([score[y] for y in label_N]), label_N)
    assert groups["a"].metrics["balanced accuracy"].value == 1
    assert groups["b"].metrics["balanced accuracy"].value == pytest.approx(2 / 3)
    assert gaps["balanced accuracy"].difference.value == 0


def test_small_groups_are_counted_and_the_unrecorded_take_no_part_in_gaps():
    group_N = np.array(["a"] * 40 + ["b"] * 40 + ["rare"] * (AT_LEAST - 1) + [None] * 30, dtype=object)
    score_NC, label_N = graded(group_N, {"a": 1, "b": 1, "rare": 5, None: 9})
    groups, gaps = run(group_N, score_NC, label_N, patients=np.arange(len(group_N)) // 2)
    assert groups["rare"].cases == AT_LEAST - 1
    assert groups["rare"].metrics == {}
    assert groups["not recorded"].cases == 30
    assert groups["not recorded"].patients == 16  # the first shares a patient with the last of the rare
    assert {gaps["accuracy"].best, gaps["accuracy"].worst} == {"a", "b"}


def test_ages_become_bands_of_twenty_years():
    table = pd.DataFrame({"case_id": list("abcdef"), "image": "x.jpg", "patient.age": [0, 19.9, 20, 79, 80, None]})
    bands = attribute(Manifest.build(table, "."), "patient.age")
    assert bands[:5].tolist() == ["0-19", "0-19", "20-39", "60-79", "80+"]
    assert bands.isna().tolist() == [False] * 5 + [True]


def test_other_columns_are_their_own_groups():
    table = pd.DataFrame({"case_id": list("ab"), "image": "x.jpg", "skin_tone": ["1-2", None]})
    assert attribute(Manifest.build(table, "."), "skin_tone").tolist() == ["1-2", pd.NA]
