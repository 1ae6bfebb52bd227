"""make_cases: the same cases whatever is asked for beside them, whole patients in one split, every column filled."""

import cv2
import numpy as np
import pandas as pd
import pytest

from dermis.cases.columns import FIXED, TEXT_KINDS
from dermis.cases.manifest import Manifest
from dermis.cases.synthetic import latent_cases, make_cases
from dermis.cases.synthetic.make import split_of
from dermis.cases.synthetic.render import clinical, mask
from dermis.cases.synthetic.tables import row


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted((folder / "images").iterdir())}


def test_twice_gives_the_same_bytes(tmp_path):
    a, b = (make_cases(tmp_path / name, cases=6, size=32, seed=3) for name in "ab")
    pd.testing.assert_frame_equal(a.table, b.table)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(contents(tmp_path / "a")) == 18


def test_the_first_cases_do_not_depend_on_how_many_follow(tmp_path):
    few = make_cases(tmp_path / "few", cases=7, size=32)
    many = make_cases(tmp_path / "many", patients=12, size=32)
    assert len(many) > len(few)
    pd.testing.assert_frame_equal(few.table, many.table.head(7))
    assert contents(tmp_path / "few").items() <= contents(tmp_path / "many").items()
    assert latent_cases(cases=40)[:7] == latent_cases(cases=7)


def test_two_workers_write_what_one_writes(tmp_path):
    make_cases(tmp_path / "one", cases=70, size=16)
    make_cases(tmp_path / "two", cases=70, size=16, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_other_seeds_give_other_cases():
    assert latent_cases(cases=5, seed=1)[0].lesion != latent_cases(cases=5, seed=2)[0].lesion


def test_the_manifest_reads_back_with_every_column(tmp_path):
    made = make_cases(tmp_path, cases=60, size=16)
    read = Manifest.read(tmp_path / "cases.parquet")
    pd.testing.assert_frame_equal(made.table, read.table)
    assert read.categories == made.categories
    assert set(FIXED) - set(read.table) == {"fold", "origin_id"}  # no folds are given, nothing is an augmented copy
    assert all(f"{kind}_origin" in read for kind in TEXT_KINDS)
    for column in ("image", "dermoscopy", "mask"):
        assert all((read.root / path).is_file() for path in read.table[column])
    assert (read.table["source"] == "synthetic skin v1").all()


def test_the_files_are_the_rendered_pictures(tmp_path):
    made = make_cases(tmp_path, cases=1, size=48, quality=95)
    (case,) = latent_cases(cases=1)
    written = made.table.iloc[0]
    jpeg = cv2.imread(str(made.root / written["image"]))[..., ::-1]
    assert np.abs(jpeg.astype(int) - clinical(case, 48)).mean() < 3
    png = cv2.imread(str(made.root / written["mask"]), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(png, mask(case, case.clinical, 48))


def test_a_text_that_is_missing_has_no_origin_and_most_are_there():
    table = pd.DataFrame([row(c, "", "", "train") for c in latent_cases(cases=400)])
    for kind in TEXT_KINDS:
        assert (table[kind].isna() == table[f"{kind}_origin"].isna()).all()
        assert 0.8 < table[kind].notna().mean() < 1
    assert 0.02 < table["lesion.grew"].isna().mean() < 0.15


def test_no_patient_stands_on_both_sides_of_a_split():
    cases = latent_cases(patients=1500)
    split = pd.Series([split_of(c, (0.7, 0.1, 0.2)) for c in cases])
    patient = pd.Series([c.patient.index for c in cases])
    assert (split.groupby(patient).nunique() == 1).all()
    shares = split.groupby(patient).first().value_counts(normalize=True)
    assert abs(shares["train"] - 0.7) < 0.04
    assert abs(shares["valid"] - 0.1) < 0.03
    lesions = patient.value_counts()
    assert lesions.min() == 1
    assert lesions.max() == 5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "patients or cases"),
        ({"patients": 1, "cases": 1}, "not both"),
        ({"cases": 0}, "at least one"),
        ({"cases": 1, "seed": -1}, "not negative"),
        ({"cases": 1, "split": (0.5, 0.2, 0.2)}, "sum to 1"),
        ({"cases": 1, "split": (0.5, 0.5)}, "train, valid, test"),
        ({"cases": 1, "size": 8}, "8 pixels"),
        ({"cases": 1, "quality": 0}, "not 0"),
        ({"cases": 1, "workers": 0}, "not 0"),
    ],
)
def test_settings_without_sense_are_refused_with_a_sentence(tmp_path, settings, words):
    with pytest.raises(ValueError, match=words):
        make_cases(tmp_path, **settings)
