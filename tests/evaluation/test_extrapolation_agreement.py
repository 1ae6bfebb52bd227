"""Copies beside the truth: accuracies and errors as loops, ranks as scipy's, the control that copies from anybody."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from dermis.cases.manifest import Manifest
from dermis.evaluation.bootstrap import interval
from dermis.evaluation.extrapolation import NONE, extrapolate
from dermis.evaluation.extrapolation_agreement import (
    agreement,
    agreement_lines,
    random_sources,
    weighted_spearman,
)

ANGLE = "lesion.tbp_lv_symm_2axis_angle"
SHARED = {"model": "m", "dataset": "d", "split": "all", "seed": 0}
N, M = 120, 150


def cases(name, n, seed, noise=0.1):
    """Pictures (a vector) that tell size, site and direction of a lesion, and nothing about sex."""
    rng = np.random.default_rng(seed)
    x_ND = rng.normal(size=(n, 3))
    table = pd.DataFrame({"case_id": [f"{name}{i}" for i in range(n)], "image": "x.jpg"})
    table["patient_id"] = [f"{name}P{i // 2}" for i in range(n)]
    table["lesion.size"] = np.round(x_ND[:, 0] + noise * rng.normal(size=n), 1)
    table["lesion.site"] = np.array(["arm", "leg", "back", "head"])[2 * (x_ND[:, 0] > 0) + (x_ND[:, 1] > 0)]
    table["patient.sex"] = rng.choice(["female", "male"], size=n)
    table[ANGLE] = np.mod(np.degrees(np.arctan2(x_ND[:, 1], x_ND[:, 0])) / 2, 180)
    for column in table.columns[3:]:
        table.loc[rng.random(n) < 0.2, column] = None
    return x_ND, Manifest.build(table, "/nowhere")


@pytest.fixture(scope="module")
def found():
    (x_ND, query), (y_MD, reference) = cases("q", N, 1), cases("r", M, 2)
    return extrapolate(x_ND, query, y_MD, reference)


def numbers(found, truth=None, **settings):
    entries, sections = agreement(found, found.query.table if truth is None else truth, SHARED, n_boot=50, **settings)
    return {(e.class_name, e.metric): e for e in entries}, sections


def known(found, column):
    pairs = zip(found.query.table[column], found.table[column], strict=True)
    return [(t, s) for t, s in pairs if not pd.isna(t) and not pd.isna(s)]


def test_copies_beside_the_truth_are_the_loops(found):
    by_name, _ = numbers(found)
    reference = found.reference.table
    for column in ("lesion.site", "patient.sex"):
        pairs = known(found, column)
        entry = by_name[column, "accuracy"]
        assert entry.value == pytest.approx(sum(t == s for t, s in pairs) / len(pairs))
        assert (entry.n, entry.protocol) == (len(pairs), "extrapolation")
        assert entry.low <= entry.value <= entry.high
        common = reference[column].value_counts().idxmax()
        expected = sum(t == common for t, _ in pairs) / len(pairs)
        assert by_name[column, "accuracy (most frequent)"].value == pytest.approx(expected)
    pairs = known(found, "lesion.size")
    error = "mean absolute error"
    assert by_name["lesion.size", error].value == pytest.approx(sum(abs(t - s) for t, s in pairs) / len(pairs))
    assert by_name["lesion.size", "Spearman r"].value == pytest.approx(spearmanr(*zip(*pairs, strict=True)).statistic)
    median = float(np.nanmedian(reference["lesion.size"]))
    expected = sum(abs(t - median) for t, _ in pairs) / len(pairs)
    assert by_name["lesion.size", f"{error} (median)"].value == pytest.approx(expected)
    pairs = known(found, ANGLE)
    expected = sum(min(abs(t - s), 180 - abs(t - s)) for t, s in pairs) / len(pairs)
    assert by_name[ANGLE, error].value == pytest.approx(expected)
    assert (ANGLE, "Spearman r") not in by_name


def test_the_control_is_the_loops(found):
    by_name, _ = numbers(found, seed=5, draws=3)
    rng = np.random.default_rng(5)
    draws = [random_sources(found, rng)[:, 0] for _ in range(3)]

    def pairs(column, source_N):
        both = found.query.table[column], found.table[column]
        copied = found.reference.table[column]
        return [
            (t, copied[m]) for t, s, m in zip(*both, source_N, strict=True) if not any(map(pd.isna, (t, s, copied[m])))
        ]

    site = [t == s for d in draws for t, s in pairs("lesion.site", d)]
    assert by_name["lesion.site", "accuracy (random source)"].value == pytest.approx(np.mean(site))
    error = "mean absolute error (random source)"
    size = [abs(t - s) for d in draws for t, s in pairs("lesion.size", d)]
    assert by_name["lesion.size", error].value == pytest.approx(np.mean(size))
    angle = [min(abs(t - s), 180 - abs(t - s)) for d in draws for t, s in pairs(ANGLE, d)]
    assert by_name[ANGLE, error].value == pytest.approx(np.mean(angle))
    r = [spearmanr(*zip(*pairs("lesion.size", d), strict=True)).statistic for d in draws]
    assert by_name["lesion.size", "Spearman r (random source)"].value == pytest.approx(np.mean(r))


def test_patients_are_what_the_intervals_draw(found):
    by_name, _ = numbers(found)
    rows = found.query.table["lesion.site"].notna() & found.table["lesion.site"].notna()
    entry = by_name["lesion.site", "accuracy"]
    assert entry.patients == found.query.table["patient_id"][rows].nunique() < entry.n
    right = (found.query.table["lesion.site"] == found.table["lesion.site"])[rows].to_numpy(float)
    patients = found.query.table["patient_id"][rows]
    drawn = interval(lambda w: w @ right / w.sum(axis=1), patients, n_boot=50, seed=0)
    assert (entry.low, entry.high) == (pytest.approx(drawn.low), pytest.approx(drawn.high))
    assert entry.notes == f"of {int(found.query.table['lesion.site'].notna().sum())} cases whose value is known"


def test_pictures_that_tell_beat_random_sources_and_those_that_do_not_do_not(found):
    by_name, _ = numbers(found, draws=20)
    site, sex = (by_name[c, "accuracy"].value for c in ("lesion.site", "patient.sex"))
    assert site > by_name["lesion.site", "accuracy (random source)"].high + 0.3
    assert abs(sex - by_name["patient.sex", "accuracy (random source)"].value) < 0.1
    # what random sources get on average: the chance that two values agree
    shares = [found.reference.table["lesion.site"].value_counts(normalize=True), known(found, "lesion.site")]
    chance = float(np.mean([shares[0][t] for t, _ in shares[1]]))
    assert by_name["lesion.site", "accuracy (random source)"].value == pytest.approx(chance, abs=0.04)
    error = "mean absolute error"
    assert by_name["lesion.size", error].value < 0.5 * by_name["lesion.size", f"{error} (random source)"].value
    assert by_name["lesion.size", f"{error} (median)"].value < by_name["lesion.size", f"{error} (random source)"].value
    assert by_name[ANGLE, f"{error} (random source)"].value == pytest.approx(45, abs=5)
    assert abs(by_name["lesion.size", "Spearman r (random source)"].value) < 0.1


def test_random_sources_are_drawn_alike_from_all_that_are_no_kin():
    (x_ND, query), (y_MD, reference) = cases("q", 6, 1), cases("r", 9, 2)
    query.table["patient_id"] = ["rP0", "rP3", "rP4", "x", "rP1", "x"]
    found = extrapolate(x_ND, query, y_MD, reference, k=2)
    rng = np.random.default_rng(0)
    drawn_SNK = np.stack([random_sources(found, rng) for _ in range(4000)])
    for n in range(6):
        allowed = [m for m in range(9) if query.table["patient_id"][n] != reference.table["patient_id"][m]]
        share_M = np.bincount(drawn_SNK[:, n].ravel(), minlength=9) / 8000
        np.testing.assert_allclose(share_M, [m in allowed and 1 / len(allowed) for m in range(9)], atol=0.02)
    x_ND[2] = 0
    found = extrapolate(x_ND, query, y_MD, reference)
    assert (random_sources(found, rng)[:, 0] == NONE).tolist() == [False, False, True, False, False, False]


def test_one_seed_is_one_control(found):
    first, again, other = (numbers(found, seed=seed)[0] for seed in (3, 3, 4))
    assert first == again
    control = ("lesion.site", "accuracy (random source)")
    assert first[control].value != other[control].value


def test_weighted_ranks_are_those_of_repeated_cases():
    rng = np.random.default_rng(0)
    x_N, y_N = rng.integers(5, size=40).astype(float), rng.normal(size=40).round(1)
    weight_RN = rng.integers(0, 4, size=(7, 40)).astype(float)
    r_R = weighted_spearman(x_N, y_N, weight_RN)
    for r, weight_N in zip(r_R, weight_RN, strict=True):
        repeated = np.repeat(np.stack([x_N, y_N]), weight_N.astype(int), axis=1)
        assert r == pytest.approx(spearmanr(*repeated).statistic)
    assert np.isnan(weighted_spearman(np.ones(40), y_N, weight_RN)).all()


def test_the_table_of_cases_shows_truth_and_copy(found):
    by_name, (section,) = numbers(found)
    table = section.table
    assert table["case_id"].tolist() == found.query.table["case_id"].tolist()
    assert table["source_id"].tolist() == found.reference.table["case_id"].iloc[found.source[:, 0]].tolist()
    pd.testing.assert_series_equal(table["lesion.size: true"], found.query.table["lesion.size"], check_names=False)
    pd.testing.assert_series_equal(table["lesion.size: copied"], found.table["lesion.size"], check_names=False)
    lines = agreement_lines(list(by_name.values()))
    assert len(lines) == 5  # a line for sex, site, angle, and two for size
    entry = by_name["lesion.site", "accuracy"]
    assert f"lesion.site: accuracy {entry.text()} (random source " in "\n".join(lines)


def test_columns_without_truth_are_left_out(found):
    by_name, _ = numbers(found, found.query.table[["patient.sex"]])
    assert {column for column, _ in by_name} == {"patient.sex"}
    by_name, (section,) = numbers(found, found.query.table[["case_id"]])
    assert not by_name
    assert list(section.table) == ["case_id", "source_id", "similarity"]
    assert agreement_lines([]) == []
    with pytest.raises(ValueError, match=f"one row of truth per case, {N}; there are 3"):
        agreement(found, found.query.table[:3], SHARED)


def test_what_does_not_vary_has_no_rank_and_no_warning(found):
    truth = found.query.table.assign(**{"lesion.size": 1.0})
    by_name, _ = numbers(found, truth)
    assert math.isnan(by_name["lesion.size", "Spearman r"].value)
    assert by_name["lesion.size", "Spearman r"].text() == "undefined"
