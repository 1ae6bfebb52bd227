"""Which cases train, choose and are scored: whole groups, each case once, given folds as they are."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dermis.cases.groups import linked_groups
from dermis.cases.leakage import assert_no_leak
from dermis.cases.manifest import Manifest
from dermis.evaluation.finetune_config import FineTuneConfig
from dermis.evaluation.rounds import ORIGINALS, rounds_of
from dermis.evaluation.setting import scored_cases


@pytest.fixture
def cases(tmp_path):
    """120 cases of 50 patients, some of whom share a lesion id with another; splits of whole groups."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "case_id": [f"c{i}" for i in range(120)],
            "patient_id": [f"p{i}" for i in rng.integers(50, size=120)],
            "lesion_id": [f"l{i}" for i in rng.integers(2000, size=120)],
            "image": [f"{i}.jpg" for i in range(120)],
            "diagnosis": rng.choice(["melanoma", "nevus"], size=120, p=[0.25, 0.75]),
        }
    )
    group_N = pd.factorize(linked_groups(table))[0]
    return Manifest.build(table.assign(split=np.array(["train", "valid", "test"])[group_N % 3]), tmp_path)


def with_folds(cases, folds):
    return replace(cases, table=cases.table.assign(fold=pd.Series(folds, dtype="string")))


@pytest.mark.parametrize("k", [3, 5])
def test_folds_keep_groups_whole_and_score_each_case_once(cases, k):
    rounds = rounds_of(cases, FineTuneConfig(folds=k), "all", "diagnosis")
    assert [r.name for r in rounds] == [str(i) for i in range(k)]
    assert sorted(np.concatenate([r.scored for r in rounds])) == list(range(120))
    groups = cases.groups().to_numpy()
    for i, r in enumerate(rounds):
        assert sorted([*r.train, *r.choose, *r.scored]) == list(range(120))
        assert np.array_equal(r.choose, rounds[(i + 1) % k].scored)
        sides = [set(groups[rows]) for rows in (r.train, r.choose, r.scored)]
        assert sides[0].isdisjoint(sides[1] | sides[2])
        assert sides[1].isdisjoint(sides[2])
        share = (cases.table["diagnosis"][r.scored] == "melanoma").mean()
        assert abs(share - (cases.table["diagnosis"] == "melanoma").mean()) < 0.1


def test_given_folds_are_taken_as_they_are_in_their_own_order(cases):
    names = np.array(["9", "10", "8"])
    given = names[pd.factorize(cases.groups())[0] % 3]
    rounds = rounds_of(with_folds(cases, given), FineTuneConfig(folds=3), "all", "diagnosis")
    assert [r.name for r in rounds] == ["8", "9", "10"]
    for r in rounds:
        assert np.array_equal(r.scored, np.flatnonzero(given == r.name))
    assert np.array_equal(rounds[2].choose, rounds[0].scored)


def test_one_round_on_the_splits(cases):
    split = cases.table["split"].to_numpy()
    for protocol, chooser in (("clean", "valid"), ("paper", "test")):
        (r,) = rounds_of(cases, FineTuneConfig(protocol=protocol), "test", "diagnosis")
        for rows, name in ((r.train, "train"), (r.choose, chooser), (r.scored, "test")):
            assert np.array_equal(rows, np.flatnonzero(split == name))


@pytest.mark.parametrize("protocol", ["clean", "paper"])
def test_a_patient_in_two_splits_stops_with_the_audits_own_sentence(cases, protocol):
    table = cases.table.copy()
    patient = table["patient_id"].value_counts().index[0]  # of several cases
    table.loc[table.index[table["patient_id"] == patient][0], "split"] = "test"
    table.loc[table.index[table["patient_id"] == patient][1:], "split"] = "train"
    torn = replace(cases, table=table)
    with pytest.raises(ValueError, match=r"stand in more than one split .*test 1") as caught:
        rounds_of(torn, FineTuneConfig(protocol=protocol), "test", "diagnosis")
    with pytest.raises(ValueError) as audit:
        assert_no_leak(torn)
    assert str(caught.value) == str(audit.value)


