"""Splits and folds: no group torn, shares kept, nothing depends on the order of the rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dermis.cases.leakage import leaks
from dermis.cases.manifest import Manifest
from dermis.cases.split import folds, split
from dermis.cli import main


def manifest(patients: list, labels: list) -> Manifest:
    names = [f"c{i}" for i in range(len(patients))]
    table = {"case_id": names, "image": names, "patient_id": patients, "diagnosis": labels}
    return Manifest.build(pd.DataFrame(table), ".")


@pytest.fixture
def clinic() -> Manifest:
    """600 cases of 250 patients, some unknown; five classes, the rarest about 4 %; some lesions without patient."""
    rng = np.random.default_rng(0)
    patient = rng.integers(0, 250, 600)
    usual = rng.choice(list("abcde"), p=[0.5, 0.2, 0.16, 0.1, 0.04], size=250)[patient]
    label = np.where(rng.random(600) < 0.7, usual, rng.choice(list("abcde"), size=600))
    lesion = [f"{p}-{k}" for p, k in zip(patient, rng.integers(0, 3, 600), strict=True)]
    unknown = rng.random(600) < 0.2
    table = pd.DataFrame(
        {
            "case_id": [f"c{i}" for i in range(600)],
            "image": "x.jpg",
            "patient_id": pd.Series(patient).astype(str).mask(unknown),
            "lesion_id": lesion,
            "diagnosis": pd.Series(label).mask(rng.random(600) < 0.05),
        }
    )
    return Manifest.build(table, ".")


def shares(chosen: Manifest, column: str) -> pd.Series:
    return chosen.table[column].value_counts(normalize=True)


def test_no_group_is_torn_and_sizes_and_classes_keep_their_shares(clinic):
    chosen = split(clinic, valid=0.15, test=0.25)
    assert leaks(chosen).empty
    assert chosen.table["split"].notna().all()
    assert shares(chosen, "split").to_dict() == pytest.approx({"train": 0.6, "valid": 0.15, "test": 0.25}, abs=0.005)
    classes = pd.crosstab(chosen.table["diagnosis"], chosen.table["split"], normalize="index")
    assert np.abs(classes[["train", "valid", "test"]] - [0.6, 0.15, 0.25]).max(axis=None) < 0.05


def test_large_and_small_groups_are_spread_over_all_splits(clinic):
    chosen = split(clinic)
    sizes = chosen.groups().map(chosen.groups().value_counts())
    mean = sizes.groupby(chosen.table["split"]).mean()
    assert mean.max() / mean.min() < 1.35


def test_folds_are_equal_and_whole(clinic):
    chosen = folds(clinic, 4, seed=3)
    assert leaks(chosen, "fold").empty
    assert chosen.table["fold"].value_counts().sort_index().index.tolist() == ["0", "1", "2", "3"]
    assert shares(chosen, "fold").to_numpy() == pytest.approx([0.25] * 4, abs=0.01)
    classes = pd.crosstab(chosen.table["diagnosis"], chosen.table["fold"], normalize="index")
    assert np.abs(classes - 0.25).max(axis=None) < 0.05


def test_the_seed_decides_and_the_order_of_rows_does_not(clinic):
    chosen = split(clinic, seed=1)
    assert chosen.table["split"].equals(split(clinic, seed=1).table["split"])
    assert not chosen.table["split"].equals(split(clinic, seed=2).table["split"])
    order = np.random.default_rng(0).permutation(len(clinic))
    shuffled = split(clinic.select(order), seed=1)
    assert shuffled.table["split"].tolist() == chosen.table["split"].iloc[order].tolist()


def test_the_manifest_given_is_left_alone_and_an_old_split_is_replaced(clinic):
    first = split(clinic, seed=1)
    assert "split" not in clinic.table
    assert split(first, seed=2).table["split"].equals(split(clinic, seed=2).table["split"])


rows = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(["a", "a", "a", "b", "b", None])), min_size=40, max_size=120
)


@settings(deadline=None, max_examples=25)
@given(rows, st.integers(0, 5), st.sampled_from([(0.1, 0.2), (0.3, 0.3), (0, 0.5), (0.2, 0)]), st.randoms())
def test_any_table_is_split_whole_close_to_target_with_each_class_everywhere(rows, seed, wanted, random):
    table = manifest([f"p{patient}" for patient, _ in rows], [label for _, label in rows])
    shares = zip(("train", "valid", "test"), (1 - sum(wanted), *wanted), strict=True)
    parts = {name: share for name, share in shares if share}
    groups_per_class = table.table.groupby("diagnosis")["patient_id"].nunique()
    assume(groups_per_class.min() >= len(parts))
    chosen = split(table, valid=wanted[0], test=wanted[1], seed=seed)
    assert leaks(chosen).empty
    largest = table.table["patient_id"].value_counts().max()
    counts = chosen.table["split"].value_counts()
    assert set(counts.index) == set(parts)
    for name, share in parts.items():
        assert abs(counts[name] - share * len(rows)) <= 2 * largest
    assert (pd.crosstab(chosen.table["diagnosis"], chosen.table["split"]) > 0).all(axis=None)
    order = random.sample(range(len(rows)), len(rows))
    shuffled = split(table.select(order), valid=wanted[0], test=wanted[1], seed=seed)
    assert shuffled.table["split"].tolist() == chosen.table["split"].iloc[order].tolist()


def test_a_class_of_three_patients_is_in_all_three_splits():
    table = manifest([f"p{i}" for i in range(100)], ["rare"] * 3 + ["common"] * 97)
    for seed in range(5):
        assert set(split(table, seed=seed).table["split"][:3]) == {"train", "valid", "test"}


def test_many_small_classes_do_not_add_up_to_wrong_sizes():
    """Eight cases of a class cannot be 5.6, 0.8 and 1.6; the roundings of forty classes have to cancel."""
    table = manifest([f"p{i}" for i in range(320)], [f"class {i % 40}" for i in range(320)])
    assert shares(split(table), "split").to_dict() == pytest.approx({"train": 0.7, "valid": 0.1, "test": 0.2}, abs=0.03)


def test_each_placement_is_the_one_that_least_raises_chi_square():
    """The rule of the docstring against the statistic itself, for patients of one class."""
    table = manifest([f"p{i}" for i in range(60) for _ in range(1 + i % 4)], ["a"] * sum(1 + i % 4 for i in range(60)))
    chosen = split(table, valid=0.2, test=0.3, stratify=None)
    counts = chosen.table["split"].value_counts()[["train", "valid", "test"]].to_numpy()
    target = np.array([0.5, 0.2, 0.3]) * len(table)
    chi_square = ((counts - target) ** 2 / target).sum()
    # moving any one patient elsewhere does not help
    for size in range(1, 5):
        for a in range(3):
            for b in range(3):
                moved = counts + size * (np.eye(3, dtype=int)[b] - np.eye(3, dtype=int)[a])
                assert ((moved - target) ** 2 / target).sum() >= chi_square - 1e-9


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"valid": 0.5, "test": 0.5}, "valid=0.5 and test=0.5 must be shares"),
        ({"valid": -0.1}, "valid=-0.1 and test=0.2 must be shares"),
        ({"valid": 0, "test": 0}, "must be shares of the cases that leave some for training"),
        ({"stratify": "patient.sex"}, "stratifying by patient.sex needs the column"),
    ],
)
def test_a_wrong_wish_gets_a_sentence(clinic, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        split(clinic, **change)


def test_a_class_with_fewer_groups_than_parts_is_refused_by_name():
    table = manifest(["p", "p", "p", "q", *"abcdef"], ["rare"] * 4 + ["common"] * 6)
    with pytest.raises(ValueError, match=r"1 class.* fewer groups than the 3 parts train, valid, test: 'rare' \(2\)"):
        split(table)
    with pytest.raises(ValueError, match=r"'common' \(6\), 'rare' \(2\)"):
        folds(table, 7)
    assert set(split(table, stratify=None).table["split"]) == {"train", "valid", "test"}


def test_too_few_groups_are_refused():
    with pytest.raises(ValueError, match=r"2 group.* cannot fill the 3 parts train, valid, test"):
        split(manifest(["p", "q", "q"], [None, None, "x"]), stratify=None)
    with pytest.raises(ValueError, match="k=1"):
        folds(manifest(["p"], ["x"]), 1)


def test_the_command_spreads_diagnoses_where_there_are_any_and_says_where_not(tmp_path, capsys):
    def status(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["split", str(tmp_path / "cases.parquet"), *arguments])
        return end.value.code

    manifest([f"p{i}" for i in range(40)], [None] * 40).write(tmp_path / "cases.parquet")
    for more, column in (((), "split"), (("--folds", "4"), "fold")):
        assert status(*more) == 0
        assert "note: no case has a diagnosis to spread evenly" in capsys.readouterr().out
        assert column in Manifest.read(tmp_path / "cases.parquet")
    assert status("--stratify", "diagnosis") == 2
    assert "stratifying by diagnosis needs the column(s) diagnosis" in capsys.readouterr().err
    labelled = manifest([f"p{i}" for i in range(40)], ["rare", "rare", "rare", *["common"] * 37])
    labelled.write(tmp_path / "cases.parquet")
    assert status() == 0
    assert "note" not in capsys.readouterr().out
    assert Manifest.read(tmp_path / "cases.parquet").table.equals(split(labelled).table)
    manifest([f"p{i}" for i in range(40)], ["rare", *["common"] * 39]).write(tmp_path / "cases.parquet")
    assert status() == 2
    assert "do not stratify (--stratify None)" in capsys.readouterr().err
    assert status("--stratify", "None") == 0


@pytest.mark.data
def test_ham10000_is_split_by_lesion_to_the_picture(shared_data):
    table = pd.read_csv(shared_data / "ham10000_200x150" / "HAM10000_metadata.csv")
    cases = {"case_id": table["image_id"], "image": table["image_id"], "lesion_id": table["lesion_id"]}
    chosen = split(Manifest.build(pd.DataFrame(cases | {"diagnosis": table["dx"]}), "."))
    assert leaks(chosen).empty
    classes = pd.crosstab(chosen.table["diagnosis"], chosen.table["split"])
    assert (
        np.abs(classes[["train", "valid", "test"]] - np.outer(classes.sum(axis=1), [0.7, 0.1, 0.2])).max(axis=None)
        < 1.5
    )
