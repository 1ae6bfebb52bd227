"""Leaks: small tables by hand, and the published split of HAM10000 that tears 725 lesions."""

from pathlib import Path

import pandas as pd
import pytest

from dermis.cases.leakage import assert_no_leak, leak_findings, leaks
from dermis.cases.manifest import Manifest


def manifest(splits: list[str | None], **ids: list[str | None]) -> Manifest:
    names = [f"c{i}" for i in range(len(splits))]
    return Manifest.build(pd.DataFrame({"case_id": names, "image": names, "split": splits} | ids), ".")


def ham10000(folder: Path, split_of: pd.Series) -> Manifest:
    table = pd.read_csv(folder / "ham10000_200x150" / "HAM10000_metadata.csv")
    cases = pd.DataFrame(
        {
            "case_id": table["image_id"],
            "lesion_id": table["lesion_id"],
            "image": "images.zip!/images/" + table["image_id"] + ".jpg",
            "diagnosis": table["dx"],
            "split": table["image_id"].map(split_of.replace("val", "valid")),
        }
    )
    return Manifest.build(cases, folder / "ham10000_200x150")


def test_each_torn_id_is_a_row_with_its_cases_per_split():
    torn = leaks(
        manifest(
            ["train", "train", "test", "valid", "valid", None],
            patient_id=["p", "p", "p", "q", "q", "q"],
            lesion_id=["l", "m", "m", "n", "n", "n"],
        )
    )
    assert torn.to_dict("records") == [
        {"key": "patient_id", "value": "p", "train": 2, "valid": 0, "test": 1},
        {"key": "lesion_id", "value": "m", "train": 1, "valid": 0, "test": 1},
    ]


def test_an_augmented_copy_leaks_when_its_original_is_elsewhere():
    torn = leaks(manifest(["train", "train", "test"], origin_id=["c2", "x", None]))
    assert torn[["key", "value"]].to_numpy().tolist() == [["origin_id", "c2"]]


def test_a_group_torn_only_through_a_case_of_no_split_is_found():
    torn = leaks(manifest(["train", None, "test"], patient_id=[None, "p", "p"], lesion_id=["l", "l", None]))
    assert torn[["key", "value", "train", "test"]].to_numpy().tolist() == [["linked", "patient_id:p", 1, 1]]


@pytest.mark.parametrize(
    "ids",
    [
        {"patient_id": ["p", "p", "q"]},
        {"lesion_id": ["l", "l", None]},
        {"lesion_id": [None, None, None]},
        {},
    ],
)
def test_whole_groups_do_not_leak(ids):
    whole = manifest(["train", "train", "test"], **ids)
    assert leaks(whole).empty
    assert_no_leak(whole)


def test_without_a_split_nothing_leaks():
    unsplit = manifest([None, None], patient_id=["p", "p"])
    assert leaks(unsplit).empty
    assert_no_leak(unsplit)


def test_the_error_counts_and_gives_an_example():
    leaky = manifest(
        ["train", "valid", "test", "test"], patient_id=["p", "p", "p", "q"], lesion_id=["l", "l", "m", "m"]
    )
    with pytest.raises(ValueError) as error:
        assert_no_leak(leaky)
    lines = str(error.value).splitlines()
    assert lines[0] == (
        "1 patient_id stand in more than one split (1 in train and valid and test), "
        "for example p (train 1, valid 1, test 1)."
    )
    assert lines[1].startswith("1 lesion_id stand in more than one split (1 in train and valid)")
    assert "dermis split" in lines[2]


def test_folds_leak_like_splits():
    names = ["a", "b", "c"]
    table = pd.DataFrame({"case_id": names, "image": names, "patient_id": ["p", "p", "q"], "fold": ["0", "1", "1"]})
    findings = leak_findings(Manifest.build(table, "."), "fold")
    assert [(f.level, f.rule, f.count) for f in findings] == [("error", "torn-by-fold", 1)]
    assert "p (0 1, 1 1)" in findings[0].sentence


@pytest.mark.data
def test_the_published_isic2018_split_tears_725_lesions(shared_data):
    published = pd.read_csv(shared_data / "benchmark_splits_magen" / "ISIC2018-LP.csv")
    split_of = published.set_index(published["image_path"].map(lambda path: Path(path).stem))["split"]
    leaky = ham10000(shared_data, split_of)
    assert leaky.table["split"].value_counts().to_dict() == {"train": 8012, "valid": 2003}
    torn = leaks(leaky)
    assert len(torn) == 725
    assert set(torn["key"]) == {"lesion_id"}
    # counted by hand: lesions with a set of two splits
    assert (leaky.table.groupby("lesion_id")["split"].agg(set).map(len) == 2).sum() == 725
    with pytest.raises(ValueError, match="725 lesion_id stand in more than one split"):
        assert_no_leak(leaky)


@pytest.mark.data
def test_the_lesion_grouped_split_of_ham10000_tears_none(shared_data):
    grouped = pd.read_csv(shared_data / "ham10000_200x150" / "split_lesion_grouped.csv", index_col="image_id")["split"]
    whole = ham10000(shared_data, grouped)
    assert len(whole) == 10_015
    assert whole.groups().nunique() == 7_470
    assert leaks(whole).empty