def test_what_cannot_be_cut_is_one_sentence(cases):
    config, by_group = FineTuneConfig(folds=3), pd.factorize(cases.groups())[0] % 3
    whole = [str(fold) for fold in by_group]
    for manifest, config_, split, sentence in (
        (cases, config, "test", "with folds every case is scored: set split to all, not 'test'"),
        (cases, FineTuneConfig(), "all", "only `test` is scored; `all` needs folds"),
        (cases, FineTuneConfig(), "train", "unknown split to score a fine-tuned model on 'train'"),
        (with_folds(cases, [str(i % 3) for i in range(120)]), config, "all", "stand in more than one fold"),
        (with_folds(cases, [None, *whole[1:]]), config, "all", "1 of 120 cases have no fold"),
        (with_folds(cases, whole), FineTuneConfig(folds=4), "all", "has 3 folds, not 4"),
        (cases.select(cases.table["split"] != "valid"), FineTuneConfig(), "test", "no case .* is in split 'valid'"),
    ):
        with pytest.raises(ValueError, match=sentence) as caught:
            rounds_of(manifest, config_, split, "diagnosis")
        assert str(caught.value).count("\n") == 0


def with_copies(cases, rows=None):
    """Beside the cases three copies of each (of ``rows``), with the original's ids, diagnosis and split."""
    table = cases.table if rows is None else cases.table.iloc[rows]
    copies = pd.concat([table.assign(case_id=table["case_id"] + f"_{k}", origin_id=table["case_id"]) for k in range(3)])
    both = pd.concat([cases.table.assign(origin_id=cases.table["case_id"]), copies], ignore_index=True)
    return Manifest.build(both.sample(frac=1, random_state=0).reset_index(drop=True), cases.root)


@pytest.mark.parametrize("config, split", [(FineTuneConfig(folds=5), "all"), (FineTuneConfig(), "test")])
def test_copies_are_trained_on_and_originals_choose_and_are_scored(cases, config, split):
    alone, manifest = rounds_of(cases, config, split, "diagnosis"), with_copies(cases)
    copy, case_id = manifest.copies().to_numpy(), manifest.table["case_id"].to_numpy(dtype=object)
    rounds = rounds_of(manifest, config, split, "diagnosis")
    for r in rounds:
        assert not copy[r.choose].any()
        assert not copy[r.scored].any()
        assert copy[r.train].sum() == 3 * (~copy[r.train]).sum() > 0
        held_out = set(case_id[np.concatenate([r.choose, r.scored])])
        assert held_out.isdisjoint(manifest.table["origin_id"][r.train])
        assert r.notes == (ORIGINALS,)
    scored = np.concatenate([r.scored for r in rounds])
    assert sorted(case_id[scored]) == sorted(cases.table["case_id"][np.concatenate([r.scored for r in alone])])
    assert all(r.notes == () for r in alone)
    if split == "test":
        assert sorted(case_id[rounds[0].choose]) == sorted(cases.table["case_id"][alone[0].choose])


def test_a_copy_of_a_test_original_in_train_stops(cases):
    manifest = with_copies(cases)
    tested = manifest.table["case_id"][manifest.table["split"] == "test"].iloc[0]
    mine = manifest.table["origin_id"] == tested
    table = manifest.table.assign(patient_id=None, lesion_id=None)  # the origin alone tells
    table.loc[mine & manifest.copies(), "split"] = "train"
    with pytest.raises(ValueError, match="1 origin_id stand in more than one split"):
        rounds_of(replace(manifest, table=table), FineTuneConfig(), "test", "diagnosis")


def test_a_split_of_copies_only_is_one_sentence(cases):
    rows = np.flatnonzero(cases.table["split"] == "test")
    manifest = with_copies(cases, rows)
    table = manifest.table.copy()
    table.loc[(table["split"] == "test") & ~manifest.copies(), "split"] = None
    with pytest.raises(ValueError, match=rf"^all {3 * len(rows)} cases that are scored are augmented copies"):
        rounds_of(replace(manifest, table=table), FineTuneConfig(), "test", "diagnosis")


def test_every_evaluation_scores_originals_and_probes_learn_from_copies(cases):
    manifest = with_copies(cases)
    for split in ("valid", "test", "all"):
        assert sorted(scored_cases(manifest, split).table["case_id"]) == sorted(
            scored_cases(cases, split).table["case_id"]
        )
    assert len(scored_cases(manifest, "train")) == 4 * len(scored_cases(cases, "train"))
    assert scored_cases(cases, "all") is cases
