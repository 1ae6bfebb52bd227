"""Augmented copies: what one is, that it never leaves its original, and that shares are those of the originals."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dermis.cases.leakage import assert_no_leak, leaks
from dermis.cases.manifest import Manifest
from dermis.cases.split import folds, split


def manifest(case_id, origin_id, **columns):
    table = {"case_id": case_id, "image": case_id, "origin_id": origin_id, **columns}
    return Manifest.build(pd.DataFrame(table), ".")


def with_copies(per_class, copies):
    """Originals ``a0``, ``a1``, … of each class, and of the i-th of a class ``copies(class, i)`` copies."""
    rows = []
    for name, number in per_class.items():
        for i in range(number):
            original = f"{name}{i}"
            rows += [(original, original, name)]
            rows += [(f"{original}_{k}", original, name) for k in range(copies(name, i))]
    ids, origins, labels = zip(*rows, strict=True)
    return manifest(ids, origins, diagnosis=labels)


def test_a_copy_is_a_case_whose_origin_is_another_case():
    cases = manifest(["a", "a_1", "b", "frame_1", "frame_2"], ["a", "a", None, "video", "video"])
    assert cases.copies().tolist() == [False, True, False, False, False]
    assert cases.select([1, 3]).copies().tolist() == [False, False]  # nothing tells it without its original
    assert not Manifest.build(pd.DataFrame({"case_id": ["a"], "image": ["a"]}), ".").copies().any()


@pytest.mark.parametrize(
    "origin_id",
    [
        ["a", "a", "a"],
        [None, "a", "a"],
        ["a", "a", "a_1"],  # a copy of a copy
        ["video", "a", "a_1"],  # of a frame
    ],
)
def test_a_copy_is_of_its_originals_group_whatever_that_is_from(origin_id):
    cases = manifest(["a", "a_1", "a_2"], origin_id, split=["train", "test", "test"])
    assert cases.groups().nunique() == 1
    assert not leaks(cases).empty
    with pytest.raises(ValueError, match="stand in more than one split"):
        assert_no_leak(cases)


def test_a_frame_and_its_copy_stay_with_the_other_frames_of_the_video():
    cases = manifest(["f1", "f2", "f1_copy"], ["video", "video", "f1"])
    assert cases.groups().nunique() == 1


def test_shares_are_those_of_the_originals_however_many_copies_each_has():
    cases = with_copies({"common": 90, "rare": 10}, lambda name, i: 7 * i % 31 if name == "common" else 9)
    for cut, column in ((folds(cases, 5), "fold"), (split(cases), "split")):
        assert leaks(cut, column).empty
        originals = cut.table[~cut.copies()]
        parts = originals[column].value_counts()
        rare = originals[column][originals["diagnosis"] == "rare"].value_counts()
        shares = {"train": 0.7, "valid": 0.1, "test": 0.2} if column == "split" else dict.fromkeys("01234", 0.2)
        assert {name: parts[name] for name in shares} == {name: round(100 * s) for name, s in shares.items()}
        assert {name: rare[name] for name in shares} == {name: round(10 * s) for name, s in shares.items()}


def test_copies_do_not_stand_in_for_originals_that_a_part_needs():
    cases = with_copies({"common": 20, "rare": 2}, lambda name, i: 30 * (name == "rare"))
    with pytest.raises(ValueError, match=r"1 class\(es\) have fewer groups than the 5 parts"):
        folds(cases, 5)


rows = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4), st.integers(0, 12)), min_size=20, max_size=60)


@settings(deadline=None, max_examples=25)
@given(rows, st.integers(0, 3), st.randoms())
def test_no_fold_ever_has_a_copy_of_another_folds_original(rows, seed, random):
    ids, origins, patients, labels = [], [], [], []
    for i, (label, copies, patient) in enumerate(rows):
        for k in range(copies + 1):
            ids.append(f"{i}_{k}" if k else f"{i}")
            origins.append(f"{i}" if k else random.choice([None, f"{i}"]))
            patients.append(random.choice([None, f"p{patient}"]) if k else f"p{patient}")
            labels.append(label)
    cases = manifest(ids, origins, patient_id=patients, diagnosis=labels)
    assume(cases.table.groupby("diagnosis")["patient_id"].nunique().min() >= 3 and len(set(labels)) == 2)
    assume(cases.groups().groupby(cases.table["diagnosis"]).nunique().min() >= 3)
    cut = folds(cases, 3, seed=seed)
    fold = cut.table.set_index("case_id")["fold"]
    copy = cut.copies().to_numpy()
    assert (cut.table["fold"][copy].to_numpy() == fold[cut.table["origin_id"][copy]].to_numpy()).all()
    assert (~copy).sum() == len(rows)


def test_cases_that_name_each_other_are_dealt_as_they_are():
    ids = [f"c{i}" for i in range(20)]
    others = np.array(ids).reshape(10, 2)[:, ::-1].ravel()
    cut = folds(manifest(ids, others, diagnosis=["x"] * 20), 2)
    assert cut.copies().all()
    assert cut.table["fold"].value_counts().tolist() == [10, 10]
